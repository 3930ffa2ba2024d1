# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Claims: the exclusive right of one dispatch to work on a bead, and how it ends.

A claim is assignee, status and metadata of the bead, all written in one call of `bd` under our lock of it.
Every later change first looks whether the bead still names its dispatch: a dispatcher that was paused, and
lost its claim meanwhile, changes nothing.
"""

from __future__ import annotations

import json
import typing as t
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timezone

from .bd import Bd
from .bead import Bead
from .errors import (
    AlreadyAssignedError,
    AlreadyClaimed,
    BeadTooLarge,
    ClaimLost,
    NotClaimable,
    NothingToContinue,
    OrchestratorActive,
    OutcomeUnknown,
)
from .lock import bead_lock
from .record import HELD, Claimant, age_s, claim_metadata, holds, stamp, summary_of, text_field, vm_of

__all__ = ["Claimant", "Claims", "Policy", "Result", "Seen"]


@dataclass(frozen=True)
class Policy:
    """What a claim may do to others.

    ``gone``: the dispatcher that is known to be gone; its claim may be gone on with. ``retry``: a blocked
    bead may be claimed anew. ``alone``: no claim of another orchestrator may be under way, except on ``idle``
    beads, whose sessions are known not to work. ``takeover``: go on all the same; the bead has a note of it.
    """

    gone: str | None = None
    retry: bool = False
    alone: bool = False
    idle: frozenset[str] = frozenset()
    takeover: bool = False


PLAIN = Policy()
_NOTE = "--append-notes="


@dataclass(frozen=True)
class Seen:
    """What was seen of a claim by who wants to end it for another: its status and its dispatcher."""

    status: str
    dispatcher: str | None


@dataclass(frozen=True)
class Result:
    """``before`` and ``after`` are the bead; they are equal where nothing changed.

    ``continued``: the claim was there before. ``others``: claims of other orchestrators that are under way.
    """

    before: Bead
    after: Bead
    continued: bool = False
    others: tuple[dict[str, t.Any], ...] = ()

    @property
    def changed(self) -> bool:
        return self.before != self.after


class Claims:
    """Claims in one workspace.

    Args:
        bd: Its `bd`.
        workspace: The ``.beads`` folder.
        lock_timeout_s: Longest wait for our lock of a bead.
        now: Wall clock.
    """

    def __init__(
        self,
        bd: Bd,
        workspace: str,
        lock_timeout_s: float = 60.0,
        now: t.Callable[[], datetime] = lambda: datetime.now(timezone.utc),
    ) -> None:
        self._bd = bd
        self._workspace = workspace
        self._lock_timeout_s = lock_timeout_s
        self._now = now

    def present(self, bead: str) -> Result:
        """The bead as it is."""
        found = self._bd.show(bead)
        return Result(found, found)

    def all(self) -> list[dict[str, t.Any]]:
        """Every claim that is under way or blocked, oldest first."""
        found = [bead for bead in self._bd.unclosed() if holds(bead, ("in_progress", "blocked"))]
        claims = [summary_of(bead, self._now()) for bead in found]
        return sorted(claims, key=lambda claim: str(claim["claimed_at"]))

    def claim(self, bead: str, claimant: Claimant, check: bool = False, policy: Policy = PLAIN) -> Result:
        """Claim a bead for a new dispatch, or find it claimed by the given one, or by one to go on with.

        Raises:
            AlreadyClaimed: Another dispatch holds it.
            AlreadyAssignedError: It is assigned to another.
            NotClaimable: Its status forbids it.
            OrchestratorActive: The policy forbids it.
            NothingToContinue: It is free, and only a claim to go on with is wanted.
            BeadsError: `bd` can't say, or can't do it.
        """
        self._bd.check_id(bead)
        with self._lock(bead, claimant.orchestrator):
            before, others = self._look(bead, claimant.orchestrator)
            if claimant.dispatch is not None and holds(before) and _dispatch_of(before) == claimant.dispatch:
                self._check_vm(before, claimant)
                return Result(before, before, continued=True, others=others)
            self._check_alone(policy, others)
            if policy.gone is not None and holds(before) and _dispatcher(before) == policy.gone:
                self._check_vm(before, claimant)
                after = self._continued(before, claimant, policy, check)
                return Result(before, after, continued=True, others=others)
            self._check_free(before, claimant, retry=policy.retry)
            claimant = _again(before, claimant) if policy.retry else claimant
            if not claimant.begin:
                raise NothingToContinue(
                    f"{bead} is not claimed, so it must be said where to work on it",
                    f"dx-dispatch VM REPO --bead {bead}",
                )
            metadata = claim_metadata(before, claimant, self._now())
            if check:
                return Result(before, _claimed(before, claimant.vm, metadata), others=others)
            if before.status != "open":  # blocked, and to be tried again: bd claims only what is open
                self._bd.update(bead, before.assignee, "-s", "open", "-a", "")
            after = self._write_claim(before, claimant, metadata)
            return Result(before, after, others=others)

    def release(
        self, bead: str, dispatch: str, check: bool = False, note: str | None = None, seen: Seen | None = None
    ) -> Result:
        """Give a claim back: the bead is open and nobody's.

        Args:
            bead: Its id.
            dispatch: Who holds it.
            check: Change nothing.
            note: Why, for the bead's notes.
            seen: Only if the claim is still as it was seen.

        Raises:
            ClaimLost: The bead is another's by now, or no longer as it was seen.
            BeadsError: `bd` can't say, or can't do it.
        """
        options = ["-s", "open", "-a", "", "--set-metadata", f"last_dispatch={dispatch}"]
        for key in HELD:
            options += ["--unset-metadata", key]
        if note:
            options.append(f"{_NOTE}RELEASED: {note}")
        return self._end(bead, dispatch, "open", options, check, seen)

    def block(
        self, bead: str, dispatch: str, reason: str, check: bool = False, seen: Seen | None = None
    ) -> Result:
        """End a claim with a reason that needs a person; the bead keeps its assignee and metadata.

        Arguments and errors are those of :meth:`release`.
        """
        options = [
            "-s",
            "blocked",
            f"{_NOTE}BLOCKED: {reason}",
            "--set-metadata",
            f"last_dispatch={dispatch}",
        ]
        return self._end(bead, dispatch, "blocked", options, check, seen)

    def close(self, bead: str, dispatch: str, reason: str, check: bool = False) -> Result:
        """Close the bead of a claim."""
        self._bd.check_id(bead)
        with self._lock(bead, dispatch):
            before = self._bd.show(bead)
            if before.status == "closed" and _dispatch_of(before) == dispatch:
                return Result(before, before)
            self._check_held(before, dispatch)
            if check:
                return Result(before, _with(before, status="closed"))
            try:
                after = self._closed(before, reason)
            except OutcomeUnknown:
                after = self._read_back(bead, dispatch, "closed")
            return Result(before, after)

    # -- steps -----------------------------------------------------------------------------------------

    @contextmanager
    def _lock(self, bead: str, holder: str) -> t.Iterator[None]:
        with bead_lock(self._workspace, bead, holder, self._lock_timeout_s) as descriptor:
            # Should this process die now, the lock lasts until the bd that it started has ended as well.
            self._bd.inherited = (descriptor,)
            try:
                yield
            finally:
                self._bd.inherited = ()

    def _look(self, bead: str, orchestrator: str) -> tuple[Bead, tuple[dict[str, t.Any], ...]]:
        """The bead, and the claims under way of other orchestrators: one call, if it is not closed."""
        listed = self._bd.unclosed()
        found = [each for each in listed if each.id == bead]
        others = tuple(
            summary_of(each, self._now())
            for each in listed
            if holds(each) and text_field(each, "orchestrator") != orchestrator
        )
        return (found[0] if found else self._bd.show(bead)), others

    def _check_alone(self, policy: Policy, others: t.Sequence[dict[str, t.Any]]) -> None:
        active = [claim for claim in others if claim["bead"] not in policy.idle]
        if not policy.alone or policy.takeover or not active:
            return
        first = active[0]
        raise OrchestratorActive(
            f"{first['orchestrator'] or 'an unknown orchestrator'} has been at work since"
            f" {first['claimed_at']} ({', '.join(claim['bead'] for claim in active)}), and the fleet allows"
            " one orchestrator at a time",
            "dx-fleet status; to go on all the same, add --takeover",
            holder=first["orchestrator"],
            since=first["claimed_at"],
            others=active,
        )

    def _check_vm(self, bead: Bead, claimant: Claimant) -> None:
        if not claimant.any_vm and vm_of(bead) != claimant.vm:
            raise AlreadyClaimed(
                f"{bead.id} is claimed on {vm_of(bead)}, not on {claimant.vm}",
                f"dx-dispatch {vm_of(bead)} --bead {bead.id}",
                holder=_dispatch_of(bead),
                claim=summary_of(bead, self._now()),
            )

    def _check_free(self, bead: Bead, claimant: Claimant, *, retry: bool) -> None:
        if holds(bead):
            raise AlreadyClaimed(
                f"{bead.id} is claimed by dispatch {_dispatch_of(bead)} on {bead.assignee or 'nobody'}"
                f" ({text_field(bead, 'orchestrator') or 'unknown orchestrator'}, {self._age(bead)})",
                f"bd show {bead.id}",
                holder=_dispatch_of(bead),
                claim=summary_of(bead, self._now()),
            )
        ours = holds(bead, ("blocked",))
        if ours and retry:
            return
        another = bead.assignee and bead.assignee != claimant.vm
        if another and not ours and bead.status != "closed":  # who did it is not what forbids that one
            raise AlreadyAssignedError(
                f"{bead.id} is assigned to {bead.assignee}",
                f"bd show {bead.id}; to free it: bd update {bead.id} -s open -a ''",
                holder=bead.assignee,
            )
        if bead.status != "open":
            again = f"dx-dispatch --retry {bead.id}" if ours else f"bd update {bead.id} -s open"
            raise NotClaimable(
                f"{bead.id} is {bead.status}, not open",
                f"bd show {bead.id}; to have it done again: {again}",
                status=bead.status,
                claim=summary_of(bead, self._now()) if ours else None,
            )

    def _age(self, bead: Bead) -> str:
        age = age_s(bead, self._now())
        return "since an unknown time" if age is None else f"for {age:.0f} s"

    def _continued(self, before: Bead, claimant: Claimant, policy: Policy, check: bool) -> Bead:
        """The claim in the hands of another dispatcher: the dispatch stays what it is."""
        metadata = {
            "orchestrator": claimant.orchestrator,
            "dispatcher": claimant.dispatcher,
            "taken_at": stamp(self._now()),
        }
        holder = text_field(before, "orchestrator")
        if holder != claimant.orchestrator:
            metadata["taken_from"] = holder
        metadata = {key: value for key, value in metadata.items() if value is not None}
        if check:
            return _with(before, metadata={**before.metadata, **metadata})
        options = [f"--metadata={Bd.encoded(metadata)}"]
        if holder != claimant.orchestrator or policy.takeover:
            how = "taken over" if policy.takeover else "gone on with"
            options.append(
                f"{_NOTE}{how} by {claimant.orchestrator} from {holder or 'an unknown orchestrator'}"
            )
        dispatch = _dispatch_of(before)
        with suppress(OutcomeUnknown):  # what became of it is read back
            try:
                self._bd.update(before.id, before.assignee, *options)
            except BeadTooLarge:
                self._bd.update(before.id, before.assignee, *_without_note(options))
        after = self._bd.show(before.id)
        if _dispatch_of(after) != dispatch or _dispatcher(after) != claimant.dispatcher:
            raise OutcomeUnknown(
                f"{before.id} could not be taken over: bd did not answer in time", "run it again"
            )
        return after

    def _write_claim(self, before: Bead, claimant: Claimant, metadata: dict[str, t.Any]) -> Bead:
        dispatch = metadata["dispatch"]
        try:
            after = self._bd.claim(before.id, claimant.vm, metadata)
        except OutcomeUnknown:
            after = self._bd.show(before.id)
            if _dispatch_of(after) != dispatch:
                raise
        except AlreadyClaimed as error:
            raise AlreadyClaimed(
                f"{before.id} was claimed by another meanwhile ({error.message})", f"bd show {before.id}"
            ) from error
        held = after.status == "in_progress" and after.assignee == claimant.vm
        if not held or any(after.metadata.get(key) != value for key, value in metadata.items()):
            after = self._bd.show(before.id)  # an old bd answers with the bead as it was before the write
            if _dispatch_of(after) != dispatch or after.assignee != claimant.vm:
                raise AlreadyClaimed(
                    f"{before.id} was claimed by {after.assignee or 'another'} meanwhile",
                    f"bd show {before.id}",
                )
        return after

    def _end(
        self,
        bead: str,
        dispatch: str,
        status: str,
        options: t.Sequence[str],
        check: bool,
        seen: Seen | None,
    ) -> Result:
        self._bd.check_id(bead)
        with self._lock(bead, dispatch):
            before = self._bd.show(bead)
            if before.status == status and _was_ended_by(before, dispatch):
                return Result(before, before)
            self._check_held(before, dispatch)
            if seen is not None and seen != Seen(before.status, _dispatcher(before)):
                raise ClaimLost(
                    f"{bead} is no longer as it was seen: it is left as it is",
                    f"bd show {bead}",
                    holder=_dispatch_of(before),
                    status=before.status,
                )
            if check:
                return Result(before, _with(before, status=status))
            try:
                after = self._changed(before, options)
            except AlreadyClaimed as error:
                raise ClaimLost(f"{bead} changed meanwhile ({error.message})", f"bd show {bead}") from error
            except OutcomeUnknown:
                after = self._read_back(bead, dispatch, status)
            return Result(before, after)

    def _changed(self, before: Bead, options: t.Sequence[str]) -> Bead:
        """Change it; a note for which the bead has no room may not keep a claim from its end."""
        try:
            return self._bd.change(before, *options)
        except BeadTooLarge:
            return self._bd.change(before, *_without_note(options))

    def _closed(self, before: Bead, reason: str) -> Bead:
        try:
            return self._bd.close(before.id, before.assignee, reason)
        except BeadTooLarge:
            return self._bd.close(before.id, before.assignee, reason.partition(":")[0][:20])

    def _check_held(self, bead: Bead, dispatch: str) -> None:
        if _dispatch_of(bead) != dispatch or not holds(bead, ("in_progress", "blocked")):
            raise ClaimLost(
                f"{bead.id} is {bead.status}, assigned to {bead.assignee or 'nobody'}, and names dispatch"
                f" {_dispatch_of(bead) or 'none'}; {dispatch} does not hold it, and leaves it as it is",
                f"bd show {bead.id}",
                holder=_dispatch_of(bead),
                status=bead.status,
            )

    def _read_back(self, bead: str, dispatch: str, status: str) -> Bead:
        after = self._bd.show(bead)
        if after.status == status and (_dispatch_of(after) == dispatch or _was_ended_by(after, dispatch)):
            return after
        raise OutcomeUnknown(f"bd did not end in time, and {bead} is still {after.status}", "run it again")


def _without_note(options: t.Sequence[str]) -> list[str]:
    return [option for option in options if not option.startswith(_NOTE)]


def _again(bead: Bead, claimant: Claimant) -> Claimant:
    """Who claims a bead anew: where no place is given, in that of the try before."""
    vm, worktree = vm_of(bead), text_field(bead, "worktree")
    if claimant.begin or worktree is None or vm is None:
        return claimant
    if vm != claimant.vm and not claimant.any_vm:
        return claimant
    return replace(claimant, vm=vm, worktree=worktree, begin=True)


def _dispatch_of(bead: Bead) -> str | None:
    """The dispatch that the bead names."""
    return text_field(bead, "dispatch")


def _dispatcher(bead: Bead) -> str | None:
    return text_field(bead, "dispatcher")


def _was_ended_by(bead: Bead, dispatch: str) -> bool:
    """Whether this dispatch ended its claim; `bd` keeps what reads as JSON as such (1.0.4: 7 for "7")."""
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


def _claimed(bead: Bead, vm: str, metadata: dict[str, t.Any]) -> Bead:
    return _with(bead, status="in_progress", assignee=vm, metadata={**bead.metadata, **metadata})


def _with(bead: Bead, **changes: t.Any) -> Bead:
    return Bead(**{**bead.as_dict(), **changes})
