# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A dispatch by dx-dispatch: a run of the playbook, and what is told of it."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...audit.slack.running import flush_running
from ...domain import identity
from ...domain.fleet import Fleet
from ...domain.orchestrator import orchestrator_of
from ...domain.outcome import ExitCode, Outcome, State, exit_code
from ...domain.task import MAX_TASK_BYTES, check_task
from ...launch import run as playbook_run
from ...launch.interrupt import leaving_by
from ...text.shell import command_line
from ..document import document, encoded
from ..parser import Arguments, Targets, check_words, targets_of
from ..terminal import following, summary_lines
from .auditing import Audit

__all__ = ["OWN_FAULT", "dispatch", "outcomes_of", "report"]

OWN_FAULT = "own_fault"
DETACHED_FLUSH_S = 1.0


def dispatch(fleet: Fleet, inventory: Path, arguments: Arguments, argv: Sequence[str]) -> ExitCode:
    """Dispatch to the VMs that the arguments name, and tell what became of it.

    Raises:
        UsageError: The arguments can't be meant.
    """
    targets = targets_of(arguments, fleet)
    task = _task(targets)
    check_words(argv)
    name = _name(arguments)
    audit = Audit(arguments, fleet)
    with following(targets.vms, quiet=arguments.json) as followed:

        def detach() -> int:
            followed.close()
            flush_running(DETACHED_FLUSH_S)
            return _detached(arguments, targets, name, playbook_run.collected, followed.sent)

        with leaving_by(detach):
            collected = playbook_run.run_playbook(
                "dispatch",
                inventory=inventory,
                variables=_variables(arguments, targets, task, name),
                hosts=len(targets.vms),
                check=arguments.dry_run,
                verbosity=0 if arguments.json else arguments.verbose,
                callbacks=audit.callbacks,
            )
    whole = _command(arguments, targets, name, with_task=True)
    vms = [collected.elsewhere.get(vm, vm) for vm in targets.vms]
    outcomes = [
        _finished(outcome, arguments, name, whole).with_(bead=arguments.any_bead)
        for outcome in outcomes_of(vms, collected, whole)
    ]
    rejoin = _command(arguments, targets, name, with_task=False)
    outcomes = [
        outcome.with_(next_action=rejoin) if outcome.reason_code == "server_silent" else outcome
        for outcome in outcomes
    ]
    return report(arguments, audit.counted(outcomes))


def outcomes_of(vms: Sequence[str], collected: playbook_run.Collected, again: str) -> list[Outcome]:
    """One outcome per VM. A VM without one met a fault of ours: that is said, and nothing else claimed."""
    return [
        Outcome.from_dict(collected.outcomes[vm])
        if vm in collected.outcomes
        else _own_fault(vm, collected.faults.get(vm, "its run ended without an outcome"), again)
        for vm in vms
    ]


def report(
    arguments: Arguments,
    outcomes: list[Outcome],
    vms: list[dict[str, Any]] | None = None,
    claims: list[dict[str, Any]] | None = None,
) -> ExitCode:
    """Print the outcomes; returns the exit code. ``vms`` and ``claims`` go into the document as they are."""
    states = [outcome.state for outcome in outcomes] + [State.RUNNING] * max(
        len(vms or ()), claims is not None
    )
    code = exit_code(states)
    if any(outcome.reason_code == OWN_FAULT for outcome in outcomes):
        code = ExitCode.OWN_FAULT
    if arguments.json:
        print(encoded(document(code, outcomes, vms=vms, claims=claims)))
        return code
    for outcome in outcomes:
        print("\n".join(summary_lines(outcome, sys.stdout)))
    return code


def _name(arguments: Arguments) -> str | None:
    """The dispatch's id; that of a bead's dispatch follows from its claim.

    Raises:
        UsageError: It can't be one.
    """
    if arguments.id is not None:
        return identity.check_dispatch_id(arguments.id)
    return identity.new_dispatch_id() if arguments.any_bead is None else None


