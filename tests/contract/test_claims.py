# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Claims: one winner, whoever and however many there are, and no write by who lost it."""

from __future__ import annotations

import multiprocessing
import time
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.dx.fleet.plugins.module_utils.beads.claims import Claimant, Claims, Policy, Seen
from ansible_collections.dx.fleet.plugins.module_utils.beads.errors import (
    AlreadyAssignedError,
    AlreadyClaimed,
    BeadTooLarge,
    ClaimLost,
    LockBusy,
    NotClaimable,
    NothingToContinue,
    OrchestratorActive,
    OutcomeUnknown,
)
from ansible_collections.dx.fleet.plugins.module_utils.beads.lock import bead_lock

from .races import claim_once
from .workspace import Workspace

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
    assert bd.capabilities.version  # asked once per installation, not per dispatch
    bd.calls.clear()
    claims = Claims(bd, str(workspace.folder / ".beads"))
    dispatch = claims.claim(bead, ME).after.metadata["dispatch"]
    claims.close(bead, dispatch, "done")
    assert len(bd.calls) == 4


def test_a_held_lock_is_waited_for_and_names_its_holder(workspace: Workspace) -> None:
    bead = workspace.create()
    claims = workspace.claims_waiting(0.2)
    with (
        bead_lock(str(workspace.folder / ".beads"), bead, "antigravity@homedesktop-wsl", 1),
        pytest.raises(LockBusy, match="antigravity@homedesktop-wsl"),
    ):
        claims.claim(bead, ME)


def test_a_claim_of_a_dispatcher_that_is_gone_is_gone_on_with(workspace: Workspace) -> None:
    bead = workspace.create()
    first = workspace.claims.claim(bead, replace(ME, dispatcher="mac/1/2/3")).after
    next_one = replace(OTHER, vm=ME.vm, dispatcher="home/4/5/6")
    result = workspace.claims.claim(bead, next_one, policy=Policy(gone="mac/1/2/3"))
    assert result.continued
    after = workspace.bd.show(bead)
    assert result.after == after
    for name in ("dispatch", "attempt", "session", "message", "claimed_at"):
        assert after.metadata[name] == first.metadata[name]
    assert after.metadata["orchestrator"] == OTHER.orchestrator
    assert after.metadata["taken_from"] == ME.orchestrator
    assert "gone on with by antigravity@homedesktop-wsl" in after.notes


def test_only_one_goes_on_with_what_was_left(workspace: Workspace) -> None:
    bead = workspace.create()
    workspace.claims.claim(bead, replace(ME, dispatcher="mac/1/2/3"))
    policy = Policy(gone="mac/1/2/3")
    workspace.claims.claim(bead, replace(ME, dispatcher="a/4/5/6"), policy=policy)
    with pytest.raises(AlreadyClaimed):
        workspace.claims.claim(bead, replace(ME, dispatcher="b/7/8/9"), policy=policy)
    assert workspace.bd.show(bead).metadata["dispatcher"] == "a/4/5/6"


def test_a_blocked_bead_is_claimed_anew_only_on_request(workspace: Workspace) -> None:
    bead = workspace.create()
    claim = workspace.claims.claim(bead, replace(ME, worktree="/srv/a")).after
    workspace.claims.block(bead, claim.metadata["dispatch"], "because")
    with pytest.raises(NotClaimable, match="blocked"):
        workspace.claims.claim(bead, OTHER)
    again = workspace.claims.claim(
        bead, replace(OTHER, begin=False, any_vm=True), policy=Policy(retry=True)
    ).after
    assert (again.status, again.assignee) == ("in_progress", ME.vm)
    assert (again.metadata["attempt"], again.metadata["worktree"]) == (2, "/srv/a")


def test_where_nothing_is_claimed_there_is_nothing_to_go_on_with(workspace: Workspace) -> None:
    bead = workspace.create()
    with pytest.raises(NothingToContinue):
        workspace.claims.claim(bead, replace(ME, begin=False))
    assert workspace.bd.show(bead).status == "open"


def test_one_orchestrator_at_a_time(workspace: Workspace) -> None:
    theirs, ours = workspace.create(), workspace.create()
    workspace.claims.claim(theirs, OTHER)
    with pytest.raises(OrchestratorActive, match="antigravity@homedesktop-wsl") as refused:
        workspace.claims.claim(ours, ME, policy=Policy(alone=True))
    assert [claim["bead"] for claim in refused.value.details["others"]] == [theirs]
    assert workspace.bd.show(ours).status == "open"
    told = workspace.claims.claim(ours, ME, policy=Policy(alone=True, idle=frozenset({theirs})))
    assert [claim["bead"] for claim in told.others] == [theirs]


def test_who_saw_another_claim_ends_nothing(workspace: Workspace) -> None:
    bead = workspace.create()
    held = workspace.claims.claim(bead, replace(ME, dispatcher="mac/1/2/3")).after
    dispatch = held.metadata["dispatch"]
    for seen in (Seen("in_progress", "old/1/2/3"), Seen("in_progress", None), Seen("blocked", "mac/1/2/3")):
        with pytest.raises(ClaimLost):
            workspace.claims.release(bead, dispatch, seen=seen)
    assert workspace.bd.show(bead) == held
    assert workspace.claims.release(bead, dispatch, seen=Seen("in_progress", "mac/1/2/3")).changed


