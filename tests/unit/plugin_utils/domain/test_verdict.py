# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What our own check makes of each outcome: one row per state of the turn and per verdict."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.outcome import Outcome, State
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.verdict import (
    could_not_check,
    judged,
    not_pushed,
)

DONE = Outcome(
    State.COMPLETED, "completed", "the agent finished", next_action="x", vm="epyc6", session="ses_1"
)
CHECK: dict[str, Any] = {
    "verdict": "verified",
    "reason_code": "tests_passed",
    "message": "42 passed",
    "rc": 0,
    "duration_s": 1.5,
    "tests": {
        "source": "junit",
        "passed": 42,
        "failed": 0,
        "errors": 0,
        "skipped": 1,
        "failed_names": [],
        "ids": ["a::b"],
        "says_none": False,
    },
    "branch": "dx/bd-1",
    "head_before": "a" * 40,
    "head": "b" * 40,
    "commit_count": 3,
    "pushed": False,
    "dirty_files": [],
    "untracked_files": [],
    "diffstat": {"files": 4, "insertions": 120, "deletions": 8},
    "tests_changed": ["tests/test_total.py"],
    "check_files_changed": [],
    "processes_left": 0,
    "output_file": "/home/feng/check.log",
    "output_tail": "42 passed in 1.5 s",
}


@pytest.mark.parametrize(
    ("turn", "verdict", "state", "reason"),
    [
        (State.COMPLETED, "verified", State.VERIFIED, "tests_passed"),
        (State.COMPLETED, "failed", State.FAILED, "tests_passed"),
        (State.COMPLETED, "unverified", State.UNVERIFIED, "tests_passed"),
        (State.COMPLETED, "no_op", State.NO_OP, "tests_passed"),
        (State.COMPLETED, "of another version", State.UNVERIFIED, "tests_passed"),
        *(
            (state, verdict, state, "completed")
            for state in (
                State.FAILED,
                State.ABORTED,
                State.NO_OP,
                State.TIMED_OUT,
                State.STALLED,
                State.LOST,
            )
            for verdict in ("verified", "failed", "unverified", "no_op")
        ),
    ],
)
def test_only_the_agents_own_finish_is_graded_anew(
    turn: State, verdict: str, state: State, reason: str
) -> None:
    found = judged(replace(DONE, state=turn), {**CHECK, "verdict": verdict})
    assert (found.state, found.reason_code) == (state, reason)
    assert "42 passed" in found.message_to_human
    assert found.evidence.tests == {"passed": 42, "failed": 0, "errors": 0, "skipped": 1}


@pytest.mark.parametrize(
    ("check", "pushed", "words"),
    [
        ({}, None, "42 passed, 3 commits, +120/-8"),
        ({}, True, "42 passed, 3 commits, +120/-8, pushed"),
        ({"pushed": True}, None, "42 passed, 3 commits, +120/-8, pushed"),
        ({"commit_count": 1, "diffstat": None}, None, "42 passed, 1 commit"),
        (
            {"commit_count": 0, "diffstat": {"files": 0}, "dirty_files": ["a"], "untracked_files": ["b"]},
            None,
            "42 passed, 2 uncommitted",
        ),
    ],
)
def test_verified_work_is_shown_with_its_numbers(
    check: dict[str, Any], pushed: bool | None, words: str
) -> None:
    assert judged(DONE, {**CHECK, **check}, pushed).message_to_human == words


def test_what_the_check_saw_is_the_evidence() -> None:
    evidence = judged(DONE, CHECK).evidence
    assert (evidence.head_before, evidence.head_after, evidence.branch) == ("a" * 40, "b" * 40, "dx/bd-1")
    assert (evidence.commits, evidence.pushed, evidence.diffstat) == (3, False, "+120/-8")
    assert (evidence.verify_rc, evidence.tests_source, evidence.tests_changed) == (
        0,
        "junit",
        ("tests/test_total.py",),
    )


def test_a_check_that_never_ran_has_no_counts() -> None:
    looked = {name: value for name, value in CHECK.items() if name not in ("tests", "rc", "output_tail")}
    evidence = judged(DONE, {**looked, "verdict": "no_op"}).evidence
    assert (evidence.tests, evidence.verify_rc, evidence.verify_tail) == (None, None, None)


@pytest.mark.parametrize("turn", [State.COMPLETED, State.FAILED])
def test_a_check_that_could_not_run_is_no_success_and_nobodys_failure(turn: State) -> None:
    found = could_not_check(replace(DONE, state=turn), "vm_no_ssh", "no route", "ssh epyc6")
    assert found.state is (State.UNVERIFIED if turn is State.COMPLETED else turn)
    assert "no route" in found.message_to_human


def test_verified_work_that_was_to_be_pushed_and_was_not_is_failed() -> None:
    found = not_pushed(judged(DONE, CHECK), "push_refused", "the remote refused", "look at its hooks")
    assert (found.state, found.reason_code, found.next_action) == (
        State.FAILED,
        "push_refused",
        "look at its hooks",
    )
    assert (
        found.message_to_human
        == "verified (42 passed, 3 commits, +120/-8), but not pushed: the remote refused"
    )
