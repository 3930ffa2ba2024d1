# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fleet tests in few words: ``vm("epyc6", "a+ b- c!")`` is a run in which a passed, b failed, c erred."""

from __future__ import annotations

from ansible_collections.dx.fleet.plugins.plugin_utils.fleet_test.results import (
    Case,
    CaseState,
    Counts,
    FleetTest,
    Run,
    RunState,
    Trouble,
    VMTest,
)

__all__ = ["COMMIT", "broken", "counted", "fleet_test", "vm"]

COMMIT = "8f14e45fceea167a5a36dedd4bea2543f3d8b1c2"
_MARKS = {"+": CaseState.PASSED, "-": CaseState.FAILED, "!": CaseState.ERROR, "~": CaseState.SKIPPED}


def vm(name: str, *runs: str) -> VMTest:
    """A VM with these runs. A word is a test's id and its mark; ``suite/id`` has the suite as well."""
    return VMTest(name, tuple(_run(number, words) for number, words in enumerate(runs, 1)), COMMIT)


def broken(name: str, message: str = "no route to host") -> VMTest:
    """A VM that could not run the tests."""
    return VMTest(name, trouble=Trouble("unreachable", message, "see that it is up"))


def counted(name: str, passed: int, failed: int = 0) -> VMTest:
    """A VM whose tests are only counted."""
    state = RunState.FAILED if failed else RunState.PASSED
    run = Run(1, state, "x", f"{passed} passed", 1.0, Counts(passed, failed), None, "the end\x1b[31m")
    return VMTest(name, (run,), COMMIT)


def fleet_test(*vms: VMTest) -> FleetTest:
    """A fleet test of these."""
    return FleetTest("affordabot", COMMIT, "make test", vms, "2026-01-04T09:30:12+00:00", 12.5)


def _run(number: int, words: str) -> Run:
    cases = tuple(map(_case, words.split(" ") if words else ()))
    bad = sum(case.state.bad for case in cases)
    state = RunState.FAILED if bad else RunState.PASSED if cases else RunState.UNKNOWN
    message = f"{bad} of {len(cases)} failed" if bad else f"{len(cases)} passed"
    return Run(number, state, "tests_failed" if bad else "tests_passed", message, 1.5, None, cases)


def _case(word: str) -> Case:
    suite, _, name = word.rpartition("/")
    state = _MARKS[name[-1]]
    message = f"{name[:-1]} said\n<b>no</b> & \x00" if state.bad else ""
    return Case(name[:-1], suite or "unit", state, 0.25, message)
