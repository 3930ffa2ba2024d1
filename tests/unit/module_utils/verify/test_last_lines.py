# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What runners print at their end, as they print it: one row per runner and end."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.dx.fleet.plugins.module_utils.verify.last_lines import last_lines
from ansible_collections.dx.fleet.plugins.module_utils.verify.output import plain

ROWS: list[tuple[str, str, tuple[int, int, int, int]]] = [
    ("pytest", "=== 1 failed, 2 passed, 1 skipped, 1 xfailed, 2 errors in 0.12s ===", (2, 1, 2, 2)),
    ("pytest", "3 passed in 0.01s", (3, 0, 0, 0)),
    ("pytest", "======= 912 passed, 3 warnings in 61.20s (0:01:01) =======", (912, 0, 0, 0)),
    ("pytest", "6 deselected in 0.02s", (0, 0, 0, 6)),
    ("pytest", "1 passed in 0.1s\nin between\n2 failed in 0.1s", (1, 2, 0, 0)),
    ("unittest", "Ran 3 tests in 0.001s\n\nOK", (3, 0, 0, 0)),
    ("unittest", "Ran 5 tests in 0.001s\n\nFAILED (failures=1, errors=2, skipped=1)", (1, 1, 2, 1)),
    ("unittest", "Ran 4 tests in 0.001s\n\nOK (skipped=1, expected failures=1)", (2, 0, 0, 2)),
    ("unittest", "Ran 2 tests in 0.001s\n\nFAILED (unexpected successes=1)", (1, 1, 0, 0)),
    (
        "go test",
        "ok  \tx.org/a\t0.003s\nok  \tx.org/b\t(cached)\n?   \tx.org/c\t[no test files]",
        (2, 0, 0, 0),
    ),
    ("go test", "ok  \tx.org/a\t0.003s [no tests to run]", (0, 0, 0, 0)),
    ("go test", "--- FAIL: TestA (0.00s)\nFAIL\nFAIL\tx.org/a\t0.003s\nok  \tx.org/b\t0.1s", (0, 1, 0, 0)),
    (
        "go test",
        "--- PASS: TestA (0.00s)\n--- SKIP: TestB (0.00s)\nPASS\nok  \tx.org/a\t0.003s",
        (1, 0, 0, 1),
    ),
    ("go test", "FAIL\tx.org/a [build failed]\nFAIL", (0, 1, 0, 0)),
    (
        "cargo test",
        "test result: ok. 5 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.0s\n"
        "test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.0s",
        (6, 2, 0, 1),
    ),
    (
        "cargo nextest",
        "     Summary [   0.016s] 4 tests run: 3 passed (1 slow), 1 failed, 2 skipped",
        (3, 1, 0, 2),
    ),
    ("jest", "Tests:       1 failed, 2 skipped, 3 passed, 6 total", (3, 1, 0, 2)),
    ("vitest", "      Tests  1 failed | 2 passed | 1 skipped (4)", (2, 1, 0, 1)),
    (
        "node --test",
        "# tests 6\n# suites 0\n# pass 2\n# fail 1\n# cancelled 1\n# skipped 1\n# todo 1",
        (2, 2, 0, 2),
    ),
    ("node --test", "\u2139 tests 2\n\u2139 pass 2\n\u2139 fail 0\n\u2139 cancelled 0", (2, 0, 0, 0)),
    ("mocha", "  3 passing (10ms)\n  1 pending\n  2 failing", (3, 2, 0, 1)),
    (
        "maven",
        "[INFO] Tests run: 2, Failures: 0, Errors: 0, Skipped: 0, Time elapsed: 0.01 s -- in a.ATest\n"
        "[ERROR] Tests run: 5, Failures: 1, Errors: 1, Skipped: 1",
        (2, 1, 1, 1),
    ),
    ("gradle", "5 tests completed, 1 failed, 1 skipped", (3, 1, 0, 1)),
    ("rspec", "5 examples, 1 failure, 1 pending", (3, 1, 0, 1)),
    ("minitest", "5 runs, 9 assertions, 1 failures, 1 errors, 1 skips", (2, 1, 1, 1)),
    ("exunit", "2 doctests, 5 tests, 1 failure", (4, 1, 0, 0)),
    ("phpunit", "OK (3 tests, 5 assertions)", (3, 0, 0, 0)),
    ("ctest", "80% tests passed, 1 tests failed out of 5", (4, 1, 0, 0)),
    (
        "dotnet test",
        "Failed!  - Failed:     1, Passed:     4, Skipped:     2, Total:     7, Duration: 9 ms",
        (4, 1, 0, 2),
    ),
    ("deno test", "ok | 5 passed | 0 failed | 1 ignored (12ms)", (5, 0, 0, 1)),
    ("bun test", " 5 pass\n 1 fail", (5, 1, 0, 0)),
    ("swift test", "Executed 5 tests, with 1 failure (0 unexpected) in 0.003 (0.004) seconds", (4, 1, 0, 0)),
    ("tap", "TAP version 13\n1..4\nok 1 - a\nnot ok 2 - b\nok 3 - c # SKIP no network\nok 4", (2, 1, 0, 1)),
]


