# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What became of a dispatch whose bead could not be asked, claimed or changed."""

from __future__ import annotations

import pytest
from ansible_collections.dx.fleet.plugins.module_utils.beads import errors
from ansible_collections.dx.fleet.plugins.module_utils.beads.commands import failure
from ansible_collections.dx.fleet.plugins.plugin_utils.ansible_edge.tracker_action import ModuleFailure
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.outcome import State

STATES = {
    "BeadsError": State.REFUSED,
    "BdMissing": State.REFUSED,
    "BdTooOld": State.REFUSED,
    "NoWorkspace": State.REFUSED,
    "WorkspaceUnusable": State.REFUSED,
    "StoreLocked": State.REFUSED,
    "StoreUnreachable": State.UNREACHABLE,
    "OutcomeUnknown": State.REFUSED,
    "BeadNotFound": State.REFUSED,
    "BeadTooLarge": State.REFUSED,
    "ClaimError": State.REFUSED,
    "AlreadyClaimed": State.REFUSED,
    "AlreadyAssignedError": State.REFUSED,
    "BeadNotReady": State.REFUSED,
    "NotClaimable": State.REFUSED,
    "ClaimLost": State.REFUSED,
    "OrchestratorActive": State.REFUSED,
    "NothingToContinue": State.REFUSED,
    "LockBusy": State.REFUSED,
    "BdFailed": State.REFUSED,
}


def test_the_table_has_every_error() -> None:
    assert {name for name in errors.__all__ if isinstance(getattr(errors, name), type)} == STATES.keys()


@pytest.mark.parametrize("name", sorted(STATES))
def test_the_error_of_the_tracker_host_is_the_state_of_the_dispatch(name: str) -> None:
    error = getattr(errors, name)("bd-1: no", "see")
    assert ModuleFailure(failure(error)).state is STATES[name]


@pytest.mark.parametrize("state", [None, "verified", "closed", 7, ["refused"]])
def test_a_state_that_no_error_has_is_refused(state: object) -> None:
    assert ModuleFailure({"reason_code": "bd_failed", "state": state}).state is State.REFUSED
