# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Errors of working with Beads. Each has the ``state`` of a dispatch that ends with it, besides its reason.

BeadsError
├── BdMissing            no `bd` to run
├── BdTooOld             a `bd` on which a claim is not a lock
├── NoWorkspace          no Beads database where `bd` looks
├── WorkspaceUnusable    we can't keep our lock in the workspace
├── StoreLocked          another process holds the store
├── StoreUnreachable     the store's server does not answer
├── OutcomeUnknown       `bd` did not end in time, or can't be understood: a write may have happened
├── BeadNotFound         no bead of exactly that id
├── BeadTooLarge         the bead has no room for a change
├── ClaimError
│   ├── AlreadyClaimed   another dispatch holds the bead
│   ├── AlreadyAssignedError   it is assigned to another
│   ├── BeadNotReady     blocked, deferred, an epic, or it waits for another bead
│   ├── NotClaimable     closed, left blocked by a dispatch ...
│   ├── ClaimLost        the bead no longer names the dispatch that wants to change it
│   ├── OrchestratorActive     another orchestrator is at work, and the fleet allows one
│   ├── NothingToContinue      the bead is free, and only a claim to go on with is wanted
│   └── LockBusy         another process holds our lock of the bead
└── BdFailed             any other failure of `bd`, in its own words: a write may have happened

A dispatch that ends with one before anything was sent is refused by it. Where a claim could not be ended, the
dispatch's own outcome counts.
"""

from __future__ import annotations

import typing as t

__all__ = [
    "MAYBE_WRITTEN",
    "AlreadyAssignedError",
    "AlreadyClaimed",
    "BdFailed",
    "BdMissing",
    "BdTooOld",
    "BeadNotFound",
    "BeadNotReady",
    "BeadTooLarge",
    "BeadsError",
    "ClaimError",
    "ClaimLost",
    "LockBusy",
    "NoWorkspace",
    "NotClaimable",
    "NothingToContinue",
    "OrchestratorActive",
    "OutcomeUnknown",
    "StoreLocked",
    "StoreUnreachable",
    "WorkspaceUnusable",
]


class BeadsError(Exception):
    """An error that a person can act on.

    Args:
        message: One line: what, and where.
        next_action: What to do or run next.
        details: More fields for a result, JSON-ready.
    """

    reason_code = "beads_error"
    state: t.Literal["refused", "unreachable"] = "refused"

    def __init__(self, message: str, next_action: str, **details: t.Any) -> None:
        super().__init__(message)
        self.message = message
        self.next_action = next_action
        self.details = details


class BdMissing(BeadsError):
    reason_code = "bd_missing"


class BdTooOld(BeadsError):
    reason_code = "bd_too_old"


class NoWorkspace(BeadsError):
    reason_code = "no_workspace"


class WorkspaceUnusable(BeadsError):
    reason_code = "workspace_unusable"


class StoreLocked(BeadsError):
    reason_code = "store_locked"


class StoreUnreachable(BeadsError):
    reason_code = "store_unreachable"
    state = "unreachable"


class OutcomeUnknown(BeadsError):
    reason_code = "bd_timeout"


class BeadNotFound(BeadsError):
    reason_code = "bead_not_found"


class BeadTooLarge(BeadsError):
    reason_code = "bead_too_large"


class BdFailed(BeadsError):
    reason_code = "bd_failed"


MAYBE_WRITTEN = (OutcomeUnknown, BdFailed, StoreUnreachable)
"""After one of them a write may have happened, or not: read it back."""


class ClaimError(BeadsError):
    """The bead can't be claimed, or changed, by this dispatch."""


class AlreadyClaimed(ClaimError):
    reason_code = "already_claimed"


class AlreadyAssignedError(ClaimError):
    reason_code = "already_assigned"


class BeadNotReady(ClaimError):
    reason_code = "bead_not_ready"


class NotClaimable(ClaimError):
    reason_code = "not_claimable"


class ClaimLost(ClaimError):
    reason_code = "claim_lost"


class OrchestratorActive(ClaimError):
    reason_code = "orchestrator_active"


class NothingToContinue(ClaimError):
    reason_code = "not_claimed"


class LockBusy(ClaimError):
    reason_code = "lock_busy"
