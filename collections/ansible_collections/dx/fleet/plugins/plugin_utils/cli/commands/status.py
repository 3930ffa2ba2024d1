# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``dx-dispatch --list``, ``--status`` and ``--reap``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from ...domain.errors import UsageError
from ...domain.fleet import VM, Fleet
from ...domain.outcome import ExitCode, Outcome
from ...launch import run as playbook_run
from ...launch.interrupt import leaving_by
from ..document import document, encoded
from ..parser import Arguments
from ..terminal import printable
from .dispatch import outcomes_of, report

__all__ = ["list_vms", "reap", "status"]


def list_vms(fleet: Fleet, arguments: Arguments) -> ExitCode:
    """Print the VMs and what they answer to."""
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


def status(fleet: Fleet, inventory: Path, arguments: Arguments) -> ExitCode:
    """Ask the VMs what they are doing, and print it.

    Raises:
        UsageError: There is no such VM, or none to ask.
    """
    vms = [fleet.find(name) for name in arguments.words] or [vm for vm in fleet.vms if vm.enabled]
    if not vms:
        raise UsageError(
            f"no VM in {fleet.source} is enabled", reason_code="no_vm", next_action="dx-dispatch --list"
        )
    names = [vm.name for vm in vms]
    with leaving_by(_interrupted):
        collected = playbook_run.run_playbook(
            "status",
            inventory=inventory,
            variables={"target": ":".join(names), **_beads_found(fleet)},
            hosts=len(vms),
            verbosity=0 if arguments.json else arguments.verbose,
        )
    surveys = [{"vm": name, **collected.surveys[name]} for name in names if name in collected.surveys]
    for survey in [] if arguments.json else surveys:
        _say_survey(survey)
    silent = [name for name in names if name not in collected.surveys]
    outcomes = outcomes_of(silent, collected, "dx-dispatch --status -vvv")
    claims, trouble = _claims(collected)
    for claim in [] if arguments.json else claims or ():
        _say(f"[{claim['vm']}] {claim['summary']}")
    return report(arguments, outcomes + trouble, vms=surveys, claims=claims)


def reap(fleet: Fleet, inventory: Path, arguments: Arguments) -> ExitCode:
    """End the claims that nobody works on, and print what became of each."""
    variables = {"ttl": arguments.ttl} if arguments.ttl is not None else {}
    with leaving_by(_interrupted):
        collected = playbook_run.run_playbook(
            "reap",
            inventory=inventory,
            variables=variables,
            hosts=len(fleet.vms),
            check=arguments.dry_run,
            verbosity=0 if arguments.json else arguments.verbose,
        )
    claims, trouble = _claims(collected)
    if claims is None and not trouble:
        trouble = outcomes_of(list(collected.faults)[:1] or ["tracker"], collected, "dx-dispatch --reap -vvv")
    for claim in [] if arguments.json else claims or ():
        _say(f"[{claim['vm']}] {claim['summary']}")
    if claims == [] and not arguments.json:
        _say("no bead is claimed")
    return report(arguments, trouble, claims=claims)


def _beads_found(fleet: Fleet) -> dict[str, str]:
    """The variable that names the workspace here, where the fleet has none of its own and there is one."""
    if fleet.tracker is not None or fleet.beads_dir is not None:
        return {}
    from ....module_utils.beads.errors import NoWorkspace
    from ....module_utils.beads.workspace import find_workspace

    try:
        return {"dx_beads_dir": find_workspace()}
    except NoWorkspace:
        return {}


def _claims(collected: playbook_run.Collected) -> tuple[list[dict[str, Any]] | None, list[Outcome]]:
    """The claims that the tracker told of (None: it was not asked, or could not say), and what went wrong."""
    told = collected.tracker
    if told is None:
        return None, []
    failed = [Outcome.from_dict(told["outcome"])] if "outcome" in told else []
    if not failed and "claims" not in told:
        raise RuntimeError(str(told.get("msg") or "the tracker told nothing"))
    return told.get("claims"), failed


def _vm_as_dict(fleet: Fleet, vm: VM) -> dict[str, Any]:
    return {
        "vm": vm.name,
        "aliases": list(fleet.unambiguous_aliases(vm)),
        "url": vm.url,
        "enabled": vm.enabled,
        "default": fleet.default_vm is not None and fleet.default() is vm,
        "description": vm.description,
    }


def _interrupted() -> int:
    """Nothing was begun, so nothing is to be said."""
    return int(ExitCode.DETACHED)


def _say_survey(survey: dict[str, Any]) -> None:
    counts = ", ".join(f"{count} {state}" for state, count in survey["session_counts"].items() if count)
    _say(f"[{survey['vm']}] OpenCode {survey['version']} at {survey['url']}: {counts or 'no session'}")
    for session in survey["sessions"]:
        if session["state"] != "idle":
            _say(
                f"    {session['state']:<12} {session['session']}  {session['title']}  {session['directory']}"
            )


def _say(line: str) -> None:
    print(printable(line, sys.stdout))