@pytest.mark.parametrize(("runner", "text", "expected"), ROWS)
def test_the_counts_of_a_runner(runner: str, text: str, expected: tuple[int, int, int, int]) -> None:
    found = last_lines(f"some output\n{text}\n")
    assert found is not None
    assert found.source == f"output: {runner}"
    assert (found.passed, found.failed, found.errors, found.skipped) == expected


@pytest.mark.parametrize(
    "text",
    ["===== no tests ran in 0.01s =====", "collected 0 items", "Ran 0 tests in 0.000s\n\nOK",
     "Ran 0 tests in 0.000s\n\nNO TESTS RAN", "?   \tx.org/c\t[no test files]", "No tests found, exiting with code 1",
     "No test files found, exiting with code 1", "  0 passing (1ms)", "[INFO] No tests to run.", "# tests 0\n# pass 0",
     "make: Nothing to be done for 'test'.", "make: 'test' is up to date.", "make[1]: 'test' is up to date.",
     "No tests were found!!!", "running 0 tests\ntest result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out"],
)  # fmt: skip
def test_a_run_without_tests(text: str) -> None:
    found = last_lines(text + "\n")
    assert found is not None
    assert found.total == 0


@pytest.mark.parametrize(
    "text",
    ["", "OK", "all tests passed", "42 passed", "I ran the tests: 42 passed in total", "FAILED", "5 tests",
     "Tests run: 5, Failures: 0, Errors: 0, Skipped: 0, Time elapsed: 0.01 s", "  - 42 passed in 1.0s of work, trust me"],
)  # fmt: skip
def test_what_no_runner_prints_is_no_count(text: str) -> None:
    assert last_lines(text) is None


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("FAILED tests/test_a.py::test_x[1 - 2] - assert 0", "tests/test_a.py::test_x[1"),
        ("FAILED tests/test_a.py::test_x", "tests/test_a.py::test_x"),
        ("FAIL: test_x (tests.test_a.ATest.test_x)", "test_x (tests.test_a.ATest.test_x)"),
        ("--- FAIL: TestA/sub (0.00s)", "TestA/sub"),
        ("test a::b ... FAILED", "a::b"),
        ("  \u25cf suite \u203a does it", "suite \u203a does it"),
        ("not ok 2 - does it", "does it"),
    ],
)
def test_what_failed_is_named(text: str, name: str) -> None:
    found = last_lines(f"{text}\n1 failed in 0.1s\n")
    assert found is not None
    assert found.failed_names == (name,)


def test_colours_and_lines_drawn_anew_are_seen_as_on_a_terminal() -> None:
    text = "collecting\rcollected 3\r\n\x1b[32m\x1b[1m3 passed\x1b[0m\x1b[32m in 0.01s\x1b[0m\r\n"
    found = last_lines(plain(text))
    assert found is not None
    assert found.passed == 3


def test_the_real_runners_of_this_machine(tmp_path: Path) -> None:
    (tmp_path / "test_real.py").write_text(
        "import unittest\nclass T(unittest.TestCase):\n"
        "    def test_a(self): pass\n    def test_b(self): self.fail()\n    @unittest.skip('x')\n    def test_c(self): pass\n"
    )
    for words in (["unittest"], ["pytest", "-p", "no:cacheprovider"]):
        done = subprocess.run(
            [sys.executable, "-m", *words, "test_real.py"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        found = last_lines(done.stdout + done.stderr)
        assert found is not None
        assert (found.passed, found.failed, found.skipped) == (1, 1, 1)
        assert "test_b" in found.failed_names[0]
