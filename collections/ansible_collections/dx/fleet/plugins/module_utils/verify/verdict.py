# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What our own run of the check says about the work: a pure function of what was seen.

Only a run that ended well, and in which at least one test was counted, verifies anything. What the run could
not tell is nobody's failure and nobody's success: unverified, with the reason.
"""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass

from .command import Run
from .counts import Counts

__all__ = ["Seen", "Verdict", "judge"]

_NOT_RUNNABLE = {126: "command_not_executable", 127: "command_not_found"}
_FROM_OUTSIDE = {signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT}
_MAKE_SAYS = re.compile(r"^make(?:\[\d+\])?: \*\*\* .*\bError (126|127)$", re.MULTILINE)
_NAMES_SHOWN = 5


@dataclass(frozen=True)
class Seen:
    """What was seen of one check.

    Attributes:
        run: How the command ended.
        counts: The tests that were counted; None: none could be.
        report: ``fresh``, ``empty``, ``missing``, ``stale`` or ``unreadable``; None: none is expected.
        report_problem: What is wrong with an unreadable one.
        output_end: The end of what the command printed.
        needs_counts: Whether a test must have been counted.
        changed: Whether the work changed anything.
        expects_changes: Whether it had to.
        check_files: Files of the check itself that the work changed, where that matters.
        test_files: Files of tests that were there and that the work changed or removed.
        head_moved: Whether HEAD was another one after the check.
    """

    run: Run
    counts: Counts | None = None
    report: str | None = None
    report_problem: str = ""
    output_end: str = ""
    needs_counts: bool = True
    changed: bool = True
    expects_changes: bool = False
    check_files: tuple[str, ...] = ()
    test_files: tuple[str, ...] = ()
    head_moved: bool = False


@dataclass(frozen=True)
class Verdict:
    """``state`` is ``verified``, ``failed``, ``unverified`` or ``no_op``; ``message`` is for a person."""

    state: str
    reason_code: str
    message: str


def judge(seen: Seen) -> Verdict:
    """The verdict on the work."""
    if seen.expects_changes and not seen.changed:
        return Verdict("no_op", "no_changes", "nothing was changed, and a change was expected")
    return _not_run(seen) or _failed(seen) or _proves_nothing(seen) or _verified(seen)


def _not_run(seen: Seen) -> Verdict | None:
    """The check did not run to an end of its own."""
    run = seen.run
    if run.error is not None:
        return _unverified("check_not_run", f"the check did not run: {run.error}")
    if run.timed_out:
        return _unverified(
            "check_timed_out",
            f"the check did not end within its time; it was ended after {run.seconds:.0f} s",
        )
    if run.rc is None:
        return _unverified("check_interrupted", "the check was interrupted")
    failed = seen.counts is not None and seen.counts.failed + seen.counts.errors > 0
    told = _MAKE_SAYS.search(seen.output_end)
    rc = int(told.group(1)) if told and run.rc else run.rc
    if rc in _NOT_RUNNABLE and not failed:
        words = "is not there" if rc == 127 else "can't be executed"
        return _unverified(_NOT_RUNNABLE[rc], f"a command of the check {words} on this VM (exit code {rc})")
    if (-run.rc in _FROM_OUTSIDE or run.rc - 128 in _FROM_OUTSIDE) and not failed:
        number = -run.rc if run.rc < 0 else run.rc - 128
        return _unverified("check_killed", f"the check was killed from outside (signal {number})")
    return None


def _failed(seen: Seen) -> Verdict | None:
    """Tests failed, or the check did."""
    counts, rc = seen.counts, seen.run.rc
    if counts is not None and counts.failed + counts.errors > 0:
        bad = counts.failed + counts.errors
        return Verdict("failed", "tests_failed", f"{bad} of {counts.ran} failed{_named(counts)}")
    if not rc:
        return None
    if counts is not None and counts.ran == 0 and counts.says_none:
        return _unverified("no_tests_found", f"the check says itself that it found no tests (exit code {rc})")
    if counts is not None and counts.ran:
        message = f"the check failed with exit code {rc}, though {counts.passed} tests passed"
    else:
        message = f"the check failed with exit code {rc} before a test ran"
    return Verdict("failed", "check_failed", message)


def _proves_nothing(seen: Seen) -> Verdict | None:
    """The check ended well, and shows nothing."""
    counts = seen.counts
    if seen.head_moved:
        return _unverified("head_moved", "HEAD changed while the check ran")
    if seen.check_files:
        files = _listed(seen.check_files)
        return _unverified("check_changed", f"the work changed what it is checked with: {files}")
    if not seen.needs_counts:
        return None
    if seen.report == "empty":
        return _unverified("no_tests_found", "the check ended well, but its report has no test")
    if seen.report == "missing":
        return _unverified("report_missing", "the check ended well, but wrote no report")
    if seen.report == "stale":
        return _unverified("report_stale", "the check ended well, but its report is of an earlier run")
    if seen.report == "unreadable":
        return _unverified(
            "report_unreadable", f"the report of the check can't be read: {seen.report_problem}"
        )
    if counts is None:
        return _unverified("no_counts", "the check ended well, but how many tests ran is not known")
    if counts.ran == 0 and counts.skipped:
        return _unverified("no_tests_ran", f"all {counts.skipped} tests were skipped")
    if counts.ran == 0:
        return _unverified("no_tests_found", "the check ended well, but ran no test")
    return None


def _verified(seen: Seen) -> Verdict:
    counts = seen.counts
    if counts is None or not counts.ran:
        return Verdict("verified", "check_passed", "the check passed; it counts no tests")
    skipped = f", {counts.skipped} skipped" if counts.skipped else ""
    changed = (
        f"; the work changed tests that were there: {_listed(seen.test_files)}" if seen.test_files else ""
    )
    return Verdict("verified", "tests_passed", f"{counts.passed} passed{skipped}{changed}")


def _unverified(reason_code: str, message: str) -> Verdict:
    return Verdict("unverified", reason_code, message)


def _named(counts: Counts) -> str:
    return f": {_listed(counts.failed_names)}" if counts.failed_names else ""


def _listed(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    return ", ".join(names[:_NAMES_SHOWN]) + more
