# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the work of a dispatch is done: one row per way to ask for it, and per policy."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.errors import UsageError
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.fleet import RepoPolicy
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.work import (
    Place,
    Work,
    closing_outcome,
    verify_command,
    work_of,
)

REPO = {"repo": "affordabot"}
CLAIM = {"repo": "affordabot", "branch": "dx/bd-1"}


def policies(**policy: Any) -> dict[str, dict[str, Any]]:
    return {"affordabot": RepoPolicy(**policy).as_dict()}


@pytest.mark.parametrize(
    ("request_", "policy", "claim", "branch"),
    [
        ({}, {}, {}, None),
        ({"bead": "bd-1"}, {}, {}, "dx/bd-1"),
        ({"bead": "Flux.jl-31f9.1"}, {}, {}, "dx/Flux.jl-31f9.1"),
        ({"bead": "bd-1.lock"}, {}, {}, "dx/bd-1-lock-f4c76fda"),
        ({"bead": "a..b-1"}, {}, {}, "dx/a-b-1-d98af004"),
        ({"bead": "bd-1."}, {}, {}, "dx/bd-1-9843191b"),
        ({"branch": "fix/1"}, {}, {}, "fix/1"),
        ({"bead": "bd-1", "branch": "fix/1"}, {}, {}, "fix/1"),
        ({"expect_changes": True}, {}, {}, "dx/d1"),
        ({"push": "yes", "verify": "true"}, {}, {}, "dx/d1"),
        ({}, {"worktree": "always"}, {}, "dx/d1"),
        ({"worktree": "always"}, {}, {}, "dx/d1"),
        ({"worktree": "never", "bead": "bd-1"}, {}, {}, None),
        ({"bead": "bd-1"}, {"worktree": "never"}, {}, None),
        ({"bead": "bd-1", "session": "ses_1"}, {}, {}, None),
        ({"worktree": "always", "session": "ses_1"}, {}, {}, None),
        ({"branch": "fix/1", "session": "ses_1"}, {}, {}, "fix/1"),
        ({"bead": "bd-1"}, {"worktree": "never"}, CLAIM, "dx/bd-1"),
        ({"bead": "bd-1", "branch": "other"}, {}, {**CLAIM, "branch": "kept"}, "kept"),
        ({"bead": "bd-1"}, {}, {"repo": "affordabot", "branch": None}, None),
        ({"branch": ""}, {}, {}, None),
    ],
)
def test_the_worktree(
    request_: dict[str, Any], policy: dict[str, Any], claim: dict[str, Any], branch: str | None
) -> None:
    work = work_of(REPO | request_, policies(**policy), claim)
    assert work.isolated is (branch is not None)
    if branch is not None:
        assert work.branch_for("d1") == branch


@pytest.mark.parametrize(
    ("dispatch", "branch"),
    [
        ("job", "dx/job"),
        ("job.epyc6", "dx/job-epyc6"),
        ("a:b@{c}..lock", "dx/a-b-c-lock"),
        ("01J9-x_y", "dx/01J9-x_y"),
    ],
)
def test_a_branch_of_its_own_is_named_after_the_dispatch(dispatch: str, branch: str) -> None:
    assert Work().branch_for(dispatch) == branch


@pytest.mark.parametrize(
    ("request_", "verify", "command"),
    [
        ({}, None, None),
        ({}, "make test", "make test"),
        ({"verify": "make quick"}, "make test", "make quick"),
        ({"no_verify": True}, "make test", None),
        ({"no_verify": True, "verify": "x"}, "make test", None),
        ({"verify": ""}, "make test", "make test"),
        ({"repo": "other"}, "make test", None),
        ({"repo": "/srv/affordabot/"}, "make test", "make test"),
        ({"repo": None}, "make test", None),
    ],
)
def test_the_verify_command(request_: dict[str, Any], verify: str | None, command: str | None) -> None:
    asked = REPO | request_
    assert verify_command(asked, policies(verify=verify), asked["repo"]) == command
    assert work_of(asked, policies(verify=verify), {}).verify == command


@pytest.mark.parametrize(
    ("request_", "policy", "push"),
    [
        ({"branch": "b", "push": True}, {"verify": "x"}, True),
        ({"branch": "b"}, {"verify": "x", "push": True}, True),
        ({"branch": "b"}, {"verify": "x"}, False),
        ({"branch": "b", "no_verify": True}, {"verify": "x", "push": True}, False),
        ({}, {"verify": "x", "push": True}, False),
    ],
)
def test_only_a_verified_branch_of_its_own_is_pushed(
    request_: dict[str, Any], policy: dict[str, Any], push: bool
) -> None:
    assert work_of(REPO | request_, policies(**policy), {}).push is push


def test_the_repo_of_a_bead_that_is_gone_on_with_comes_with_its_claim() -> None:
    asked = {"push": True, "bead": "bd-1"}
    claim = {"repo": REPO["repo"], "branch": "dx/bd-1"}
    assert not work_of(asked, policies(verify="x"), {}).push
    assert work_of(asked, policies(verify="x"), claim).push
    with pytest.raises(UsageError) as caught:
        work_of(asked, policies(), claim)
    assert caught.value.reason_code == "verify_missing"


@pytest.mark.parametrize(
    ("request_", "policy", "reason"),
    [
        ({"push": True, "branch": "b"}, {}, "verify_missing"),
        ({"push": True, "branch": "b", "no_verify": True}, {"verify": "x"}, "verify_missing"),
        ({"branch": "b", "session": "ses_1"}, {"worktree": "never"}, "worktree_needed"),
        ({"branch": "b"}, {"worktree": "never"}, "worktree_needed"),
        ({"expect_changes": True}, {"worktree": "never"}, "worktree_needed"),
        ({"push": True, "session": "ses_1"}, {"verify": "x"}, "worktree_needed"),
    ],
)
def test_what_does_not_go_together_is_refused(
    request_: dict[str, Any], policy: dict[str, Any], reason: str
) -> None:
    with pytest.raises(UsageError) as caught:
        work_of(REPO | request_, policies(**policy), {})
    assert caught.value.reason_code == reason
    assert caught.value.next_action


def test_a_report_and_its_counts_belong_to_the_command_of_the_repo() -> None:
    policy = policies(verify="make test", report="junit.xml", counts="none", verify_timeout_s=60.0)
    work = work_of(REPO, policy, {})
    assert (work.report, work.counts, work.verify_timeout_s) == (("junit.xml",), "none", 60.0)
    given = work_of(REPO | {"verify": "make quick"}, policy, {})
    assert (given.report, given.counts, given.verify_timeout_s) == ((), "required", 60.0)


@pytest.mark.parametrize(
    ("repo", "close_on"),
    [
        ("affordabot", "completed"),
        ("/srv/affordabot", "completed"),
        ("other", "verified"),
        (None, "verified"),
    ],
)
def test_the_policy_says_what_closes_a_bead(repo: str | None, close_on: str) -> None:
    assert closing_outcome(policies(close_on="completed"), repo) == close_on


@pytest.mark.parametrize(
    ("root", "whole"),
    [
        (None, "/home/feng/.local/share/dx-fleet/worktrees"),
        ("~/work", "/home/feng/work"),
        ("/srv/work", "/srv/work"),
    ],
)
def test_a_worktree_is_below_the_root_of_its_vm(root: str | None, whole: str) -> None:
    place = Place.of(root, "/home/feng/", "/home/feng/affordabot", "dx/bd-1")
    assert place.root == whole
    assert place.path.startswith(f"{whole}/affordabot-")
    assert place.path != Place.of(root, "/home/feng", "/home/feng/affordabot", "dx/bd-2").path
