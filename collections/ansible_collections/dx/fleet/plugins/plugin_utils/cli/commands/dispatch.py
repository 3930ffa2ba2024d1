# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A dispatch by dx-dispatch: a run of the playbook, and what is told of it."""

from __future__ import annotations

import os
import sys
from typing import Any

from ...domain import identity
from ...domain.orchestrator import orchestrator_of
from ...domain.outcome import ExitCode, Outcome, State
from ...domain.task import MAX_TASK_BYTES, check_task
from ...launch.collected import Collected
from ...launch.in_process import InProcess
from ...launch.interrupt import leaving_by
from ...launch.playbook_run import PlaybookRun
from ...text.shell import command_line
from ..command import Command
from ..dispatch_options import EXAMPLES, USAGE, DispatchOptions
from ..fleet_source import find_fleet
from ..report import OWN_FAULT, Report, graded, outcomes_of, own_fault, show
from ..slack_audit import Audit
from ..targets import Targets, targets_of
from ..terminal import following

__all__ = ["COMMAND", "dispatch"]


def dispatch(options: DispatchOptions) -> Report:
    """Dispatch to the VMs that the options name, and report what became of it.

    Raises:
        UsageError: The options can't be meant.
    """
    fleet, inventory = find_fleet(options.inventory)
    targets = targets_of(options, fleet)
    task = _task(targets)
    name = _name(options)
    audit = Audit(options, fleet)
    playbook = PlaybookRun(
        "dispatch",
        inventory,
        variables=_variables(options, targets, task, name),
        hosts=len(targets.vms),
        check=options.dry_run,
        verbosity=0 if options.json else options.verbose,
        callbacks=audit.callbacks,
    )
    launcher = InProcess()
    with following(targets.vms, quiet=options.json) as followed:

        def detach() -> int:
            followed.close()
            left = _detached(options, targets, name, launcher.so_far(), followed.sent)
            return show(left, options.json)

        with leaving_by(detach):
            collected = launcher.run(playbook, followed.take)
    whole = _command(options, targets, name, with_task=True)
    vms = [collected.elsewhere.get(vm, vm) for vm in targets.vms]
    outcomes = [
        _finished(outcome, options, name, whole).with_(bead=options.any_bead)
        for outcome in outcomes_of(vms, collected, whole)
    ]
    rejoin = _command(options, targets, name, with_task=False)
    outcomes = [
        outcome.with_(next_action=rejoin) if outcome.reason_code == "server_silent" else outcome
        for outcome in outcomes
    ]
    counted = audit.counted(outcomes)
    return Report(graded(counted), counted)


def _name(options: DispatchOptions) -> str | None:
    """The dispatch's id; that of a bead's dispatch follows from its claim.

    Raises:
        UsageError: It can't be one.
    """
    if options.id is not None:
        return identity.check_dispatch_id(options.id)
    return identity.new_dispatch_id() if options.any_bead is None else None


def _variables(
    options: DispatchOptions, targets: Targets, task: str | None, name: str | None
) -> dict[str, Any]:
    """The playbook's variables; what was not given is left out, so that its defaults hold."""
    bead = (
        {}
        if options.any_bead is None
        else {
            "bead": options.any_bead,
            "retry": options.retry is not None,
            "any_vm": not targets.named,
            "force": options.force,
            "takeover": options.takeover,
            "branch": options.branch,
            "orchestrator": orchestrator_of(os.environ),
        }
    )
    given = bead | {
        "target": targets.pattern,
        "repo": targets.repo,
        "task": task,
        "id": name,
        "session": options.session,
        "agent": options.agent,
        "model": options.model,
        "title": options.title,
        "dx_timeout": options.timeout,  # Ansible warns of a variable that is called timeout
        "stall_timeout": options.stall_timeout,
        "max_cost": options.max_cost,
        "max_steps": options.max_steps,
        "preflight_timeout": options.preflight_timeout,
        "no_wait": options.no_wait,
    }
    return {key: value for key, value in given.items() if value is not None}


