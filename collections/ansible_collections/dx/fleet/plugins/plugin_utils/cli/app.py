# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command dx-dispatch, from its arguments to its exit code."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .. import identity
from ..advice import reattach_command
from ..errors import FleetError, UsageError
from ..fleet import VM, Fleet
from ..outcome import Evidence, ExitCode, Outcome, State, ToolRun, exit_code
from ..task import MAX_TASK_BYTES, check_task
from . import playbook_run
from .arguments import Arguments, Targets, parse, targets_of
from .document import document, encoded
from .views import following, printable, summary_lines

__all__ = ["run"]


def run(argv: Sequence[str]) -> int:
    """Run the command.

    Args:
        argv: The words after its name.

    Returns:
        The exit code; see :class:`~..outcome.ExitCode`.
    """
    try:
        arguments = parse(argv)
    except UsageError as error:
        return _fail(error, as_json="--json" in argv, code=ExitCode.USAGE)
    try:
        return int(_command(arguments, argv))
    except UsageError as error:
        return _fail(error, as_json=arguments.json, code=ExitCode.USAGE)
    except FleetError as error:
        return _fail(error, as_json=arguments.json, code=ExitCode.of(error.state))
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - the interpreter flushes it at its end
        return int(ExitCode.OWN_FAULT)


def _command(arguments: Arguments, argv: Sequence[str]) -> ExitCode:
    fleet, inventory = _fleet(arguments)
    if arguments.list:
        return _list(fleet, arguments)
    if arguments.status:
        return _status(fleet, inventory, arguments)
    return _dispatch(fleet, inventory, arguments, argv)


# -- dispatch ----------------------------------------------------------------------------------------------


def _dispatch(fleet: Fleet, inventory: Path, arguments: Arguments, argv: Sequence[str]) -> ExitCode:
    targets = targets_of(arguments, fleet)
    task = _task(targets)
    dispatch = identity.check_dispatch_id(arguments.id) if arguments.id else identity.new_dispatch_id()
    if arguments.slack:
        print("dx-dispatch: there is no Slack audit yet; dispatching without it", file=sys.stderr)
    with following(targets.vms, quiet=arguments.json) as followed:
        try:
            collected = playbook_run.run_playbook(
                "dispatch",
                inventory=inventory,
                variables=_variables(arguments, targets, task, dispatch),
                hosts=len(targets.vms),
                check=arguments.dry_run,
                verbosity=arguments.verbose,
            )
            detached = False
        except KeyboardInterrupt:
            collected, detached = playbook_run.collected, True
    if detached:
        return _detached(arguments, targets, dispatch, collected, followed.sent, argv)
    return _report(arguments, _outcomes(targets, collected))


def _variables(arguments: Arguments, targets: Targets, task: str | None, dispatch: str) -> dict[str, Any]:
    """The playbook's variables; what was not given is left out, so that its defaults hold."""
    given = {
        "target": targets.pattern,
        "repo": targets.repo,
        "task": task,
        "id": dispatch,
        "session": arguments.session,
        "agent": arguments.agent,
        "model": arguments.model,
        "title": arguments.title,
        "timeout": arguments.timeout,
        "stall_timeout": arguments.stall_timeout,
        "max_cost": arguments.max_cost,
        "max_steps": arguments.max_steps,
        "no_wait": arguments.no_wait,
    }
    return {name: value for name, value in given.items() if value is not None}


def _task(targets: Targets) -> str | None:
    if targets.task is None:
        return None
    if targets.task != "-":
        return check_task(targets.task)
    data = sys.stdin.buffer.read(MAX_TASK_BYTES + 1)
    return check_task(data.decode("utf-8", "surrogateescape"))


def _outcomes(targets: Targets, collected: playbook_run.Collected) -> list[Outcome]:
    """One outcome per VM. A VM without one met a fault of ours, which is said and not graded.

    Raises:
        FleetError: A fault of ours.
    """
    missing = [vm for vm in targets.vms if vm not in collected.outcomes]
    if missing:
        why = collected.faults.get(missing[0], "its run ended without an outcome")
        raise OwnFault(f"{missing[0]}: {why}")
    return [_outcome(collected.outcomes[vm]) for vm in targets.vms]


class OwnFault(FleetError):
    """This program, its playbook or Ansible failed: nothing is known of the task."""

    def __init__(self, message: str) -> None:
        super().__init__(message, reason_code="own_fault", next_action="run it again with -vvv and report it")


def _outcome(data: dict[str, Any]) -> Outcome:
    evidence = dict(data["evidence"])
    if evidence.get("tools") is not None:
        evidence["tools"] = tuple(ToolRun(**tool) for tool in evidence["tools"])
    return Outcome(**{**data, "state": State(data["state"]), "evidence": Evidence(**evidence)})


def _report(arguments: Arguments, outcomes: list[Outcome]) -> ExitCode:
    code = exit_code(outcome.state for outcome in outcomes)
    if arguments.json:
        print(encoded(document(code, outcomes)))
        return code
    for outcome in outcomes:
        for line in summary_lines(outcome, colour=sys.stdout.isatty()):
            _say(line)
    return code


