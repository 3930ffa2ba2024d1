# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The verdict: one row per thing that can be seen."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.dx.fleet.plugins.module_utils.verify.command import Run
from ansible_collections.dx.fleet.plugins.module_utils.verify.counts import Counts
from ansible_collections.dx.fleet.plugins.module_utils.verify.verdict import Seen, judge
from hypothesis import given
from hypothesis import strategies as st

GOOD = Counts("junit", passed=42)
NONE = Counts("output: pytest", says_none=True)


def ended(rc: int | None = 0, **run: Any) -> Run:
    return Run(rc, 1.0, **run)


ROWS: dict[str, tuple[Seen, str, str]] = {
    "all passed": (Seen(ended(), GOOD, "fresh"), "verified", "tests_passed"),
    "some skipped": (Seen(ended(), Counts("junit", passed=1, skipped=9), "fresh"), "verified", "tests_passed"),
    "counted by last lines": (Seen(ended(), Counts("output: jest", passed=3)), "verified", "tests_passed"),
    "nothing is counted, as the user allows": (Seen(ended(), needs_counts=False), "verified", "check_passed"),
    "a missing report, as the user allows": (
        Seen(ended(), None, "missing", needs_counts=False), "verified", "check_passed",
    ),
    "some failed": (Seen(ended(1), Counts("junit", passed=39, failed=3), "fresh"), "failed", "tests_failed"),
    "some erred": (Seen(ended(1), Counts("junit", errors=1), "fresh"), "failed", "tests_failed"),
    "some failed, and the exit code hides it": (Seen(ended(0), Counts("junit", 41, 1), "fresh"), "failed", "tests_failed"),
    "some failed, though nothing need be counted": (
        Seen(ended(0), Counts("junit", 41, 1), needs_counts=False), "failed", "tests_failed",
    ),
    "some failed before it was killed": (Seen(ended(-9), Counts("junit", 41, 1), "fresh"), "failed", "tests_failed"),
    "some failed, by a command that is not there": (Seen(ended(127), Counts("junit", 41, 1)), "failed", "tests_failed"),
    "a build that broke": (Seen(ended(2), None, "missing"), "failed", "check_failed"),
    "a build that broke, with an old report": (Seen(ended(2), None, "stale"), "failed", "check_failed"),
    "it failed after all tests passed": (Seen(ended(1), GOOD, "fresh"), "failed", "check_failed"),
    "it crashed": (Seen(ended(-11)), "failed", "check_failed"),
    "it crashed in a shell": (Seen(ended(139)), "failed", "check_failed"),
    "it failed, and nothing need be counted": (Seen(ended(1), needs_counts=False), "failed", "check_failed"),
    "no report": (Seen(ended(), Counts("output: pytest", 42), "missing"), "unverified", "report_missing"),
    "an old report": (Seen(ended(), Counts("output: pytest", 42), "stale"), "unverified", "report_stale"),
    "a broken report": (Seen(ended(), GOOD, "unreadable"), "unverified", "report_unreadable"),
    "an empty report": (Seen(ended(), Counts("output: pytest", 42), "empty"), "unverified", "no_tests_found"),
    "no counts": (Seen(ended()), "unverified", "no_counts"),
    "no tests": (Seen(ended(), Counts("junit"), "fresh"), "unverified", "no_tests_found"),
    "no tests, it says": (Seen(ended(), NONE), "unverified", "no_tests_found"),
    "no tests, it says, and fails": (Seen(ended(5), NONE), "unverified", "no_tests_found"),
    "all skipped": (Seen(ended(), Counts("junit", skipped=42), "fresh"), "unverified", "no_tests_ran"),
    "not there": (Seen(ended(127)), "unverified", "command_not_found"),
    "not executable": (Seen(ended(126)), "unverified", "command_not_executable"),
    "not there, nothing need be counted": (Seen(ended(127), needs_counts=False), "unverified", "command_not_found"),
    "not there, in a makefile": (
        Seen(ended(2), output_end="sh: 1: pytest: not found\nmake: *** [Makefile:5: test] Error 127\n"),
        "unverified", "command_not_found",
    ),
    "its time was over": (Seen(ended(None, timed_out=True)), "unverified", "check_timed_out"),
    "its time was over after tests passed": (Seen(ended(None, timed_out=True), GOOD, "fresh"), "unverified", "check_timed_out"),
    "its time was over after a test failed": (
        Seen(ended(None, timed_out=True), Counts("output: pytest", 1, 1)), "unverified", "check_timed_out",
    ),
    "out of memory": (Seen(ended(-9)), "unverified", "check_killed"),
    "out of memory, in a shell": (Seen(ended(137)), "unverified", "check_killed"),
    "terminated": (Seen(ended(143)), "unverified", "check_killed"),
    "interrupted": (Seen(ended(None)), "unverified", "check_interrupted"),
    "not started": (Seen(ended(None, error="no such directory")), "unverified", "check_not_run"),
    "HEAD changed meanwhile": (Seen(ended(), GOOD, "fresh", head_moved=True), "unverified", "head_moved"),
    "the check was changed": (Seen(ended(), GOOD, "fresh", check_files=("Makefile",)), "unverified", "check_changed"),
    "the check was changed, nothing need be counted": (
        Seen(ended(), needs_counts=False, check_files=("Makefile",)), "unverified", "check_changed",
    ),
    "the check was changed, and fails": (Seen(ended(2), check_files=("Makefile",)), "failed", "check_failed"),
    "nothing changed": (Seen(ended(), GOOD, changed=False, expects_changes=True), "no_op", "no_changes"),
    "nothing changed, and it failed": (Seen(ended(1), changed=False, expects_changes=True), "no_op", "no_changes"),
    "nothing changed, as nobody expected": (Seen(ended(), GOOD, changed=False), "verified", "tests_passed"),
}  # fmt: skip