def _task(targets: Targets) -> str | None:
    """Raises UsageError for a text that can't be a task."""
    if targets.task is None:
        return None
    if targets.task != "-":
        return check_task(targets.task)
    data = sys.stdin.buffer.read(MAX_TASK_BYTES + 4)
    # The end of what is too long may be half a character.
    errors = "surrogateescape" if len(data) <= MAX_TASK_BYTES else "ignore"
    return check_task(data.decode("utf-8", errors))


def _ids(vm: str, options: DispatchOptions, name: str | None) -> dict[str, str]:
    """What a dispatch without a bead is called on a VM, from its start."""
    if name is None:
        return {}
    own = identity.dispatch_id_on(vm, name, named=not options.all)
    session = options.session or identity.session_id(own)
    return {"dispatch": own, "session": session, "message": identity.message_id(own)}


def _finished(outcome: Outcome, options: DispatchOptions, name: str | None, again: str) -> Outcome:
    """The outcome, unless the run broke off before it was known."""
    if outcome.reason_code == OWN_FAULT and outcome.dispatch is None:
        return outcome.with_(**_ids(outcome.vm or "", options, name))
    expected = {State.PLANNED: options.dry_run, State.RUNNING: options.no_wait or options.dry_run}
    if expected.get(outcome.state, True):
        return outcome
    fault = own_fault(outcome.vm or "", "its run ended before the outcome was known", again)
    return fault.with_(session=outcome.session, message=outcome.message, dispatch=outcome.dispatch)


def _command(options: DispatchOptions, targets: Targets, name: str | None, *, with_task: bool) -> str:
    """This command again, for the same dispatch: with the task it also sends what is missing."""
    words = ["dx-dispatch"] + ["--all"] * options.all
    words += ["--id", name] if name is not None else []
    words += ["--bead", options.any_bead] if options.any_bead is not None else []
    given: list[tuple[str, object]] = [
        ("--session", options.session),
        ("--timeout", options.timeout),
        ("--stall-timeout", options.stall_timeout),
        ("--max-cost", options.max_cost),
        ("--max-steps", options.max_steps),
        ("--inventory", options.inventory),
    ]
    if with_task:
        given += [("--agent", options.agent), ("--model", options.model), ("--title", options.title)]
    for option, value in given:
        if value is not None:
            words += [option, f"{value:g}" if isinstance(value, float) else str(value)]
    positional = [] if options.all else [targets.vms[0]]
    if with_task:
        positional += [word for word in (targets.repo, targets.task) if word is not None]
    shown = command_line([*words, *(["--"] if with_task else []), *positional])
    return f"{shown} <TASK_FILE" if with_task and targets.task == "-" else shown


def _detached(
    options: DispatchOptions,
    targets: Targets,
    name: str | None,
    collected: Collected,
    sent: set[str],
) -> Report:
    """A person pressed Ctrl-C: the remote work goes on, and the last line says how to join it again."""
    told = {vm: Outcome.from_dict(data) for vm, data in collected.outcomes.items()}
    arrived = sent | {vm for vm, outcome in told.items() if outcome.state is not State.PLANNED}
    again = _command(options, targets, name, with_task=not arrived.issuperset(targets.vms))
    vms = [collected.elsewhere.get(vm, vm) for vm in targets.vms]
    outcomes = [
        _left(vm, told.get(vm), _ids(vm, options, name), again).with_(bead=options.any_bead) for vm in vms
    ]
    lines = ("Detached; what was sent goes on. To join it again:", again)
    return Report(ExitCode.DETACHED, outcomes, lines, summaries=False)


def _left(vm: str, told: Outcome | None, ids: dict[str, str], again: str) -> Outcome:
    if told is not None and told.state not in (State.PLANNED, State.RUNNING):
        return told
    words = "not followed to its end"
    left = told or Outcome(State.RUNNING, "detached", words, vm=vm).with_(**ids)
    return left.with_(state=State.RUNNING, reason_code="detached", message_to_human=words, next_action=again)


COMMAND = Command(DispatchOptions, dispatch, USAGE, EXAMPLES)