def _detached(
    arguments: Arguments,
    targets: Targets,
    dispatch: str,
    collected: playbook_run.Collected,
    sent: set[str],
    argv: Sequence[str],
) -> ExitCode:
    """A person pressed Ctrl-C: the remote work goes on, and the last line says how to join it again."""
    told = {vm: _outcome(data) for vm, data in collected.outcomes.items()}
    all_sent = all(vm in sent or vm in told for vm in targets.vms)
    if all_sent and len(targets.vms) == 1:
        again = reattach_command(targets.vms[0], dispatch, arguments.session)
    else:  # some VM may not have the task yet: the whole command sends it there, and only there
        words = list(argv) if arguments.id else [*argv, "--id", dispatch]
        again = shlex.join(["dx-dispatch", *words])
    outcomes = [
        (told.get(vm) or Outcome(State.RUNNING, "detached", f"{vm}: not followed to its end", vm=vm)).with_(
            next_action=again
        )
        for vm in targets.vms
    ]
    if arguments.json:
        print(encoded(document(ExitCode.DETACHED, outcomes)))
    else:
        print("Detached; what was sent goes on. To join it again:")
        print(again)
    return ExitCode.DETACHED


# -- list and status -----------------------------------------------------------------------------------------


def _list(fleet: Fleet, arguments: Arguments) -> ExitCode:
    vms = [_vm_as_dict(fleet, vm) for vm in fleet.vms]
    if arguments.json:
        print(encoded(document(ExitCode.DONE, vms=vms)))
        return ExitCode.DONE
    _say(f"{fleet.source}:")
    width = max(len(vm.name) for vm in fleet.vms)
    for vm in vms:
        notes = [note for note, true in (("default", vm["default"]), ("disabled", not vm["enabled"])) if true]
        names = f"  also {', '.join(vm['aliases'])}" if vm["aliases"] else ""
        _say(f"  {vm['vm']:<{width}}  {vm['url']}{''.join(f'  ({note})' for note in notes)}{names}")
    return ExitCode.DONE


def _vm_as_dict(fleet: Fleet, vm: VM) -> dict[str, Any]:
    return {
        "vm": vm.name,
        "aliases": list(fleet.unambiguous_aliases(vm)),
        "url": vm.url,
        "enabled": vm.enabled,
        "default": fleet.default_vm is not None and fleet.default() is vm,
        "description": vm.description,
    }


def _status(fleet: Fleet, inventory: Path, arguments: Arguments) -> ExitCode:
    vms = [fleet.find(name) for name in arguments.words] or [vm for vm in fleet.vms if vm.enabled]
    targets = Targets(":".join(vm.name for vm in vms), tuple(vm.name for vm in vms), None, None)
    collected = playbook_run.run_playbook(
        "status",
        inventory=inventory,
        variables={"target": targets.pattern},
        hosts=len(vms),
        verbosity=arguments.verbose,
    )
    surveys = {vm.name: collected.surveys[vm.name] for vm in vms if vm.name in collected.surveys}
    failed = Targets("", tuple(vm.name for vm in vms if vm.name not in surveys), None, None)
    outcomes = _outcomes(failed, collected)
    states = [State.RUNNING] * len(surveys) + [outcome.state for outcome in outcomes]
    code = exit_code(states)
    if arguments.json:
        shown = [{"vm": name, **survey} for name, survey in surveys.items()]
        print(encoded(document(code, outcomes, vms=shown)))
        return code
    for name, survey in surveys.items():
        _say_survey(name, survey)
    for outcome in outcomes:
        for line in summary_lines(outcome, colour=sys.stdout.isatty()):
            _say(line)
    return code


def _say_survey(name: str, survey: dict[str, Any]) -> None:
    counts = ", ".join(f"{count} {state}" for state, count in survey["session_counts"].items() if count)
    _say(f"[{name}] OpenCode {survey['version']} at {survey['url']}: {counts or 'no session'}")
    for session in survey["sessions"]:
        if session["state"] != "idle":
            _say(
                f"    {session['state']:<12} {session['session']}  {session['title']}  {session['directory']}"
            )


# -- shared --------------------------------------------------------------------------------------------------


def _fleet(arguments: Arguments) -> tuple[Fleet, Path]:
    """The fleet, and the inventory source from which Ansible makes the same one.

    Raises:
        ConfigError: There is none, or it is wrong.
    """
    from ..endpoints import endpoints_of, find_endpoints, load_fleet

    if arguments.inventory is not None:
        endpoints = endpoints_of(arguments.inventory, os.environ)
        return load_fleet(endpoints), arguments.inventory
    checkout = Path(__file__).parents[7] / "inventory" / "vm-endpoints.json"
    endpoints = find_endpoints(os.environ, checkout)
    return load_fleet(endpoints), endpoints


def _say(line: str) -> None:
    colour = "\033" in line
    print(line if colour else printable(line, sys.stdout))


def _fail(error: FleetError, *, as_json: bool, code: ExitCode) -> int:
    if isinstance(error, OwnFault):
        code = ExitCode.OWN_FAULT
    if as_json:
        print(encoded(document(code, error=error)))
    else:
        print(printable(f"dx-dispatch: {error.message}", sys.stderr), file=sys.stderr)
        if error.next_action:
            print(printable(f"next: {error.next_action}", sys.stderr), file=sys.stderr)
    return int(code)
