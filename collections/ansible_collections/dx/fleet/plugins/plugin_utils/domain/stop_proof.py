# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What proves that a stop took effect, by what the VM and the tracker showed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from .person import shown_person
from .stop import Clause

__all__ = ["QUIET_S", "bead_clause", "in_words", "of_directory", "uncommitted"]

QUIET_S = 2.0  # for so long nothing may move after a stop
HEAD_STILL, NO_PROCESS_LEFT, BEAD_BLOCKED = "head_still", "no_process_left", "bead_blocked"


def of_directory(found: Mapping[str, Any]) -> list[Clause]:
    """That no process of the work is left, and that HEAD stays where it is.

    Args:
        found: What ``dx.fleet.work_processes`` returned, or no ``processes`` and ``why``. ``others`` are the
            sessions that work in the same directory.
    """
    return [_processes_clause(found), _head_clause(found)]


def _processes_clause(found: Mapping[str, Any]) -> Clause:
    name = NO_PROCESS_LEFT
    if found["processes"] is None:
        return Clause(name, False, f"unproven: {found['why']}")
    left = found["processes"] + (found["unsure"] or [])
    if found["others"] and left:
        others = ", ".join(found["others"])
        return Clause(name, False, f"unproven: {others} work in the same directory; {_shown(left)}")
    if found["processes"]:
        return Clause(name, False, f"still runs: {_shown(found['processes'])}")
    if found["unsure"]:
        return Clause(name, False, f"unproven: this may be anybody's: {_shown(found['unsure'])}")
    return Clause(name, True, f"none is left; ended: {_shown(found['ended'] or [])}")


def _head_clause(found: Mapping[str, Any]) -> Clause:
    name, head = HEAD_STILL, found.get("head")
    if found["processes"] is None and head is None:
        return Clause(name, False, f"unproven: {found['why']}")
    if head != found["head_before"]:
        return Clause(name, False, f"it moved from {found['head_before']} to {head}")
    if found.get("unread"):
        return Clause(name, False, f"unproven: {found['unread']}")
    if found["watched_s"] < QUIET_S:
        return Clause(name, False, f"unproven: it was watched for {found['watched_s']:.1f} s only")
    if head is None:
        return Clause(name, True, "there is no commit, or no repository")
    return Clause(name, True, f"{head} for {found['watched_s']:.1f} s")


def bead_clause(bead: str, result: Mapping[str, Any] | None) -> Clause:
    """That the bead is blocked, by what ``dx.fleet.beads_claim`` returned; None where it did not run."""
    name = BEAD_BLOCKED
    if result is None:
        return Clause(name, False, f"unproven: {bead} was not written")
    if result.get("failed"):
        return Clause(name, False, f"{bead}: {result.get('msg')}")
    status = (result.get("bead") or {}).get("status")
    if result.get("noted"):
        return Clause(
            name, True, f"{bead} is {status}, as somebody set it meanwhile; it has a note of the stop"
        )
    return Clause(name, status == "blocked", f"{bead} is {status}")


def in_words(stopped: Mapping[str, Any]) -> str:
    """Who stopped it, when and why, for the bead."""
    when = datetime.fromtimestamp(stopped["at"], UTC).isoformat(timespec="seconds")
    return f"stopped by {shown_person(stopped['by'])} at {when}" + (
        f": {stopped['reason']}" if stopped["reason"] else ""
    )


def uncommitted(found: Mapping[str, Any], directory: str) -> str | None:
    """Where changes are that are in no commit, if there are any."""
    dirty = found.get("dirty")
    return f"{dirty} files with changes that are in no commit stay in {directory}" if dirty else None


def _shown(processes: list[dict[str, Any]]) -> str:
    return "; ".join(f"{each['pid']} {each['command'][:60]}" for each in processes[:5]) or "nothing"
