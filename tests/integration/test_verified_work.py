# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Work in a worktree of its own, believed only after our own check: by git, Beads and the servers themselves."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.command import Completed, words_of
from tests.lab import Lab
from tests.lab.tracker import Tracker

from .clone import Clone
from .fleet import Fleet, fresh_id

pytestmark = pytest.mark.usefixtures("idle_before")

CHANGE = "@bash echo 'more' >> README.md && git commit -qam 'Say more'\n@say all done"
LIE = "@bash touch BREAK && git add BREAK && git commit -qm 'Small change'\n@say all tests pass"
NOTHING = "@say there was nothing to do"


@pytest.fixture
def checked(bead_fleet: Fleet, tmp_path: Path) -> Fleet:
    """The fleet of a person who believes `make test`."""
    return bead_fleet.with_policy(tmp_path, verify="make test")


def test_a_bead_is_closed_by_our_own_check_of_its_branch(checked: Fleet, lab: Lab, tracker: Tracker) -> None:
    """On the local VM; test_endings_of_work.py has it by SSH."""
    vm = "homedesktop"
    clone = Clone(lab.vms[vm])
    bead = tracker.create("Say more", CHANGE)
    done = checked.dispatch(vm, "affordabot", "--bead", bead, "--push")
    result, branch = done.result(), f"dx/{bead}"
    assert (done.code, result["state"], result["reason_code"]) == (0, "verified", "tests_passed"), done
    assert result["message_to_human"] == "3 passed, 1 commit, +1/-0, pushed"
    evidence = result["evidence"]
    assert (evidence["tests"]["passed"], evidence["verify_rc"], evidence["branch"]) == (3, 0, branch)
    worktree = clone.worktrees()[branch]
    assert evidence["directory"] == worktree["worktree"]
    assert checked[vm].session(result["session"])["directory"] == worktree["worktree"]
    assert "locked" not in worktree
    assert Path(worktree["worktree"]).is_relative_to(lab.vms[vm].home)
    assert evidence["head_after"] == worktree["HEAD"] == clone.at_remote(branch)
    assert clone.is_untouched()
    found = tracker.show(bead)
    assert (found["status"], found["metadata"]["branch"]) == ("closed", branch)
    assert found["metadata"]["worktree"] == worktree["worktree"]


def test_an_agent_that_lies_is_found_out_and_the_next_try_is_on_its_branch(
    checked: Fleet, lab: Lab, tracker: Tracker
) -> None:
    clone = Clone(lab.vms["epyc6"])
    bead = tracker.create("Make a small change", LIE)
    lied = checked.dispatch("epyc6", "affordabot", "--bead", bead)
    result = lied.result()
    assert (lied.code, result["state"], result["reason_code"]) == (3, "failed", "tests_failed"), lied
    assert result["message_to_human"].startswith("1 of 3 failed")
    assert result["evidence"]["text"] == "all tests pass"
    blocked = tracker.show(bead)
    assert blocked["status"] == "blocked"
    assert f"Next: {result['next_action']}" in blocked["notes"]
    assert result["next_action"] == f"dx-dispatch --retry {bead}"
    mended = "@bash git rm -q BREAK && git commit -qm 'Take it back'\n@say done"
    again = checked.dispatch(*words_of(result["next_action"])[1:], "epyc6", "affordabot", mended)
    assert (again.code, again.result()["state"]) == (0, "verified"), again
    assert result["session"] in str(
        checked["epyc6"].prompts(again.result()["session"])
    )  # it learns of the try before
    assert again.result()["evidence"]["directory"] == result["evidence"]["directory"]
    assert again.result()["evidence"]["commits"] == 2
    assert tracker.show(bead)["status"] == "closed"
    assert clone.is_untouched()


def test_what_nothing_of_ours_checked_closes_no_bead(
    bead_fleet: Fleet, tracker: Tracker, tmp_path: Path
) -> None:
    plain = bead_fleet.with_policy(tmp_path)
    bead = tracker.create("Say more", CHANGE)
    done = plain.dispatch("epyc6", "affordabot", "--bead", bead)
    result = done.result()
    assert (done.code, result["state"]) == (0, "completed"), done
    found = tracker.show(bead)
    assert found["status"] == "blocked"
    assert "finished, not verified" in found["notes"]
    assert result["next_action"] == f"bd close {bead}"


@pytest.mark.parametrize(
    ("task", "options", "code", "state", "reason"),
    [
        (CHANGE, ("--verify", "true"), 10, "unverified", "no_counts"),
        (CHANGE, (), 0, "completed", "completed"),
        ("@status 401", ("--verify", "make test"), 3, "failed", "model_unauthorized"),
    ],
)
def test_the_end_of_a_branch(
    fleet: Fleet, lab: Lab, task: str, options: tuple[str, ...], code: int, state: str, reason: str
) -> None:
    clone = Clone(lab.vms["epyc6"])
    branch = f"try/{fresh_id()}"
    done = fleet.dispatch("epyc6", "affordabot", task, "--branch", branch, *options)
    result = done.result()
    assert (done.code, result["state"], result["reason_code"]) == (code, state, reason), done
    assert clone.worktrees()[branch]["worktree"] == result["evidence"]["directory"]
    assert "locked" not in clone.worktrees()[branch]
    assert clone.at_remote(branch) == ""
    assert clone.is_untouched()


