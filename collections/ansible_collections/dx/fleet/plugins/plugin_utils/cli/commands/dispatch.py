# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A dispatch by dx-dispatch: a run of the playbook, and its report."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, replace
from typing import Any

from ...domain import identity
from ...domain.event_kind import EventKind
from ...domain.fleet import Fleet
from ...domain.next_action import bead_command, join_command, send_command
from ...domain.orchestrator import orchestrator_of
from ...domain.outcome import ExitCode, Outcome, State
from ...domain.progress import ProgressEvent
from ...domain.targets import check_session_of_id, check_vm_of_id
from ...domain.task import MAX_TASK_BYTES, check_task
from ...domain.work import work_of
from ...launch.collected import Collected
from ...launch.in_process import InProcess
from ...launch.interrupt import leaving_by
from ...launch.playbook_run import PlaybookRun
from ..asking import asking, on_input_of
from ..command import Command
from ..dispatch_options import HELP_EXAMPLES, USAGE, DispatchOptions
from ..dispatch_record import Recorded, recorded, remember
from ..fleet_source import find_fleet
from ..report import OWN_FAULT, Report, graded, outcomes_of, own_fault, show, warn
from ..slack_audit import Audit
from ..stopping import carry_out_kept_stops
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
    known = _known(options)
    targets, locate = _where_the_id_is(options, targets, fleet, known)
    options = _in_its_session(options, known)
    on_input = on_input_of(options)
    asked = _asked(options, targets, task, name)
    if known is not None and task is None:  # it is joined: what was asked for then holds
        asked = {**known.asked, **({"no_verify": None} if "verify" in asked else {}), **asked}
    run = _Run(asked, targets, options.all, name)
    audit = Audit(options, fleet)
    playbook = PlaybookRun(
        "dispatch",
        inventory,
        variables=_variables(run.asked | ({"on_input": on_input} if on_input == "ask" else {})),
        hosts=len(targets.vms),
        check=options.dry_run,
        verbosity=0 if options.json else options.verbose,
        callbacks=audit.callbacks,
        skip_tags=_not_needed(run.asked, fleet, locate=locate),
    )
    if not options.dry_run:
        carry_out_kept_stops(fleet, inventory, targets.vms)
    launcher = InProcess()
    with (
        following(
            targets.vms, quiet=options.json, as_json=sys.stderr if options.progress_json else None
        ) as followed,
        asking(inventory, followed, at_all=on_input == "ask" and not options.no_wait) as prompt,
    ):

        def detach() -> int:
            prompt.close()
            followed.close()
            left = _detached(options, run, launcher.so_far(), followed.sent)
            return show(left, options.json)

        def take(event: ProgressEvent) -> None:
            followed.take(event)
            prompt.take(event)
            if event.kind is EventKind.TASK_SENT:
                _remember(event.vm, _ids(event.vm, options, name), run.asked)

        with leaving_by(detach):
            collected = launcher.run(playbook, take)
    vms = [collected.elsewhere.get(vm, vm) for vm in targets.vms]
    outcomes = [
        _finished(outcome, options, run).with_(bead=options.any_bead)
        for outcome in outcomes_of(vms, collected, run.again(with_task=True))
    ]
    counted = audit.counted(outcomes)
    return Report(graded(counted), counted)


def _known(options: DispatchOptions) -> Recorded | None:
    """What is recorded here of the dispatch that the options name."""
    if options.id is None or options.any_bead is not None or options.all:
        return None
    return recorded(os.environ, options.id)


def _where_the_id_is(
    options: DispatchOptions, targets: Targets, fleet: Fleet, known: Recorded | None
) -> tuple[Targets, bool]:
    """The targets, where the id may have been dispatched before; and whether the VMs are to be asked for it.

    Raises:
        DispatchError: ``id_elsewhere``.
    """
    if options.id is None or options.any_bead is not None or options.all:
        return targets, False
    if known is None or known.vm not in fleet.names():
        return targets, True
    if targets.named:
        check_vm_of_id(options.id, targets.vms[0], known.vm)
    return replace(targets, pattern=known.vm, vms=(known.vm,)), False


def _in_its_session(options: DispatchOptions, known: Recorded | None) -> DispatchOptions:
    """The options, in the session that the dispatch resumed.

    Raises:
        DispatchError: ``id_elsewhere``.
    """
    if known is None or known.session is None or options.id is None:
        return options
    if options.session is not None:
        check_session_of_id(options.id, known.vm, options.session, known.session)
    own = identity.session_id(options.id)
    return options if known.session == own else replace(options, session=known.session)


def _remember(vm: str, ids: dict[str, str], asked: dict[str, Any]) -> None:
    if not ids:  # a bead keeps its own record
        return
    why = remember(os.environ, ids["dispatch"], vm, asked, ids["session"])
    if why is not None:
        warn(
            f"{ids['dispatch']} can't be recorded here, and will be found by asking the VMs: {why}",
            "dx-dispatch",
        )


def _name(options: DispatchOptions) -> str | None:
    """The dispatch's id; that of a bead's dispatch follows from its claim.

    Raises:
        UsageError: It can't be one.
    """
    if options.id is not None:
        return identity.check_dispatch_id(options.id)
    return identity.new_dispatch_id() if options.any_bead is None else None


