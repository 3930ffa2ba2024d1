# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A dispatch by dx-dispatch: a run of the playbook, and what is told of it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .. import identity
from ..fleet import Fleet
from ..outcome import Evidence, ExitCode, Outcome, State, ToolRun, exit_code
from ..shell import command_line
from ..task import MAX_TASK_BYTES, check_task
from . import playbook_run
from .arguments import Arguments, Targets, check_words, targets_of
from .document import document, encoded
from .interrupt import leaving_by
from .views import following, summary_lines

__all__ = ["OWN_FAULT", "dispatch", "outcomes_of", "report"]

OWN_FAULT = "own_fault"


def dispatch(fleet: Fleet, inventory: Path, arguments: Arguments, argv: Sequence[str]) -> ExitCode:
    """Dispatch to the VMs that the arguments name, and tell what became of it.

    Raises:
        UsageError: The arguments can't be meant.
    """
    targets = targets_of(arguments, fleet)
    task = _task(targets)
    check_words(argv)
    name = identity.new_dispatch_id() if arguments.id is None else identity.check_dispatch_id(arguments.id)
    if arguments.slack:
        print("dx-dispatch: there is no Slack audit yet; dispatching without it", file=sys.stderr)
    with following(targets.vms, quiet=arguments.json) as followed:

        def detach() -> int:
            followed.close()
            return _detached(arguments, targets, name, playbook_run.collected, followed.sent)

        with leaving_by(detach):
            collected = playbook_run.run_playbook(
                "dispatch",
                inventory=inventory,
                variables=_variables(arguments, targets, task, name),
                hosts=len(targets.vms),
                check=arguments.dry_run,
                verbosity=0 if arguments.json else arguments.verbose,
            )
    whole = _command(arguments, targets, name, with_task=True)
    outcomes = [
        _finished(outcome, arguments, whole) for outcome in outcomes_of(targets.vms, collected, whole)
    ]
    rejoin = _command(arguments, targets, name, with_task=False)
    return report(
        arguments,
        [
            outcome.with_(next_action=rejoin) if outcome.reason_code == "server_silent" else outcome
            for outcome in outcomes
        ],
    )


def outcomes_of(vms: Sequence[str], collected: playbook_run.Collected, again: str) -> list[Outcome]:
    """One outcome per VM. A VM without one met a fault of ours: that is said, and nothing else claimed."""
    return [
        outcome_from(collected.outcomes[vm])
        if vm in collected.outcomes
        else _own_fault(vm, collected.faults.get(vm, "its run ended without an outcome"), again)
        for vm in vms
    ]


def outcome_from(data: dict[str, Any]) -> Outcome:
    """The outcome that a task returned as plain data."""
    evidence = dict(data["evidence"])
    if evidence.get("tools") is not None:
        evidence["tools"] = tuple(ToolRun(**tool) for tool in evidence["tools"])
    return Outcome(**{**data, "state": State(data["state"]), "evidence": Evidence(**evidence)})


def report(
    arguments: Arguments, outcomes: list[Outcome], vms: list[dict[str, Any]] | None = None
) -> ExitCode:
    """Print the outcomes; returns the exit code. ``vms`` goes into the document as it is."""
    states = [outcome.state for outcome in outcomes] + [State.RUNNING] * len(vms or ())
    code = exit_code(states)
    if any(outcome.reason_code == OWN_FAULT for outcome in outcomes):
        code = ExitCode.OWN_FAULT
    if arguments.json:
        print(encoded(document(code, outcomes, vms=vms)))
        return code
    for outcome in outcomes:
        print("\n".join(summary_lines(outcome, sys.stdout)))
    return code


def _variables(arguments: Arguments, targets: Targets, task: str | None, name: str) -> dict[str, Any]:
    """The playbook's variables; what was not given is left out, so that its defaults hold."""
    given = {
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


def _finished(outcome: Outcome, arguments: Arguments, again: str) -> Outcome:
    """The outcome, unless the run broke off before it was known."""
    expected = {State.PLANNED: arguments.dry_run, State.RUNNING: arguments.no_wait or arguments.dry_run}
    if expected.get(outcome.state, True):
        return outcome
    fault = _own_fault(outcome.vm or "", "its run ended before the outcome was known", again)
    return fault.with_(session=outcome.session, message=outcome.message, dispatch=outcome.dispatch)


def _own_fault(vm: str, why: str, again: str) -> Outcome:
    return Outcome(State.FAILED, OWN_FAULT, f"{vm}: our own fault: {why}", next_action=again, vm=vm)


def _command(arguments: Arguments, targets: Targets, name: str, *, with_task: bool) -> str:
    """This command again, under the same id: without the task it joins, with it it sends what is missing."""
    words = ["dx-dispatch", "--id", name] + ["--all"] * arguments.all
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
    name: str,
    collected: playbook_run.Collected,
    sent: set[str],
) -> ExitCode:
    """A person pressed Ctrl-C: the remote work goes on, and the last line says how to join it again."""
    told = {vm: outcome_from(data) for vm, data in collected.outcomes.items()}
    arrived = sent | {vm for vm, outcome in told.items() if outcome.state is not State.PLANNED}
    again = _command(arguments, targets, name, with_task=not arrived.issuperset(targets.vms))
    outcomes = [_left(vm, told.get(vm), name, again) for vm in targets.vms]
    if arguments.json:
        print(encoded(document(ExitCode.DETACHED, outcomes)))
        return ExitCode.DETACHED
    print("Detached; what was sent goes on. To join it again:")
    print(again)
    return ExitCode.DETACHED


def _left(vm: str, told: Outcome | None, name: str, again: str) -> Outcome:
    if told is not None and told.state not in (State.PLANNED, State.RUNNING):
        return told
    words = f"{vm}: not followed to its end"
    left = told or Outcome(State.RUNNING, "detached", words, vm=vm, dispatch=name)
    return left.with_(state=State.RUNNING, reason_code="detached", message_to_human=words, next_action=again)