@pytest.mark.parametrize("options", [("--branch", "BRANCH"), ("--expect-changes",)])
def test_the_command_that_goes_on_after_a_failure_works_as_it_stands(
    fleet: Fleet, lab: Lab, options: tuple[str, ...]
) -> None:
    clone = Clone(lab.vms["epyc6"])
    words = [word.replace("BRANCH", f"try/{fresh_id()}") for word in options]
    name = fresh_id()
    failed = fleet.dispatch("epyc6", "affordabot", "@status 401", *words, "--id", name)
    assert failed.code == 3, failed
    result = failed.result()
    program, *again = words_of(result["next_action"])
    assert program == "dx-dispatch"
    done = fleet.dispatch(*[NOTHING if word == "Continue work" else word for word in again])
    assert (done.code, done.result()["session"]) == (0, result["session"]), done
    directory = done.result()["evidence"]["directory"]
    assert directory == result["evidence"]["directory"] != clone.path
    branch = words[1] if len(words) == 2 else f"dx/{name}"
    assert clone.worktrees()[branch]["worktree"] == directory
    assert "locked" not in clone.worktrees()[branch]
    elsewhere = fleet.dispatch(
        "epyc6", "affordabot", "x", "--session", result["session"], "--branch", "other"
    )
    assert elsewhere.result()["reason_code"] == "session_elsewhere", elsewhere
    assert "other" not in clone.worktrees()
    assert clone.is_untouched()


@pytest.mark.parametrize("ssh", ["me@127.0.0.99", None])
def test_a_vm_that_ssh_does_not_reach_is_refused_and_nothing_is_sent(
    checked: Fleet, lab: Lab, tracker: Tracker, tmp_path: Path, ssh: str | None
) -> None:
    folder = tmp_path / "unreached"
    folder.mkdir()
    away = checked.described_as(folder, epyc6={"ssh": ssh, "local": False, "transport": "http"})
    before, worktrees = away["epyc6"].sessions(), Clone(lab.vms["epyc6"]).worktrees()
    bead = tracker.create("Say more", CHANGE)
    done = away.dispatch("epyc6", "affordabot", "--bead", bead)
    result = done.result()
    assert (done.code, result["state"], result["reason_code"]) == (4, "refused", "vm_no_ssh"), done
    assert "worktree: never" in result["next_action"]
    assert tracker.show(bead)["status"] == "open"
    assert away["epyc6"].sessions() == before
    assert Clone(lab.vms["epyc6"]).worktrees().keys() == worktrees.keys()  # nor is one made here in its place
    word = away.dispatch("epyc6", "affordabot", NOTHING, "--verify", "make test")
    assert (word.code, word.result()["state"], word.result()["reason_code"]) == (
        10,
        "unverified",
        "vm_no_ssh",
    ), word


def test_what_does_not_go_together_is_said_before_anything_is_done(fleet: Fleet) -> None:
    def reason(*words: str) -> object:
        done: Completed = fleet.dispatch("epyc6", "affordabot", "x", *words)
        assert done.code == 2
        return done.document()["error"]["reason_code"]

    assert reason("--push", "--branch", "b") == "verify_missing"
    assert reason("--session", "ses_1", "--expect-changes") == "worktree_needed"
    assert reason("--verify", "x", "--no-verify") == "usage"


def test_a_bead_can_be_tried_again_in_the_same_session(checked: Fleet, lab: Lab, tracker: Tracker) -> None:
    bead = tracker.create("Make a small change", LIE)
    first = checked.dispatch("epyc6", "affordabot", "--bead", bead).result()
    assert (first["state"], tracker.show(bead)["status"]) == ("failed", "blocked")
    mended = "@bash git rm -q BREAK && git commit -qm 'Take it back'\n@say done"
    again = checked.dispatch("--retry", bead, "--same-session", "--", mended)
    result = again.result()
    assert (again.code, result["state"], result["session"]) == (0, "verified", first["session"]), again
    assert result["dispatch"] != first["dispatch"]
    assert tracker.metadata(bead)["attempt"] == 2
    assert [first["dispatch"] in str(each) for each in checked["epyc6"].prompts(first["session"])] == [
        False,
        True,
    ]
    fresh = tracker.create("Never tried", "@say x")
    refused = checked.dispatch("epyc6", "affordabot", "--retry", fresh, "--same-session")
    assert refused.result()["state"] == "refused"
    assert not tracker.metadata(fresh)
