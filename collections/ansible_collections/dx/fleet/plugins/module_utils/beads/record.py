# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a claim writes into a bead, and how it is read there."""

from __future__ import annotations

import secrets
import typing as t
from dataclasses import dataclass
from datetime import datetime, timezone

from .. import session_ids
from .bead import Bead

__all__ = [
    "HELD",
    "Claimant",
    "age_s",
    "attempt_of",
    "claim_metadata",
    "dispatch_of",
    "dispatcher_of",
    "held_s",
    "holds",
    "stamp",
    "summary_of",
    "text_field",
    "vm_of",
]

# Metadata of a claim; attempt stays when it ends, as it must grow with every claim.
HELD = (
    "dispatch",
    "orchestrator",
    "dispatcher",
    "vm",
    "session",
    "message",
    "repo",
    "branch",
    "worktree",
    "claimed_at",
    "taken_from",
    "taken_at",
)


@dataclass(frozen=True)
class Claimant:
    """Who claims, and for what.

    ``dispatcher`` names the process that dispatches, so that others can see whether it lives. A given
    ``dispatch`` may hold the claim already. ``begin``: a free bead may be claimed; else a claim can only be
    continued. ``repo`` is its name, ``worktree`` the directory of the work on the VM.
    """

    vm: str
    orchestrator: str
    repo: str | None = None
    branch: str | None = None
    worktree: str | None = None
    dispatch: str | None = None
    session: str | None = None
    dispatcher: str | None = None
    begin: bool = True


def claim_metadata(bead: Bead, claimant: Claimant, now: datetime) -> dict[str, t.Any]:
    """The metadata of a new claim: all that a crash at any later step leaves to find.

    Two workspaces may have the same bead id, and one server: only the nonce tells their dispatches apart.
    """
    attempt = attempt_of(bead) + 1
    dispatch = claimant.dispatch or f"{bead.id}@{attempt}-{secrets.token_hex(4)}"
    held = {
        "dispatch": dispatch,
        "attempt": attempt,
        "orchestrator": claimant.orchestrator,
        "dispatcher": claimant.dispatcher,
        "vm": claimant.vm,
        "session": claimant.session or session_ids.session_id(dispatch),
        "message": session_ids.message_id(dispatch),
        "repo": claimant.repo,
        "branch": claimant.branch,
        "worktree": claimant.worktree,
        "claimed_at": stamp(now),
    }
    # What an earlier claim left, and this one does not have, is no part of it.
    stale = {key: None for key in HELD if bead.metadata.get(key) is not None}
    return stale | {key: value for key, value in held.items() if value is not None}


def attempt_of(bead: Bead) -> int:
    """How often the bead was claimed."""
    attempt = bead.metadata.get("attempt", 0)
    return attempt if isinstance(attempt, int) and not isinstance(attempt, bool) and attempt >= 0 else 0


def text_field(bead: Bead, name: str) -> str | None:
    """Metadata that is text; anyone can write any other thing there."""
    value = bead.metadata.get(name)
    return value if isinstance(value, str) and value else None


def dispatch_of(bead: Bead) -> str | None:
    """The dispatch that the bead names."""
    return text_field(bead, "dispatch")


def dispatcher_of(bead: Bead) -> str | None:
    """The process that dispatches, as the bead names it."""
    return text_field(bead, "dispatcher")


def vm_of(bead: Bead) -> str | None:
    """The VM that works on the bead, or did."""
    return text_field(bead, "vm") or bead.assignee or None


def holds(bead: Bead, statuses: t.Container[str] = ("in_progress",)) -> bool:
    """Whether a dispatch of ours holds the bead.

    What an ended claim leaves in the metadata does not count once the bead is assigned to somebody else: it
    was taken by hand.
    """
    named = text_field(bead, "dispatch") is not None
    return bead.status in statuses and named and bead.assignee == vm_of(bead)


def summary_of(bead: Bead, now: datetime) -> dict[str, t.Any]:
    """A claim as plain data.

    ``age_s`` is in seconds since it was made, ``held_s`` since its dispatcher made it or went on with it, and
    None where that is unknown.
    """
    names = ("dispatch", "orchestrator", "dispatcher", "session", "message", "repo", "branch", "worktree")
    if not holds(
        bead, ("in_progress", "blocked")
    ):  # what an earlier claim left in it is nothing of whose it is now
        bead = bead.with_(metadata={})
    return {
        "bead": bead.id,
        "title": bead.title,
        "status": bead.status,
        "vm": vm_of(bead),
        "claimed_at": text_field(bead, "claimed_at"),
        "age_s": age_s(bead, now),
        "held_s": held_s(bead, now),
        **{name: text_field(bead, name) for name in names},
        "attempt": attempt_of(bead),
    }


def age_s(bead: Bead, now: datetime) -> float | None:
    """Seconds since the bead was claimed."""
    return _since(text_field(bead, "claimed_at"), now)


def held_s(bead: Bead, now: datetime) -> float | None:
    """Seconds since the one who dispatches it now took it in hand."""
    taken, age = text_field(bead, "taken_at"), age_s(bead, now)
    if taken is None or age is None:
        return age
    since = _since(taken, now)
    return None if since is None else min(age, since)


def _since(moment: str | None, now: datetime) -> float | None:
    try:
        claimed = datetime.fromisoformat(moment or "")
        return max(0.0, round((now - claimed).total_seconds(), 3))
    except (ValueError, TypeError):  # TypeError: a time without a zone
        return None


def stamp(now: datetime) -> str:
    """A moment as it stands in metadata."""
    return now.astimezone(timezone.utc).isoformat(timespec="milliseconds")