def _variables(arguments: Arguments, targets: Targets, task: str | None, name: str | None) -> dict[str, Any]:
    """The playbook's variables; what was not given is left out, so that its defaults hold."""
    bead = (
        {}
        if arguments.any_bead is None
        else {
            "bead": arguments.any_bead,
            "retry": arguments.retry is not None,
            "any_vm": not targets.named,
            "takeover": arguments.takeover,
            "branch": arguments.branch,
            "orchestrator": orchestrator_of(os.environ),
        }
    )
    given = bead | {
        "target": targets.pattern,
        "repo": targets.repo,
        "task": task,
        "id": name,
        "session": arguments.session,
        "agent": arguments.agent,
        "model": arguments.model,
        "title": arguments.title,
        "dx_timeout": arguments.timeout,  # Ansible warns of a variable that is called timeout
        "stall_timeout": arguments.stall_timeout,
        "max_cost": arguments.max_cost,
        "max_steps": arguments.max_steps,
        "preflight_timeout": arguments.preflight_timeout,
        "no_wait": arguments.no_wait,
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


def _ids(vm: str, arguments: Arguments, name: str | None) -> dict[str, str]:
    """What a dispatch without a bead is called on a VM, from its start."""
    if name is None:
        return {}
    own = identity.dispatch_id_on(vm, name, named=not arguments.all)
    session = arguments.session or identity.session_id(own)
    return {"dispatch": own, "session": session, "message": identity.message_id(own)}


def _finished(outcome: Outcome, arguments: Arguments, name: str | None, again: str) -> Outcome:
    """The outcome, unless the run broke off before it was known."""
    if outcome.reason_code == OWN_FAULT and outcome.dispatch is None:
        return outcome.with_(**_ids(outcome.vm or "", arguments, name))
    expected = {State.PLANNED: arguments.dry_run, State.RUNNING: arguments.no_wait or arguments.dry_run}
    if expected.get(outcome.state, True):
        return outcome
    fault = _own_fault(outcome.vm or "", "its run ended before the outcome was known", again)
    return fault.with_(session=outcome.session, message=outcome.message, dispatch=outcome.dispatch)


def _own_fault(vm: str, why: str, again: str) -> Outcome:
    return Outcome(State.FAILED, OWN_FAULT, f"{vm}: our own fault: {why}", next_action=again, vm=vm)


def _command(arguments: Arguments, targets: Targets, name: str | None, *, with_task: bool) -> str:
    """This command again, for the same dispatch: with the task it also sends what is missing."""
    words = ["dx-dispatch"] + ["--all"] * arguments.all
    words += ["--id", name] if name is not None else []
    words += ["--bead", arguments.any_bead] if arguments.any_bead is not None else []
    options: list[tuple[str, object]] = [
        ("--session", arguments.session),
        ("--timeout", arguments.timeout),
        ("--stall-timeout", arguments.stall_timeout),
        ("--max-cost", arguments.max_cost),
        ("--max-steps", arguments.max_steps),
        ("--inventory", arguments.inventory),
    ]
    if with_task:
        options += [("--agent", arguments.agent), ("--model", arguments.model), ("--title", arguments.title)]
    for option, value in options:
        if value is not None:
            words += [option, f"{value:g}" if isinstance(value, float) else str(value)]
    positional = [] if arguments.all else [targets.vms[0]]
    if with_task:
        positional += [word for word in (targets.repo, targets.task) if word is not None]
    shown = command_line([*words, *(["--"] if with_task else []), *positional])
    return f"{shown} <TASK_FILE" if with_task and targets.task == "-" else shown


def _detached(
    arguments: Arguments,
    targets: Targets,
    name: str | None,
    collected: playbook_run.Collected,
    sent: set[str],
) -> ExitCode:
    """A person pressed Ctrl-C: the remote work goes on, and the last line says how to join it again."""
    told = {vm: Outcome.from_dict(data) for vm, data in collected.outcomes.items()}
    arrived = sent | {vm for vm, outcome in told.items() if outcome.state is not State.PLANNED}
    again = _command(arguments, targets, name, with_task=not arrived.issuperset(targets.vms))
    vms = [collected.elsewhere.get(vm, vm) for vm in targets.vms]
    outcomes = [
        _left(vm, told.get(vm), _ids(vm, arguments, name), again).with_(bead=arguments.any_bead) for vm in vms
    ]
    if arguments.json:
        print(encoded(document(ExitCode.DETACHED, outcomes)))
        return ExitCode.DETACHED
    print("Detached; what was sent goes on. To join it again:")
    print(again)
    return ExitCode.DETACHED


def _left(vm: str, told: Outcome | None, ids: dict[str, str], again: str) -> Outcome:
    if told is not None and told.state not in (State.PLANNED, State.RUNNING):
        return told
    words = f"{vm}: not followed to its end"
    left = told or Outcome(State.RUNNING, "detached", words, vm=vm).with_(**ids)
    return left.with_(state=State.RUNNING, reason_code="detached", message_to_human=words, next_action=again)