def test_the_claims_are_listed_with_their_age(workspace: Workspace) -> None:
    first, second, free = (workspace.create() for _ in range(3))
    for bead in (first, second):
        workspace.claims.claim(bead, ME)
    workspace.claims.block(second, f"{second}@1", "because")
    listed = workspace.claims.all()
    assert [(claim["bead"], claim["status"]) for claim in listed] == [
        (first, "in_progress"),
        (second, "blocked"),
    ]
    assert all(claim["vm"] == ME.vm and 0 <= claim["age_s"] < 600 for claim in listed)
    assert free not in {claim["bead"] for claim in listed}


@pytest.mark.parametrize("end", ["release", "block", "close"])
def test_a_bead_without_room_for_a_note_keeps_no_claim_from_its_end(workspace: Workspace, end: str) -> None:
    bead = workspace.create()
    dispatch = workspace.claims.claim(bead, ME).after.metadata["dispatch"]
    workspace.bd.update(bead, "someone", "--append-notes=" + "x" * 64_000)
    reason = "completed: " + "y" * 980
    given = {"note": reason} if end == "release" else {"reason": reason}
    after = getattr(workspace.claims, end)(bead, dispatch, **given).after
    assert after.status == {"release": "open", "block": "blocked", "close": "closed"}[end]


def test_a_bead_that_is_too_large_to_be_claimed_is_said(workspace: Workspace) -> None:
    bead = workspace.create(description="line\n" * 12_000)
    with pytest.raises(BeadTooLarge, match=bead) as refused:
        workspace.claims.claim(bead, ME)
    assert "line" not in refused.value.message
    assert workspace.bd.show(bead).status == "open"


def kill_bd(monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    monkeypatch.setenv("STANDIN_BD_DIES", when)


@pytest.mark.parametrize("when", ["before the write", "after the write"])
def test_a_bd_that_dies_in_the_middle_of_a_claim_is_read_back(
    standin: Workspace, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    bead = standin.create()
    kill_bd(monkeypatch, when)
    if when == "after the write":
        assert standin.claims.claim(bead, ME).after.metadata["dispatch"] == f"{bead}@1"
    else:
        with pytest.raises(OutcomeUnknown, match="signal 9"):
            standin.claims.claim(bead, ME)
    monkeypatch.delenv("STANDIN_BD_DIES")
    found = standin.bd.show(bead)
    assert found.status == ("in_progress" if when == "after the write" else "open")


@pytest.mark.parametrize("when", ["before the write", "after the write"])
@pytest.mark.parametrize("end", ["release", "block", "close"])
def test_a_bd_that_dies_in_the_middle_of_an_end_is_read_back(
    standin: Workspace, monkeypatch: pytest.MonkeyPatch, end: str, when: str
) -> None:
    bead = standin.create()
    dispatch = standin.claims.claim(bead, ME).after.metadata["dispatch"]
    reason = [] if end == "release" else ["because"]
    kill_bd(monkeypatch, when)
    if when == "after the write":
        assert getattr(standin.claims, end)(bead, dispatch, *reason).changed
    else:
        with pytest.raises(OutcomeUnknown):
            getattr(standin.claims, end)(bead, dispatch, *reason)
    monkeypatch.delenv("STANDIN_BD_DIES")
    getattr(standin.claims, end)(bead, dispatch, *reason)
    wanted = {"release": "open", "block": "blocked", "close": "closed"}[end]
    assert standin.bd.show(bead).status == wanted


def test_a_slow_bd_is_waited_for(standin: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    bead = standin.create()
    assert standin.bd.capabilities.version
    monkeypatch.setenv("STANDIN_BD_SLEEP", "7")
    assert standin.claims.claim(bead, ME).after.status == "in_progress"


def test_the_lock_outlives_its_holder_while_the_bd_that_it_started_works(
    standin: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else another dispatch of the same VM, whom `bd` itself lets in, would look before the write has landed."""
    bead = standin.create()
    begun = tmp_path / "begun"
    monkeypatch.setenv("STANDIN_BD_WRITE_BEGUN", str(begun))
    monkeypatch.setenv("STANDIN_BD_WRITE_SLEEP", "3")
    killed = multiprocessing.get_context("spawn").Process(target=claim_once, args=(standin, bead, ME))
    killed.start()
    while not begun.exists():
        assert killed.is_alive()
        time.sleep(0.01)
    killed.kill()
    killed.join()
    monkeypatch.delenv("STANDIN_BD_WRITE_SLEEP")
    with pytest.raises(AlreadyClaimed):
        standin.claims.claim(bead, replace(ME, orchestrator="second@host"))
    assert standin.bd.show(bead).metadata["orchestrator"] == ME.orchestrator
