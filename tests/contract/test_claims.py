# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Claims: one winner, whoever and however many there are, and no write by who lost it."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable

import pytest
from ansible_collections.dx.fleet.plugins.module_utils.beads.claims import Claimant, Claims
from ansible_collections.dx.fleet.plugins.module_utils.beads.errors import (
    AlreadyAssignedError,
    AlreadyClaimed,
    ClaimLost,
    LockBusy,
    NotClaimable,
)
from ansible_collections.dx.fleet.plugins.module_utils.beads.lock import bead_lock

from .claimer import race
from .conftest import Workspace

ROUNDS = 2  # of each kind
ME = Claimant("epyc6", "claude-code@macmini")
OTHER = Claimant("macmini", "antigravity@homedesktop-wsl")


def test_a_claim_names_everything_that_a_crash_leaves_to_find(workspace: Workspace) -> None:
    bead = workspace.create()
    result = workspace.claims.claim(bead, ME)
    assert result.changed
    assert result.after.assignee == "epyc6"
    metadata = result.after.metadata
    assert (metadata["dispatch"], metadata["attempt"]) == (f"{bead}@1", 1)
    assert metadata["session"].startswith("ses_")
    assert metadata["message"].startswith("msg_")
    assert metadata["orchestrator"] == "claude-code@macmini"


def test_a_replay_by_the_same_dispatch_changes_nothing(workspace: Workspace) -> None:
    bead = workspace.create()
    first = workspace.claims.claim(bead, ME).after
    again = workspace.claims.claim(
        bead, Claimant(ME.vm, ME.orchestrator, dispatch=first.metadata["dispatch"])
    )
    assert not again.changed
    assert again.after == first


@pytest.mark.parametrize("second", [ME, OTHER], ids=["same VM and user", "another"])
def test_any_other_dispatch_is_refused_with_the_holder(workspace: Workspace, second: Claimant) -> None:
    bead = workspace.create()
    held = workspace.claims.claim(bead, ME).after
    with pytest.raises(AlreadyClaimed, match="claude-code@macmini") as refused:
        workspace.claims.claim(bead, second)
    assert refused.value.details["holder"] == f"{bead}@1"
    assert refused.value.next_action == f"bd show {bead}"
    assert workspace.bd.show(bead) == held


def test_a_bead_that_is_assigned_to_another_is_theirs(workspace: Workspace) -> None:
    bead = workspace.create()
    workspace.bd.update(bead, "someone", "-a", "fengning")
    with pytest.raises(AlreadyAssignedError, match="fengning"):
        workspace.claims.claim(bead, ME)


@pytest.mark.parametrize("status", ["closed", "blocked", "deferred"])
def test_only_an_open_bead_is_claimed(workspace: Workspace, status: str) -> None:
    bead = workspace.create()
    workspace.bd.update(bead, "someone", "-s", status)
    with pytest.raises(NotClaimable, match=status):
        workspace.claims.claim(bead, ME)


def test_the_attempt_grows_with_every_claim(workspace: Workspace) -> None:
    bead = workspace.create()
    for attempt in (1, 2, 3):
        claim = workspace.claims.claim(bead, ME).after
        assert claim.metadata["attempt"] == attempt
        released = workspace.claims.release(bead, claim.metadata["dispatch"]).after
        assert (released.status, released.assignee) == ("open", "")
        assert "dispatch" not in released.metadata


@pytest.mark.parametrize("end", ["release", "block", "close"])
def test_who_lost_the_claim_changes_nothing(workspace: Workspace, end: str) -> None:
    bead = workspace.create()
    lost = workspace.claims.claim(bead, ME).after.metadata["dispatch"]
    workspace.claims.release(bead, lost)
    held = workspace.claims.claim(bead, OTHER).after
    reason = [] if end == "release" else ["too late"]
    with pytest.raises(ClaimLost):
        getattr(workspace.claims, end)(bead, lost, *reason)
    assert workspace.bd.show(bead) == held


@pytest.mark.parametrize("end", ["release", "block", "close"])
def test_ending_a_claim_again_changes_nothing(workspace: Workspace, end: str) -> None:
    bead = workspace.create()
    dispatch = workspace.claims.claim(bead, ME).after.metadata["dispatch"]
    reason = [] if end == "release" else ["because of 'that' $(x)\nand more"]
    assert getattr(workspace.claims, end)(bead, dispatch, *reason).changed
    assert not getattr(workspace.claims, end)(bead, dispatch, *reason).changed


def test_check_mode_says_what_it_would_do_and_does_nothing(workspace: Workspace) -> None:
    bead = workspace.create()
    before = workspace.bd.show(bead)
    would = workspace.claims.claim(bead, ME, check=True)
    assert would.changed
    assert would.after.assignee == "epyc6"
    assert workspace.bd.show(bead) == before


def test_the_happy_path_takes_four_calls(workspace: Workspace) -> None:
    bead = workspace.create()
    bd = workspace.bd
    claims = Claims(bd, str(workspace.folder / ".beads"))
    dispatch = claims.claim(bead, ME).after.metadata["dispatch"]
    claims.close(bead, dispatch, "done")
    assert len(bd.calls) <= 4


def test_a_held_lock_is_waited_for_and_names_its_holder(workspace: Workspace) -> None:
    bead = workspace.create()
    claims = Claims(workspace.bd, str(workspace.folder / ".beads"), lock_timeout_s=0.2)
    with (
        bead_lock(str(workspace.folder / ".beads"), bead, "antigravity@homedesktop-wsl", 1),
        pytest.raises(LockBusy, match="antigravity@homedesktop-wsl"),
    ):
        claims.claim(bead, ME)


@pytest.mark.parametrize("claimers", [2, 4, 8])
@pytest.mark.parametrize("vms", ["one VM", "different VMs"])
def test_of_any_number_of_claimers_exactly_one_wins(
    make_workspace: Callable[[], Workspace], claimers: int, vms: str
) -> None:
    workspace = make_workspace()
    where = (workspace.executable, str(workspace.folder))
    for _ in range(ROUNDS):
        bead = workspace.create()
        names = [f"vm{number if vms == 'different VMs' else 0}" for number in range(claimers)]
        context = multiprocessing.get_context("spawn")
        barrier, answers = context.Barrier(claimers), context.SimpleQueue()
        processes = [
            context.Process(target=race, args=(*where, bead, vm, f"o{number}@h", barrier, answers))
            for number, vm in enumerate(names)
        ]
        for process in processes:
            process.start()
        found = [answers.get() for _ in processes]
        for process in processes:
            process.join(120)
        winners = [answer for answer in found if answer[1] == "won"]
        assert len(winners) == 1, found
        assert {answer[1] for answer in found} <= {"won", "already_claimed"}
        held = workspace.bd.show(bead)
        assert held.metadata["orchestrator"] == winners[0][0]
        assert held.metadata["attempt"] == 1
