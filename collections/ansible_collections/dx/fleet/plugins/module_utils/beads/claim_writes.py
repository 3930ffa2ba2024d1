# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a claim is written into a bead, so that a death at any moment strands nothing.

`bd update --claim` with other fields is two writes before bd 1.3: who dies between them leaves a bead that is
assigned and names no dispatch. So what identifies the claim is written first, into a bead that is still open,
where it means nothing; the claim itself is one write of its own.
"""

from __future__ import annotations

import typing as t
from contextlib import suppress
from datetime import datetime

from .bd import Bd
from .bead import Bead
from .claim_rules import Policy
from .errors import MAYBE_WRITTEN, AlreadyClaimed, BeadsError, BeadTooLarge, ClaimError, OutcomeUnknown
from .record import Claimant, dispatch_of, dispatcher_of, stamp, text_field

__all__ = ["NOTE", "claimed", "taken_over", "with_takeover", "without_note"]

NOTE = "--append-notes="


def claimed(bd: Bd, before: Bead, vm: str, metadata: t.Mapping[str, t.Any]) -> Bead:
    """The bead, claimed for a new dispatch. Hold our lock of it.

    Args:
        bd: Its `bd`.
        before: The bead as it was seen: one that may be claimed, if need be after it was opened.
        vm: Who becomes the assignee.
        metadata: All that identifies the claim, ``dispatch`` among it.

    Raises:
        AlreadyClaimed: Somebody else took it meanwhile.
        BeadsError: It was not written, as far as could be read back.
    """
    opened = ["-s", "open", "-a", ""] if before.status != "open" else []
    together = bd.capabilities.guards  # from 1.3 on an update is one write
    if opened or not together:
        _announced(bd, before, [*opened, *([] if together else [_option(metadata)])], vm, metadata)
    try:
        after = bd.claim(before.id, vm, metadata if together else None)
    except MAYBE_WRITTEN:
        after = bd.show(before.id)
        if not _is_ours(after, vm, metadata):
            raise
    except ClaimError as error:
        if not together:
            _withdraw(bd, before, metadata)
        raise AlreadyClaimed(
            f"{before.id} was claimed by another meanwhile ({error.message})", f"bd show {before.id}"
        ) from error
    if not _is_ours(after, vm, metadata):
        after = bd.show(before.id)  # an old bd answers with the bead as it was before the write
    if not _is_ours(after, vm, metadata):
        raise AlreadyClaimed(
            f"{before.id} was claimed by {after.assignee or 'another'} meanwhile", f"bd show {before.id}"
        )
    return after


def taken_over(bd: Bd, before: Bead, claimant: Claimant, policy: Policy, now: datetime) -> Bead:
    """The claim in the hands of another dispatcher: the dispatch stays what it is.

    Raises:
        BeadsError: It is not, as far as could be read back.
    """
    options = [_option(_takeover(before, claimant, now))]
    holder = text_field(before, "orchestrator")
    if holder != claimant.orchestrator or policy.takeover:
        how = "taken over" if policy.takeover else "continued"
        options.append(f"{NOTE}{how} by {claimant.orchestrator} from {holder or 'an unknown orchestrator'}")
    trouble: BeadsError | None = None
    try:
        try:
            bd.update(before.id, before.assignee, *options)
        except BeadTooLarge:
            bd.update(before.id, before.assignee, *without_note(options))
    except MAYBE_WRITTEN as error:
        trouble = error
    after = bd.show(before.id)
    if dispatch_of(after) != dispatch_of(before) or dispatcher_of(after) != claimant.dispatcher:
        raise trouble or OutcomeUnknown(
            f"{before.id} is not taken over, though bd says that it is", f"bd show {before.id}"
        )
    return after


def with_takeover(before: Bead, claimant: Claimant, now: datetime) -> Bead:
    """The bead as it would be, in check mode."""
    return before.with_(metadata={**before.metadata, **_takeover(before, claimant, now)})


def without_note(options: t.Sequence[str]) -> list[str]:
    """The same change for a bead that has no room for a note."""
    return [option for option in options if not option.startswith(NOTE)]


def _announced(
    bd: Bd, before: Bead, options: t.Sequence[str], vm: str, metadata: t.Mapping[str, t.Any]
) -> None:
    """Write what identifies the claim, and open the bead where it is not."""
    try:
        bd.update(before.id, vm, *options)
    except MAYBE_WRITTEN:
        after = bd.show(before.id)
        if after.status != "open" or (not bd.capabilities.guards and not _names(after, metadata)):
            raise


def _withdraw(bd: Bd, before: Bead, metadata: t.Mapping[str, t.Any]) -> None:
    """Take back what was written into a bead that another took meanwhile; if left, it would mean nothing."""
    with suppress(BeadsError):
        if _names(bd.show(before.id), metadata):
            bd.update(before.id, "", _option({key: before.metadata.get(key) for key in metadata}))


def _names(bead: Bead, metadata: t.Mapping[str, t.Any]) -> bool:
    return all(bead.metadata.get(key) == value for key, value in metadata.items())


def _is_ours(bead: Bead, vm: str, metadata: t.Mapping[str, t.Any]) -> bool:
    return bead.status == "in_progress" and bead.assignee == vm and _names(bead, metadata)


def _option(metadata: t.Mapping[str, t.Any]) -> str:
    return f"--metadata={Bd.encoded(metadata)}"


def _takeover(before: Bead, claimant: Claimant, now: datetime) -> dict[str, t.Any]:
    holder = text_field(before, "orchestrator")
    metadata = {
        "orchestrator": claimant.orchestrator,
        "dispatcher": claimant.dispatcher,
        "taken_at": stamp(now),
        "taken_from": holder if holder != claimant.orchestrator else None,
    }
    return {key: value for key, value in metadata.items() if value is not None}
