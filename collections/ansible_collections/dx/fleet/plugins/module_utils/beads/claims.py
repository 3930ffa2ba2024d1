# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Claims: the exclusive right of one dispatch to work on a bead, and how it ends.

A claim is assignee, status and metadata of the bead, written under our lock of it. Every later change first
looks whether the bead still names its dispatch: a dispatcher that was paused, and lost its claim meanwhile,
changes nothing.
"""

from __future__ import annotations

import typing as t
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timezone

from .bd import Bd
from .bead import Bead
from .claim_ends import End, Seen, end_claim, note_claim
from .claim_rules import PLAIN, Policy, check_alone, check_free, check_ready, check_vm
from .claim_writes import claimed, taken_over, with_takeover
from .errors import NothingToContinue
from .lock import bead_lock
from .record import Claimant, claim_metadata, dispatch_of, dispatcher_of, holds, summary_of, text_field, vm_of

__all__ = ["Claimant", "Claims", "Policy", "Result", "Seen"]


@dataclass(frozen=True)
class Result:
    """``before`` and ``after`` are the bead; they are equal where nothing changed.

    ``continued``: the claim was there before. ``others``: claims of other orchestrators that are under way.
    ``overruled``: a person decided about the bead meanwhile; it has a note of the result instead of its end.
    """

    before: Bead
    after: Bead
    continued: bool = False
    others: tuple[dict[str, t.Any], ...] = ()
    overruled: bool = False

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
        """Every bead that somebody works on, or that a dispatch left blocked, oldest first.

        One in progress that no dispatch of ours holds is among them, with ``dispatch`` None.
        """
        found = [
            bead for bead in self._bd.unclosed() if bead.status == "in_progress" or holds(bead, ("blocked",))
        ]
        claims = [summary_of(bead, self._now()) for bead in found]
        return sorted(claims, key=lambda claim: str(claim["claimed_at"]))

    def claim(self, bead: str, claimant: Claimant, check: bool = False, policy: Policy = PLAIN) -> Result:
        """Claim a bead for a new dispatch, or find it claimed by the given one, or take it over.

        Raises:
            AlreadyClaimed: Another dispatch holds it.
            AlreadyAssignedError: It is assigned to another.
            BeadNotReady: It can't be worked on yet.
            NotClaimable: Its status forbids it.
            OrchestratorActive: The policy forbids it.
            NothingToContinue: It is free, and only a claim to go on with is wanted.
            BeadsError: `bd` can't say, or can't do it.
        """
        self._bd.check_id(bead)
        with self._lock(bead, claimant.orchestrator):
            unclosed = {each.id: each for each in self._bd.unclosed()}
            before = unclosed.get(bead) or self._bd.show(bead)
            others = self._others(unclosed.values(), claimant.orchestrator)
            if claimant.dispatch is not None and holds(before) and dispatch_of(before) == claimant.dispatch:
                check_vm(before, claimant, self._now())
                return Result(before, before, continued=True, others=others)
            check_alone(policy, others)
            if policy.gone is not None and holds(before) and (dispatcher_of(before) or "") == policy.gone:
                after = self._taken_over(before, claimant, policy, check)
                return Result(before, after, continued=True, others=others)
            check_free(before, claimant, policy, self._now())
            check_ready(before, unclosed, policy, self._now())
            return Result(before, self._new(before, claimant, policy, check), others=others)

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
        return self._end(bead, End("open", dispatch, note or ""), check, seen)

    def block(
        self, bead: str, dispatch: str, reason: str, check: bool = False, seen: Seen | None = None
    ) -> Result:
        """End a claim with a reason that needs a person; the bead keeps its assignee and metadata.

        Arguments and errors are those of :meth:`release`.
        """
        return self._end(bead, End("blocked", dispatch, reason), check, seen)

    def close(self, bead: str, dispatch: str, reason: str, check: bool = False) -> Result:
        """Close the bead of a claim.

        Arguments and errors are those of :meth:`release`.
        """
        return self._end(bead, End("closed", dispatch, reason), check, None)

    def note(self, bead: str, dispatch: str, note: str, check: bool = False) -> Result:
        """Write a note into the bead of a claim, which goes on.

        Arguments and errors are those of :meth:`release`.
        """
        self._bd.check_id(bead)
        with self._lock(bead, dispatch):
            return Result(*note_claim(self._bd, bead, dispatch, note, check=check))

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

    def _others(self, unclosed: t.Iterable[Bead], orchestrator: str) -> tuple[dict[str, t.Any], ...]:
        """The claims under way of other orchestrators."""
        return tuple(
            summary_of(each, self._now())
            for each in unclosed
            if holds(each) and text_field(each, "orchestrator") != orchestrator
        )

    def _taken_over(self, before: Bead, claimant: Claimant, policy: Policy, check: bool) -> Bead:
        check_vm(before, claimant, self._now())
        if check:
            return with_takeover(before, claimant, self._now())
        return taken_over(self._bd, before, claimant, policy, self._now())

    def _new(self, before: Bead, claimant: Claimant, policy: Policy, check: bool) -> Bead:
        claimant = _again(before, claimant) if policy.retry else claimant
        if not claimant.begin:
            raise NothingToContinue(
                f"{before.id} is not claimed, so it must be said where to work on it",
                f"dx-dispatch VM REPO --bead {before.id}",
            )
        metadata = claim_metadata(before, claimant, self._now())
        if check:
            merged = {**before.metadata, **metadata}
            return before.with_(status="in_progress", assignee=claimant.vm, metadata=merged)
        return claimed(self._bd, before, claimant.vm, metadata)

    def _end(self, bead: str, end: End, check: bool, seen: Seen | None) -> Result:
        self._bd.check_id(bead)
        with self._lock(bead, end.dispatch):
            before, after, overruled = end_claim(self._bd, end, bead, seen, check=check)
            return Result(before, after, overruled=overruled)


def _again(bead: Bead, claimant: Claimant) -> Claimant:
    """Who claims a bead anew: on the branch of the try before; where no place is given, in its place.

    The session of the try before works in the repo of that try. Another branch has a worktree of its own.
    """
    again = replace(claimant, branch=claimant.branch or text_field(bead, "branch"))
    repo, worktree = text_field(bead, "repo"), text_field(bead, "worktree")
    if claimant.session is not None and claimant.session == text_field(bead, "session"):
        return replace(again, repo=claimant.repo or repo)
    if claimant.begin or worktree is None or vm_of(bead) != claimant.vm:
        return again
    is_its_branch = again.branch == text_field(bead, "branch")
    return replace(again, repo=repo, worktree=worktree if is_its_branch or repo is None else None, begin=True)
