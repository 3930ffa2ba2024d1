# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The run that stops work, and the stops that wait for a VM to come back."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Iterable
from pathlib import Path

from ..domain.clock import SYSTEM_CLOCK
from ..domain.fleet import Fleet
from ..domain.stop_wording import stop_lines
from ..launch.collected import Collected
from ..launch.in_child import InChild, RunFailed
from .fleet_playbook import playbook_for
from .kept_stops import KeptStop, KeptStops
from .report import warn

__all__ = ["carry_out_kept_stops", "keep_stops", "person"]


def person() -> str:
    """Who asks, where nobody is named: ``user@host``."""
    return f"{getpass.getuser()}@{socket.gethostname()}"


def keep_stops(
    fleet: Fleet,
    unreached: Iterable[str],
    collected: Collected,
    what: str | None,
    *,
    by: str,
    reason: str,
    asked_at: float,
) -> list[KeptStop]:
    """Keep the stop for the VMs that may do what is to be stopped and could not be reached; returns it.

    Args:
        fleet: The fleet.
        unreached: The VMs.
        collected: What the run that tried returned.
        what: A session, bead or dispatch; None for all that a VM does.
        by: Who asked.
        reason: Why.
        asked_at: When, in seconds since the epoch.
    """
    if what is not None and any(collected.stops.values()):
        return []  # it was another VM's
    claims = (collected.tracker or {}).get("claims") or ()
    owners = {each["vm"] for each in claims if what in (each["bead"], each["dispatch"], each["session"])}
    kept = []
    for vm in unreached:
        if what is not None and owners and vm not in owners:
            continue
        stop = KeptStop(vm, what, by, reason, asked_at, fleet.find(vm).url)
        try:
            KeptStops(os.environ).keep(stop)
        except (OSError, RuntimeError) as error:
            warn(f"the stop of {what or 'all work'} on {vm} can't be kept: {error}", "dx-fleet")
        else:
            kept.append(stop)
    return kept


def carry_out_kept_stops(fleet: Fleet, inventory: Path, vms: Iterable[str]) -> int:
    """Do the stops that are kept for these VMs, and say so on standard error; returns how many were done.

    One whose VM can still not be reached stays. One that is too old is dropped.
    """
    try:
        kept = KeptStops(os.environ)
    except RuntimeError:  # no home, so nothing is kept there
        return 0
    wanted = {(vm, fleet.find(vm).url) for vm in vms}
    mine = [each for each in kept.all() if (each.vm, each.url) in wanted]
    if not mine:
        return 0
    with kept.being_done() as alone:
        return sum(_done(fleet, inventory, kept, each) for each in mine) if alone else 0


def _done(fleet: Fleet, inventory: Path, kept: KeptStops, stop: KeptStop) -> bool:
    words = stop.in_words(SYSTEM_CLOCK.time())
    if stop.is_expired(SYSTEM_CLOCK.time()):
        kept.done(stop)
        warn(f"the kept stop of {words} is dropped: it is too old", "dx-fleet")
        return False
    given = {"what": stop.what, "by": stop.by, "reason": stop.reason or None, "asked_at": stop.asked_at}
    try:
        collected = InChild().run(playbook_for("stop", fleet, inventory, [stop.vm], given))
    except RunFailed as error:
        warn(f"the kept stop of {words} can't be done now: {error.message}", "dx-fleet")
        return False
    stops = collected.stops.get(stop.vm)
    if stops is None or any(each["state"] == "still_works" for each in stops):
        return False  # it stays: the VM is not there yet, or goes on
    kept.done(stop)
    warn(f"the kept stop of {words} is done{'' if stops else ': nothing of it works there'}", "dx-fleet")
    for line in (line for each in stops for line in stop_lines(each)):
        warn(line, "dx-fleet")
    return True
