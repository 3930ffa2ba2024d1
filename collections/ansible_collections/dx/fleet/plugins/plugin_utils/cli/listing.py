# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``dx-dispatch --list`` and ``--status``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..fleet import VM, Fleet
from ..outcome import ExitCode
from . import playbook_run
from .arguments import Arguments
from .dispatching import outcomes_of, report
from .document import document, encoded
from .interrupt import leaving_by
from .views import printable

__all__ = ["list_vms", "status"]


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
            variables={"target": ":".join(names)},
            hosts=len(vms),
            verbosity=0 if arguments.json else arguments.verbose,
        )
    surveys = [{"vm": name, **collected.surveys[name]} for name in names if name in collected.surveys]
    for survey in [] if arguments.json else surveys:
        _say_survey(survey)
    silent = [name for name in names if name not in collected.surveys]
    return report(arguments, outcomes_of(silent, collected, "dx-dispatch --status -vvv"), vms=surveys)


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
