# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Claims in a workspace that people write into as well. Its `bd` is the stand-in; tests/contract has the rest."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.dx.fleet.plugins.module_utils.beads.bd import Bd
from ansible_collections.dx.fleet.plugins.module_utils.beads.claims import Claimant, Claims, Policy, Seen
from ansible_collections.dx.fleet.plugins.module_utils.beads.errors import (
    AlreadyAssignedError,
    ClaimLost,
    NotClaimable,
)

from tests.lab.tracker import STANDIN, Tracker

ME = Claimant("epyc6", "claude-code@macmini", dispatcher="mac/1/2/3")
FIRST = "first"


@pytest.fixture(scope="module")
def tracker(tmp_path_factory: pytest.TempPathFactory) -> Tracker:
    """All tests work in it, each on a bead of its own."""
    return Tracker.make(tmp_path_factory.mktemp("claims") / "tracker", str(STANDIN))


@pytest.fixture
def claims(tracker: Tracker) -> Claims:
    return Claims(Bd(str(tracker.folder / "bin" / "bd"), str(tracker.folder)), str(tracker.folder / ".beads"))


def listed_as(claims: Claims, bead: str) -> dict[str, Any]:
    """What the list of all claims has of a bead, once."""
    (listed,) = (claim for claim in claims.all() if claim["bead"] == bead)
    return listed


def taken_by_hand(tracker: Tracker, claims: Claims) -> str:
    """A bead that a dispatch left blocked, and that a person then took."""
    bead = tracker.create()
    claims.claim(bead, replace(ME, dispatch=FIRST))
    claims.block(bead, FIRST, "because")
    tracker.bd("update", bead, "-s", "open", "-a", "")
    tracker.bd("--actor", "fengning", "update", bead, "--claim")
    return bead


def test_what_a_person_took_is_ended_by_no_dispatch(tracker: Tracker, claims: Claims) -> None:
    bead = taken_by_hand(tracker, claims)
    before = tracker.show(bead)
    with pytest.raises(ClaimLost, match="fengning"):
        claims.block(bead, FIRST, "reaped", seen=Seen("in_progress", ME.dispatcher))
    assert tracker.show(bead) == before
    assert claims.close(bead, FIRST, "done").overruled
    after = tracker.show(bead)
    assert (after["status"], after["assignee"]) == ("in_progress", "fengning")
    assert after["notes"].endswith(f"RESULT of {FIRST}: done")


@pytest.mark.parametrize(
    ("claimant", "policy"),
    [
        (ME, Policy()),
        (replace(ME, vm="fengning"), Policy(gone=ME.dispatcher)),
        (ME, Policy(gone=ME.dispatcher, retry=True, takeover=True)),
    ],
)
def test_what_a_person_took_is_gone_on_with_by_no_dispatch(
    tracker: Tracker, claims: Claims, claimant: Claimant, policy: Policy
) -> None:
    bead = taken_by_hand(tracker, claims)
    before = tracker.show(bead)
    with pytest.raises((AlreadyAssignedError, NotClaimable)):
        claims.claim(bead, claimant, policy=policy)
    assert tracker.show(bead) == before
    listed = listed_as(claims, bead)
    assert (listed["vm"], listed["dispatch"], listed["session"]) == ("fengning", None, None)


@pytest.mark.parametrize("dispatch", ["7", "1e5", "true", "null", "123456789012345678901234", "007", "d1"])
@pytest.mark.parametrize("end", ["release", "block"])
def test_an_id_that_reads_as_json_ends_its_claim_once(
    tracker: Tracker, claims: Claims, dispatch: str, end: str
) -> None:
    bead = tracker.create()
    claims.claim(bead, replace(ME, dispatch=dispatch))
    reason = [] if end == "release" else ["because"]
    assert getattr(claims, end)(bead, dispatch, *reason).changed
    assert not getattr(claims, end)(bead, dispatch, *reason).changed
    with pytest.raises(ClaimLost):
        getattr(claims, end)(bead, f"{dispatch}x", *reason)


def test_who_goes_on_with_a_claim_holds_it_from_now(tracker: Tracker, claims: Claims) -> None:
    bead = tracker.create()
    first = claims.claim(bead, ME).after
    after = claims.claim(bead, replace(ME, dispatcher="mac/4/5/6"), policy=Policy(gone=ME.dispatcher)).after
    assert after.metadata["taken_at"] >= first.metadata["claimed_at"]
    assert "taken_from" not in after.metadata  # the orchestrator is the same


def test_a_retry_has_only_the_branch_of_the_try_before(tracker: Tracker, claims: Claims) -> None:
    bead = tracker.create()
    claims.claim(bead, replace(ME, repo="old", branch="old", worktree="/srv/old", dispatch=FIRST))
    claims.block(bead, FIRST, "because")
    after = claims.claim(bead, replace(ME, worktree="/srv/new"), policy=Policy(retry=True)).after
    assert (after.metadata["branch"], after.metadata["worktree"]) == ("old", "/srv/new")
    assert after.metadata.get("repo") is None
    assert after.metadata["attempt"] == 2
    assert after.metadata["dispatch"].startswith(f"{bead}@2-")


def test_a_retry_without_a_place_works_where_the_try_before_did(tracker: Tracker, claims: Claims) -> None:
    bead = tracker.create()
    claims.claim(bead, replace(ME, repo="affordabot", branch="b", worktree="/srv/a", dispatch=FIRST))
    claims.block(bead, FIRST, "because")
    after = claims.claim(bead, replace(ME, begin=False), policy=Policy(retry=True)).after
    names = ("repo", "branch", "worktree")
    assert tuple(after.metadata[name] for name in names) == ("affordabot", "b", "/srv/a")


def test_a_retry_on_another_branch_leaves_the_worktree_of_the_try_before(
    tracker: Tracker, claims: Claims
) -> None:
    bead = tracker.create()
    claims.claim(bead, replace(ME, repo="affordabot", branch="b", worktree="/srv/a", dispatch=FIRST))
    claims.block(bead, FIRST, "because")
    after = claims.claim(bead, replace(ME, branch="c", begin=False), policy=Policy(retry=True)).after
    assert (after.metadata["repo"], after.metadata["branch"]) == ("affordabot", "c")
    assert after.metadata.get("worktree") is None


def test_metadata_of_wrong_types_is_no_claim_and_no_crash(tracker: Tracker, claims: Claims) -> None:
    bead = tracker.create()
    tracker.bd(
        "--actor",
        "epyc6",
        "update",
        bead,
        "--claim",
        '--metadata={"dispatch": 7, "vm": ["x"], "session": {}}',
    )
    listed = listed_as(claims, bead)
    assert (listed["dispatch"], listed["session"]) == (None, None)
    with pytest.raises(ClaimLost):
        claims.release(bead, "7")


def test_a_closed_bead_is_said_to_be_closed_whoever_did_it(tracker: Tracker, claims: Claims) -> None:
    bead = tracker.create("Do it")
    claims.claim(bead, replace(ME, dispatch="d1"))
    claims.close(bead, "d1", "done")
    with pytest.raises(NotClaimable, match="closed"):
        claims.claim(bead, replace(ME, vm="another", dispatch="d2"))
