# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the modules returned on a VM becomes its runs, or its trouble; nothing in it is trusted."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping
from typing import Any

import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.fleet_test.collecting import vm_tests
from ansible_collections.dx.fleet.plugins.plugin_utils.fleet_test.results import Counts, RunState, VMTest

from .runs import COMMIT

OTHER = "f" * 40
MADE = {"path": "/w", "head": COMMIT, "changed": True}
XML = b'<testsuite><testcase classname="t" name="x"/><testcase classname="t" name="y"><failure/></testcase></testsuite>'


def packed(xml: bytes = XML) -> list[dict[str, str]]:
    return [{"path": "report.xml", "zlib": base64.b64encode(zlib.compress(xml)).decode()}]


def ran(verdict: str = "verified", **more: Any) -> dict[str, Any]:
    tests = {"source": "junit", "passed": 2, "failed": 0, "errors": 0, "skipped": 1}
    known = {"reason_code": "tests_passed", "message": "2 passed", "duration_s": 1.5, "tests": tests}
    return {"verdict": verdict, **known, "reports": packed(), "output_tail": "end", **more}


def collected(
    made: Mapping[str, Any] | None = MADE, *runs: Mapping[str, Any] | None, ref: str = COMMIT
) -> VMTest:
    tested = {"results": list(runs)} if runs else None
    (found,) = vm_tests([("epyc6", made, tested)], ref)
    return found


def test_a_run_has_its_verdict_its_counts_and_every_test_of_its_reports() -> None:
    found = collected(MADE, ran(), ran("failed", reason_code="tests_failed", message="1 of 2 failed"))
    assert (found.commit, found.trouble, found.state) == (COMMIT, None, RunState.FAILED)
    first, second = found.runs
    assert (first.state, first.counts, first.seconds) == (RunState.PASSED, Counts(2, 0, 0, 1), 1.5)
    assert [case.id for case in first.cases or ()] == ["t::x", "t::y"]
    assert (second.number, second.reason_code, second.message) == (2, "tests_failed", "1 of 2 failed")


@pytest.mark.parametrize("verdict", ["unverified", "no_op", "anything"])
def test_every_other_verdict_is_no_success(verdict: str) -> None:
    assert collected(MADE, ran(verdict)).state is RunState.UNKNOWN


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (None, "not_run"),
        ({"unreachable": True, "msg": "no route"}, "unreachable"),
        ({"failed": True, "msg": "no. Next: clone it", "reason_code": "repo_missing", "next_action": "clone it"}, "repo_missing"),
        ({"failed": True, "msg": "Traceback"}, "module_failed"),
    ],
)  # fmt: skip
def test_a_vm_without_a_worktree_is_in_trouble_with_the_reason(
    made: Mapping[str, Any] | None, reason: str
) -> None:
    found = collected(made)
    assert found.trouble is not None
    assert (found.trouble.reason_code, found.state, found.runs) == (reason, RunState.UNKNOWN, ())
    assert "Next:" not in found.trouble.message


def test_a_vm_that_is_lost_before_its_first_run_is_in_trouble() -> None:
    found = collected(MADE, {"unreachable": True, "msg": "gone"})
    assert found.trouble is not None
    assert found.trouble.reason_code == "unreachable"


def test_a_vm_that_is_lost_after_a_run_keeps_that_run_and_proves_nothing() -> None:
    found = collected(MADE, ran(), {"unreachable": True, "msg": "gone"})
    assert [run.state for run in found.runs] == [RunState.PASSED, RunState.UNKNOWN]
    assert found.state is RunState.UNKNOWN


def test_a_vm_at_another_commit_than_was_asked_for_is_not_compared() -> None:
    found = collected({**MADE, "head": OTHER}, ran())
    assert found.trouble is not None
    assert (found.trouble.reason_code, found.runs) == ("other_commit", ())


def test_of_a_branch_the_commit_of_most_vms_is_the_one() -> None:
    results = [
        (name, {**MADE, "head": head}, {"results": [ran()]})
        for name, head in (("a", OTHER), ("b", COMMIT), ("c", COMMIT))
    ]
    states = [vm.trouble and vm.trouble.reason_code for vm in vm_tests(results, "main")]
    assert states == ["other_commit", None, None]


@pytest.mark.parametrize(
    "reports",
    [
        None,
        [],
        [{"path": "a.xml", "zlib": "!"}],
        [{"path": "a.xml", "zlib": base64.b64encode(b"not packed").decode()}],
        [{"path": "a.xml"}],
        packed(b"<html/>"),
        packed() + packed(b"<broken"),
    ],
)
def test_reports_that_can_t_be_read_leave_the_counts(reports: Any) -> None:
    (run,) = collected(MADE, ran(reports=reports)).runs
    assert (run.cases, run.counts) == (None, Counts(2, 0, 0, 1))


def test_tests_of_which_a_report_was_left_out_are_not_compared() -> None:
    (run,) = collected(MADE, ran(reports_left_out=1)).runs
    assert run.cases is None


def test_a_report_that_unpacks_to_more_than_fits_is_not_read_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    from ansible_collections.dx.fleet.plugins.plugin_utils.fleet_test import collecting

    monkeypatch.setattr(collecting, "MAX_REPORT", 50)
    (run,) = collected(MADE, ran()).runs
    assert run.cases is None


def test_what_tests_print_is_kept_without_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    token = "ghp_" + "a" * 36
    xml = XML.replace(b"<failure/>", f"<failure>{token}</failure>".encode())
    (run,) = collected(MADE, ran(reports=packed(xml), output_tail=f"x {token}", message=token)).runs
    assert token not in repr(run)