@pytest.mark.parametrize(("seen", "state", "reason_code"), ROWS.values(), ids=ROWS)
def test_the_verdict(seen: Seen, state: str, reason_code: str) -> None:
    verdict = judge(seen)
    assert (verdict.state, verdict.reason_code) == (state, reason_code)
    assert verdict.message
    assert "\n" not in verdict.message


SEEN = st.builds(
    Seen,
    run=st.builds(
        Run, st.sampled_from([None, -15, -11, -9, 0, 0, 0, 1, 2, 5, 126, 127, 137, 143]), st.just(1.0), st.booleans(),
        st.sampled_from([None, None, "why"]),
    ),
    counts=st.none() | st.builds(
        Counts, st.just("junit"), *[st.integers(0, 2)] * 4, says_none=st.booleans()
    ),
    report=st.sampled_from([None, "fresh", "empty", "missing", "stale", "unreadable"]),
    needs_counts=st.booleans(),
    changed=st.booleans(),
    expects_changes=st.booleans(),
    check_files=st.sampled_from([(), ("Makefile",)]),
    head_moved=st.booleans(),
)  # fmt: skip


@given(SEEN)
def test_nothing_is_verified_without_all_that_it_takes(seen: Seen) -> None:
    if judge(seen).state != "verified":
        return
    run, counts = seen.run, seen.counts
    assert (run.rc, run.timed_out, run.error) == (0, False, None)
    assert (seen.head_moved, seen.check_files) == (False, ())
    assert seen.changed or not seen.expects_changes
    assert counts is None or (counts.failed, counts.errors) == (0, 0)
    if seen.needs_counts:
        assert counts is not None
        assert counts.passed >= 1
        assert seen.report in (None, "fresh")


def test_the_names_of_what_failed_are_in_its_line() -> None:
    counts = Counts(
        "junit", passed=39, failed=7, failed_names=tuple(f"test_{letter}" for letter in "abcdefg")
    )
    verdict = judge(Seen(ended(1), counts, "fresh"))
    assert verdict.message == "7 of 46 failed: test_a, test_b, test_c, test_d, test_e and 2 more"
