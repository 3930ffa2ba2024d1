# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Claims: the exclusive right of one dispatch to work on a bead, and how it ends.

A claim is assignee, status and metadata of the bead, all written in one call of `bd` under our lock of it.
Every later change first looks whether the bead still names its dispatch: a dispatcher that was paused, and
lost its claim meanwhile, changes nothing.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass
from datetime import UTC, datetime

from .. import session_ids
from .bd import Bd
from .bead import Bead
from .errors import AlreadyAssignedError, AlreadyClaimed, ClaimLost, NotClaimable, OutcomeUnknown
from .lock import bead_lock

__all__ = ["Claimant", "Claims", "Result"]

# Metadata of a claim; attempt stays when it ends, as it must grow with every claim.
HELD = ("dispatch", "orchestrator", "vm", "session", "message", "branch", "worktree", "claimed_at")


@dataclass(frozen=True)
class Claimant:
    """Who claims, and for what."""

    vm: str
    orchestrator: str
    branch: str | None = None
    worktree: str | None = None
    dispatch: str | None = None
    session: str | None = None


@dataclass(frozen=True)
class Result:
    """``before`` and ``after`` are the bead; they are equal where nothing changed."""

    before: Bead
    after: Bead

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
        now: t.Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._bd = bd
        self._workspace = workspace
        self._lock_timeout_s = lock_timeout_s
        self._now = now

    def present(self, bead: str) -> Result:
        """The bead as it is."""
        found = self._bd.show(bead)
        return Result(found, found)

    def claim(self, bead: str, claimant: Claimant, check: bool = False) -> Result:
        """Claim a bead for a new dispatch, or find it claimed by the given one.

        Raises:
            AlreadyClaimed: Another dispatch holds it.
            AlreadyAssignedError: It is assigned to another.
            NotClaimable: Its status forbids it.
            BeadsError: `bd` can't say, or can't do it.
        """
        with self._lock(bead, claimant.orchestrator):
            before = self._bd.show(bead)
            names = before.metadata.get("dispatch")
            if (
                claimant.dispatch is not None
                and names == claimant.dispatch
                and before.status == "in_progress"
            ):
                return Result(before, before)
            self._check_free(before, claimant)
            metadata = self._metadata(before, claimant)
            if check:
                return Result(before, _claimed(before, claimant.vm, metadata))
            return Result(before, self._write_claim(before, claimant, metadata))

    def release(self, bead: str, dispatch: str, check: bool = False) -> Result:
        """Give a claim back: the bead is open and nobody's."""
        options = ["-s", "open", "-a", "", "--set-metadata", f"last_dispatch={dispatch}"]
        for key in HELD:
            options += ["--unset-metadata", key]
        return self._end(bead, dispatch, "open", options, check)

    def block(self, bead: str, dispatch: str, reason: str, check: bool = False) -> Result:
        """End a claim with a reason that needs a person; the bead keeps its assignee and metadata."""
        options = [
            "-s",
            "blocked",
            f"--append-notes=BLOCKED: {reason}",
            "--set-metadata",
            f"last_dispatch={dispatch}",
        ]
        return self._end(bead, dispatch, "blocked", options, check)

    def close(self, bead: str, dispatch: str, reason: str, check: bool = False) -> Result:
        """Close the bead of a claim."""
        with self._lock(bead, dispatch):
            before = self._bd.show(bead)
            if before.status == "closed" and before.metadata.get("dispatch") == dispatch:
                return Result(before, before)
            self._check_held(before, dispatch)
            if check:
                return Result(before, _with(before, status="closed"))
            try:
                after = self._bd.close(bead, before.assignee, reason)
            except OutcomeUnknown:
                after = self._read_back(bead, dispatch, "closed")
            return Result(before, after)

    # -- steps -----------------------------------------------------------------------------------------

    def _lock(self, bead: str, holder: str) -> t.ContextManager[None]:
        return bead_lock(self._workspace, bead, holder, self._lock_timeout_s)

    def _check_free(self, bead: Bead, claimant: Claimant) -> None:
        holder = bead.metadata.get("dispatch")
        if bead.status == "in_progress" and holder:
            raise AlreadyClaimed(
                f"{bead.id} is claimed by dispatch {holder} on {bead.assignee or 'nobody'}"
                f" ({bead.metadata.get('orchestrator') or 'unknown orchestrator'}, {self._age(bead)})",
                f"bd show {bead.id}",
                holder=holder,
                vm=bead.assignee,
                orchestrator=bead.metadata.get("orchestrator"),
                claimed_at=bead.metadata.get("claimed_at"),
            )
        if bead.assignee and bead.assignee != claimant.vm:
            raise AlreadyAssignedError(
                f"{bead.id} is assigned to {bead.assignee}", f"bd show {bead.id}", holder=bead.assignee
            )
        if bead.status != "open":
            raise NotClaimable(
                f"{bead.id} is {bead.status}, not open",
                f"bd show {bead.id}; to open it: bd update {bead.id} -s open",
                status=bead.status,
            )

    def _age(self, bead: Bead) -> str:
        try:
            claimed = datetime.fromisoformat(str(bead.metadata.get("claimed_at")))
        except ValueError:
            return "since an unknown time"
        return f"for {max(0, int((self._now() - claimed).total_seconds()))} s"

    def _metadata(self, bead: Bead, claimant: Claimant) -> dict[str, t.Any]:
        attempt = _attempt(bead) + 1
        dispatch = claimant.dispatch or f"{bead.id}@{attempt}"
        held = {
            "dispatch": dispatch,
            "attempt": attempt,
            "orchestrator": claimant.orchestrator,
            "vm": claimant.vm,
            "session": claimant.session or session_ids.session_id(dispatch),
            "message": session_ids.message_id(dispatch),
            "branch": claimant.branch,
            "worktree": claimant.worktree,
            "claimed_at": self._now().isoformat(timespec="milliseconds"),
        }
        return {key: value for key, value in held.items() if value is not None}

    def _write_claim(self, before: Bead, claimant: Claimant, metadata: dict[str, t.Any]) -> Bead:
        dispatch = metadata["dispatch"]
        try:
            after = self._bd.claim(before.id, claimant.vm, metadata)
        except OutcomeUnknown:
            after = self._bd.show(before.id)
            if after.metadata.get("dispatch") != dispatch:
                raise
        except AlreadyClaimed as error:
            raise AlreadyClaimed(
                f"{before.id} was claimed by another meanwhile ({error.message})", f"bd show {before.id}"
            ) from error
        held = after.status == "in_progress" and after.assignee == claimant.vm
        if not held or any(after.metadata.get(key) != value for key, value in metadata.items()):
            after = self._bd.show(before.id)  # an old bd answers with the bead as it was before the write
            if after.metadata.get("dispatch") != dispatch or after.assignee != claimant.vm:
                raise AlreadyClaimed(
                    f"{before.id} was claimed by {after.assignee or 'another'} meanwhile",
                    f"bd show {before.id}",
                )
        return after

    def _end(self, bead: str, dispatch: str, status: str, options: t.Sequence[str], check: bool) -> Result:
        with self._lock(bead, dispatch):
            before = self._bd.show(bead)
            if before.status == status and before.metadata.get("last_dispatch") == dispatch:
                return Result(before, before)
            self._check_held(before, dispatch)
            if check:
                return Result(before, _with(before, status=status))
            try:
                after = self._bd.update(bead, before.assignee, *options)
            except OutcomeUnknown:
                after = self._read_back(bead, dispatch, status)
            return Result(before, after)

    def _check_held(self, bead: Bead, dispatch: str) -> None:
        names = bead.metadata.get("dispatch")
        if names != dispatch or bead.status not in ("in_progress", "blocked"):
            raise ClaimLost(
                f"{bead.id} is {bead.status} and names dispatch {names or 'none'}, not {dispatch}:"
                " it is left as it is",
                f"bd show {bead.id}",
                holder=names,
                status=bead.status,
            )

    def _read_back(self, bead: str, dispatch: str, status: str) -> Bead:
        after = self._bd.show(bead)
        if after.status == status and dispatch in (
            after.metadata.get("dispatch"),
            after.metadata.get("last_dispatch"),
        ):
            return after
        raise OutcomeUnknown(f"bd did not end in time, and {bead} is still {after.status}", "run it again")


def _attempt(bead: Bead) -> int:
    attempt = bead.metadata.get("attempt", 0)
    return attempt if isinstance(attempt, int) and not isinstance(attempt, bool) and attempt >= 0 else 0


def _claimed(bead: Bead, vm: str, metadata: dict[str, t.Any]) -> Bead:
    return _with(bead, status="in_progress", assignee=vm, metadata={**bead.metadata, **metadata})


def _with(bead: Bead, **changes: t.Any) -> Bead:
    return Bead(**{**bead.as_dict(), **changes})
