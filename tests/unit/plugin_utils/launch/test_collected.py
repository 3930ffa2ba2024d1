# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The results of a run come through a file without a name, whole lines at a time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.launch.collected import Collected, ResultFile, record
from ansible_collections.dx.fleet.plugins.plugin_utils.launch.playbook_run import PlaybookRun

OUTCOME = {"state": "completed"}
SURVEY = dict.fromkeys(
    ("url", "version", "home", "sessions", "session_counts", "permissions", "questions"), "x"
)


@pytest.mark.parametrize(
    ("results", "expected"),
    [
        ([("a", {"outcome": OUTCOME})], Collected(outcomes={"a": OUTCOME})),
        ([("a", {"outcome": OUTCOME}), ("b", {})], Collected(outcomes={"a": OUTCOME})),
        ([("a", {"elsewhere": "b"})], Collected(elsewhere={"a": "b"})),
        ([("a", {**SURVEY, "more": 1})], Collected(surveys={"a": SURVEY})),
        ([("a", {"msg": "no"}, True)], Collected(faults={"a": "no"})),
        ([("a", {"msg": "no"}, True), ("a", {"msg": "worse"}, True)], Collected(faults={"a": "no"})),
        ([("a", {"outcome": OUTCOME}), ("a", {"msg": "no"}, True)], Collected(faults={"a": "no"})),
        ([("a", {"claims": []}, False, "dx.fleet.beads_info")], Collected(tracker={"claims": []})),
        ([("a", {"outcome": OUTCOME}, True, "dx.fleet.beads_reap")], Collected(tracker={"outcome": OUTCOME})),
        ([], Collected()),
    ],
)
def test_what_was_recorded_is_collected(results: list[tuple[Any, ...]], expected: Collected) -> None:
    file = ResultFile()
    for host, result, *rest in results:
        failed, action = (*rest, False, None)[:2] if rest else (False, None)
        record(
            file.descriptor, host, result, failed=failed, action=action if isinstance(action, str) else None
        )
    assert file.collected() == expected


def test_two_files_know_nothing_of_each_other() -> None:
    first, second = ResultFile(), ResultFile()
    record(first.descriptor, "a", {"outcome": OUTCOME})
    assert second.collected() == Collected()
    assert first.collected().outcomes == {"a": OUTCOME}


def test_a_line_that_is_still_written_is_left_for_later() -> None:
    file = ResultFile()
    record(file.descriptor, "a", {"outcome": OUTCOME})
    os.write(file.descriptor, b'["b", null, false, {"outc')
    assert file.collected().outcomes == {"a": OUTCOME}
    os.write(file.descriptor, b'ome": {}}]\n')
    assert file.collected().outcomes == {"a": OUTCOME, "b": {}}


def test_another_process_records_in_it_while_it_is_read() -> None:
    file = ResultFile()
    code = (
        "import sys\n"
        "from ansible_collections.dx.fleet.plugins.plugin_utils.launch.collected import ResultFile, record\n"
        "file = ResultFile(int(sys.argv[1]))\n"
        "for number in range(200): record(file.descriptor, f'vm{number}', {'outcome': {'text': 'x' * 5000}})\n"
    )
    path = str(Path(__file__).parents[4] / "collections")
    command = [sys.executable, "-c", code, str(file.descriptor)]
    with subprocess.Popen(
        command, pass_fds=[file.descriptor], env={**os.environ, "PYTHONPATH": path}
    ) as child:
        seen = 0
        while child.poll() is None:
            now = len(file.collected().outcomes)
            assert now >= seen
            seen = now
    assert child.returncode == 0
    assert len(file.collected().outcomes) == 200


def test_what_ansible_adds_is_not_recorded() -> None:
    file = ResultFile()
    record(file.descriptor, "a", {"outcome": OUTCOME, "invocation": {"task": "x" * 100_000}})
    assert os.fstat(file.descriptor).st_size < 100


def test_what_is_run_is_the_same_after_json() -> None:
    given = PlaybookRun(
        "dispatch", Path("a.json"), {"task": "{{ x }}\n😀"}, 3, True, 2, ("dx.fleet.slack_audit",)
    )
    found = PlaybookRun.from_dict(given.as_dict())
    assert found == PlaybookRun("dispatch", Path("a.json").absolute(), *list(vars(given).values())[2:])
