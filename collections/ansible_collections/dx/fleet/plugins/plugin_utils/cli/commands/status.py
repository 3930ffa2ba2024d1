# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``dx-fleet status``: what the VMs are doing, and who holds which bead."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from ...domain.clock import SYSTEM_CLOCK
from ...domain.errors import UsageError
from ...domain.fleet import Fleet
from ...launch.in_process import InProcess
from ...launch.interrupt import leaving_by
from ...listener.health import Health, health_file
from ..claims import claim_lines, claims_of
from ..command import Command
from ..fleet_playbook import playbook_for
from ..fleet_source import find_fleet, vm_names
from ..kept_stops import KeptStops, as_section
from ..options import Options, words
from ..report import Report, graded, left, outcomes_of
from ..stopping import carry_out_kept_stops

__all__ = ["COMMAND", "StatusOptions", "status"]


@dataclass(frozen=True)
class StatusOptions(Options):
    """Ask the VMs what they are doing, and Beads who holds which bead."""

    words: tuple[str, ...] = words(
        "VM", help="the VMs to ask (default: every enabled one)", complete=vm_names
    )


def status(options: StatusOptions) -> Report:
    """What the VMs are doing.

    Raises:
        UsageError: There is no such VM, or none to ask.
    """
    fleet, inventory = find_fleet(options.inventory)
    names = _asked(fleet, options.words)
    playbook = playbook_for(
        "status", fleet, inventory, names, verbosity=0 if options.json else options.verbose
    )
    with leaving_by(left):
        collected = InProcess().run(playbook)
    surveys = [{"vm": name, **collected.surveys[name]} for name in names if name in collected.surveys]
    silent = [name for name in names if name not in collected.surveys]
    claims, trouble = claims_of(collected)
    outcomes = outcomes_of(silent, collected, "dx-fleet status -vvv") + trouble
    sections: dict[str, Any] = {"vms": surveys} | ({} if claims is None else {"claims": claims})
    listener = Health.read(health_file(os.environ))
    if listener is not None:
        sections["listener"] = asdict(listener)
    carry_out_kept_stops(fleet, inventory, [survey["vm"] for survey in surveys])
    kept = KeptStops(os.environ).all()
    if kept:
        sections["kept_stops"] = as_section(kept)
    lines = [line for survey in surveys for line in _survey_lines(survey)] + claim_lines(claims)
    lines += [] if listener is None else [f"Listener: {listener.in_words(SYSTEM_CLOCK.time())}"]
    lines += [f"Kept stop: {stop.in_words(SYSTEM_CLOCK.time())}" for stop in kept]
    return Report(graded(outcomes, len(surveys) + (claims is not None)), outcomes, lines, sections)


def _asked(fleet: Fleet, named: tuple[str, ...]) -> list[str]:
    vms = [fleet.find(name) for name in named] or [vm for vm in fleet.vms if vm.enabled]
    if not vms:
        raise UsageError(
            f"no VM in {fleet.source} is enabled", reason_code="no_vm", next_action="dx-fleet list"
        )
    return list(dict.fromkeys(vm.name for vm in vms))


def _survey_lines(survey: dict[str, Any]) -> Iterator[str]:
    counts = ", ".join(f"{count} {state}" for state, count in survey["session_counts"].items() if count)
    yield f"[{survey['vm']}] OpenCode {survey['version']} at {survey['url']}: {counts or 'no session'}"
    for session in survey["sessions"]:
        if session["state"] != "idle":
            shown = (f"{session['state']:<12} {session['session']}", session["title"], session["directory"])
            yield "    " + "  ".join(shown)


COMMAND = Command(StatusOptions, status, "[VM ...]")