def _asked(options: DispatchOptions, targets: Targets, task: str | None, name: str | None) -> dict[str, Any]:
    """What the run is asked for; what was not given is left out, so that the modules' defaults hold."""
    bead = (
        {}
        if options.any_bead is None
        else {
            "bead": options.any_bead,
            "retry": options.retry is not None,
            "force": options.force,
            "takeover": options.takeover,
            "orchestrator": orchestrator_of(os.environ),
        }
    )
    given = bead | {
        "target": targets.pattern,
        "repo": targets.repo,
        "task": task,
        "id": name,
        "session": options.session,
        "same_session": options.same_session or None,
        "branch": options.branch,
        "verify": options.verify,
        "no_verify": options.no_verify or None,
        "expect_changes": options.expect_changes or None,
        "push": options.push or None,
        "agent": options.agent,
        "model": options.model,
        "title": options.title,
        "timeout": options.timeout,
        "stall_timeout": options.stall_timeout,
        "max_cost": options.max_cost,
        "max_steps": options.max_steps,
        "preflight_timeout": options.preflight_timeout,
        "no_wait": options.no_wait,
        "on_input": options.on_input,
        "any_vm": _may_be_elsewhere(options, targets) or None,
        "slack": options.slack,
        "inventory": None if options.inventory is None else str(options.inventory),
    }
    return {key: value for key, value in given.items() if value is not None}


def _not_needed(asked: dict[str, Any], fleet: Fleet, *, locate: bool) -> tuple[str, ...]:
    """The tags of the playbook's steps that this run does not need: each would cost a process.

    Raises:
        UsageError: What is asked for does not go together.
    """
    bead = "bead" in asked
    work = work_of(asked, fleet.policies(), {})
    needed = {
        "dx_bead": bead,
        "dx_id": locate,
        "dx_look": bead or work.isolated,  # a look of its own is there for what stands before the task
        "dx_worktree": bead or work.isolated,
        # A bead has its repo from its claim, whatever its task is; a joined dispatch has it from its session.
        "dx_verify": work.verify is not None or (work.repo is None and (bead or "task" not in asked)),
    }
    return ("report", *(tag for tag, is_needed in needed.items() if not is_needed))


def _may_be_elsewhere(options: DispatchOptions, targets: Targets) -> bool:
    """Whether the run is about a bead or a dispatch that another VM than the default one may have."""
    known = options.id is not None or options.any_bead is not None
    return known and not targets.named and not options.all


def _variables(asked: dict[str, Any]) -> dict[str, Any]:
    """The variables of the playbook: Ansible warns of one that is called timeout."""
    own = ("timeout", "slack", "inventory")
    return {f"dx_{name}" if name in own else name: value for name, value in asked.items()}


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


def _finished(outcome: Outcome, options: DispatchOptions, run: _Run) -> Outcome:
    """The outcome, unless the run broke off before it was known."""
    vm = outcome.vm or ""
    if outcome.reason_code == OWN_FAULT and outcome.dispatch is None:
        return outcome.with_(**_ids(vm, options, run.name), next_action=run.again(vm, with_task=True))
    expected = {State.PLANNED: options.dry_run, State.RUNNING: options.no_wait or options.dry_run}
    if expected.get(outcome.state, True):
        return outcome
    again = run.again(vm, with_task=True)
    fault = own_fault(vm, "its run ended before the outcome was known", again)
    return fault.with_(session=outcome.session, message=outcome.message, dispatch=outcome.dispatch)


@dataclass(frozen=True)
class _Run:
    """What is run, and the command that runs it again for the same dispatch."""

    asked: dict[str, Any]
    targets: Targets
    everywhere: bool
    name: str | None

    def again(self, vm: str | None = None, *, with_task: bool) -> str:
        """The command, for one VM or for all of the run; with the task it also sends what is missing."""
        vm = vm or (None if self.everywhere else self.targets.vms[0])
        if self.name is None:
            return bead_command(self.asked, self.asked["bead"], vm)
        own = identity.dispatch_id_on(vm, self.name, named=not self.everywhere) if vm else self.name
        if with_task:
            return send_command(self.asked, vm, own)
        return join_command(self.asked, vm, own, self.asked.get("session"))


def _detached(options: DispatchOptions, run: _Run, collected: Collected, sent: set[str]) -> Report:
    """A person pressed Ctrl-C: the remote work goes on, and the last line says how to join it again."""
    told = {vm: Outcome.from_dict(data) for vm, data in collected.outcomes.items()}
    arrived = sent | {vm for vm, outcome in told.items() if outcome.state is not State.PLANNED}
    outcomes = [
        _left(
            vm,
            told.get(vm),
            _ids(vm, options, run.name),
            run.again(vm, with_task=vm not in arrived),
        ).with_(bead=options.any_bead)
        for vm in (collected.elsewhere.get(vm, vm) for vm in run.targets.vms)
    ]
    again = run.again(with_task=not arrived.issuperset(outcome.vm for outcome in outcomes))
    lines = ("Detached; what was sent goes on. To join it again:", again)
    return Report(ExitCode.DETACHED, outcomes, lines, summaries=False)


def _left(vm: str, told: Outcome | None, ids: dict[str, str], again: str) -> Outcome:
    if told is not None and told.state not in (State.PLANNED, State.RUNNING):
        return told
    words = "not followed to its end"
    left = told or Outcome(State.RUNNING, "detached", words, vm=vm).with_(**ids)
    return left.with_(state=State.RUNNING, reason_code="detached", message_to_human=words, next_action=again)


COMMAND = Command(DispatchOptions, dispatch, USAGE, HELP_EXAMPLES)
