# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the claim of a dispatch ends in its bead, unless somebody else decided about the bead meanwhile."""

from __future__ import annotations

import json
import typing as t
from dataclasses import dataclass

from .bd import Bd
from .bead import Bead
from .claim_writes import NOTE, without_note
from .errors import MAYBE_WRITTEN, AlreadyClaimed, BeadsError, BeadTooLarge, ClaimLost
from .record import HELD, dispatch_of, dispatcher_of, holds

__all__ = ["End", "Seen", "end_claim", "note_claim"]

CLOSED_BY = "dispatch"


@dataclass(frozen=True)
class Seen:
    """What was seen of a claim by who wants to end it for another: its status and its dispatcher."""

    status: str
    dispatcher: str | None


@dataclass(frozen=True)
class End:
    """What a bead becomes (``open``, ``blocked`` or ``closed``) by which dispatch, and why."""

    status: str
    dispatch: str
    reason: str = ""

    def was_made(self, bead: Bead) -> bool:
        """Whether the bead is so already, by this very dispatch."""
        return bead.status == self.status and _was_ended_by(bead, self.dispatch)

    def options(self) -> list[str]:
        """What `bd update` has to do."""
        options = ["-s", self.status, "--set-metadata", f"last_dispatch={self.dispatch}"]
        if self.status == "open":
            options += ["-a", ""]
            for key in HELD:
                options += ["--unset-metadata", key]
        if self.reason:
            word = "BLOCKED" if self.status == "blocked" else "RELEASED"
            options.append(f"{NOTE}{word}: {self.reason}")
        return options

    def note(self) -> str:
        """What is written into a bead about which a person decided meanwhile."""
        return f"RESULT of {self.dispatch}: {self.reason or 'it ended without one'}"


def end_claim(bd: Bd, end: End, bead: str, seen: Seen | None, *, check: bool) -> tuple[Bead, Bead, bool]:
    """End a claim. Hold our lock of the bead.

    What a person did to the bead in the middle of the dispatch (blocked, deferred, closed or reopened it, or
    took it) stays; the result is then a note.

    Args:
        bd: Its `bd`.
        end: What it is to become.
        bead: Its id.
        seen: Only if the claim is still as it was seen, by somebody else than its dispatcher.
        check: Change nothing.

    Returns:
        The bead before and after, and whether a person's will stood against the end.

    Raises:
        ClaimLost: The bead is another dispatch's by now, or no longer as it was seen.
        BeadsError: It did not end, as far as could be read back.
    """
    before = bd.show(bead)
    if end.was_made(before):
        return before, before, False
    _check_names(before, end.dispatch)
    held = holds(before) or (holds(before, ("blocked",)) and _was_ended_by(before, end.dispatch))
    if seen is not None and (not held or seen != Seen(before.status, dispatcher_of(before))):
        raise ClaimLost(
            f"{bead} is no longer as it was seen ({before.status}, assigned to"
            f" {before.assignee or 'nobody'}): it is left as it is",
            f"bd show {bead}",
            holder=dispatch_of(before),
            status=before.status,
        )
    if not held:
        return before, _noted(bd, before, end.note(), check=check), True
    if check:
        return before, before.with_(status=end.status), False
    try:
        return before, _written(bd, before, end), False
    except AlreadyClaimed as error:
        raise ClaimLost(f"{bead} changed meanwhile ({error.message})", f"bd show {bead}") from error
    except MAYBE_WRITTEN as error:
        return before, _read_back(bd, bead, end, error), False


def note_claim(bd: Bd, bead: str, dispatch: str, note: str, *, check: bool) -> tuple[Bead, Bead]:
    """Write a note into the bead of a claim; returns the bead before and after. Hold our lock of the bead.

    Raises:
        ClaimLost: The bead is another dispatch's by now.
        BeadsError: It was not written, as far as could be read back.
    """
    before = bd.show(bead)
    _check_names(before, dispatch)
    return before, _noted(bd, before, note, check=check)


def _check_names(bead: Bead, dispatch: str) -> None:
    ended = bead.status == "closed" and _was_ended_by(bead, dispatch)
    if dispatch_of(bead) != dispatch or ended:
        raise ClaimLost(
            f"{bead.id} is {bead.status}, assigned to {bead.assignee or 'nobody'}, and names dispatch"
            f" {dispatch_of(bead) or 'none'}; {dispatch} does not hold it, and leaves it as it is",
            f"bd show {bead.id}",
            holder=dispatch_of(bead),
            status=bead.status,
        )


def _written(bd: Bd, before: Bead, end: End) -> Bead:
    """The bead after its end; a note for which it has no room keeps no claim from that."""
    if end.status == "closed":
        by = f" ({CLOSED_BY} {end.dispatch})"
        try:
            return bd.close(before.id, before.assignee, end.reason + by)
        except BeadTooLarge:
            return bd.close(before.id, before.assignee, end.reason[:20] + by)
    options = end.options()
    try:
        return bd.change(before, *options)
    except BeadTooLarge:
        return bd.change(before, *without_note(options))


def _noted(bd: Bd, before: Bead, note: str, *, check: bool) -> Bead:
    if note in before.notes:
        return before
    if check:
        return before.with_(notes=f"{before.notes}\n{note}".strip())
    try:
        return bd.update(before.id, before.assignee, f"{NOTE}{note}")
    except MAYBE_WRITTEN:
        after = bd.show(before.id)
        if note not in after.notes:
            raise
        return after


def _read_back(bd: Bd, bead: str, end: End, trouble: BeadsError) -> Bead:
    after = bd.show(bead)
    if end.was_made(after):
        return after
    raise type(trouble)(f"{trouble.message}; {bead} is still {after.status}", trouble.next_action)


def _was_ended_by(bead: Bead, dispatch: str) -> bool:
    """Whether this dispatch ended its claim; `bd` keeps what reads as JSON as such (1.0.4: 7 for "7")."""
    if bead.status == "closed":
        return bead.close_reason.endswith(f"({CLOSED_BY} {dispatch})")
    kept = bead.metadata.get("last_dispatch")
    if kept == dispatch:
        return True
    try:
        other = not isinstance(kept, str) and "last_dispatch" in bead.metadata
        return other and _read(dispatch) == _read(json.dumps(kept))
    except (ValueError, RecursionError):
        return False


def _read(word: str) -> t.Any:
    """A word as `bd` reads it, whose numbers are floats."""
    return json.loads(word, parse_int=float)
