# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real Python that has loaded a module: it does nothing before it is asked, and nothing is made up of its answers."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.ansible_edge import begun_python
from ansible_collections.dx.fleet.plugins.plugin_utils.ansible_edge.begun_python import (
    ANSWERING,
    READER,
    BegunPython,
)
from ansible_collections.dx.fleet.plugins.plugin_utils.ansible_edge.by_stdin import BEGUN, MARK, program_of

MODULE = "dx.fleet.work_processes"
LISTED: dict[str, Any] = {"state": "listed", "exclusive": True}
ENDED: dict[str, Any] = {"state": "ended", "exclusive": True}


@contextmanager
def begun(does: str = ANSWERING, *, check: bool = False, before: str = "") -> Iterator[BegunPython]:
    """``before``: what the login prints."""
    action: Any = SimpleNamespace(_task=SimpleNamespace(check_mode=check))
    program = program_of(action, MODULE, does, {})
    python = BegunPython(["sh", "-c", f"{before} exec {sys.executable} -IS -c '{READER}'"], program)
    try:
        yield python
    finally:
        python.end()
        assert python._process.wait(10) is not None


@pytest.fixture
def work(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    work = subprocess.Popen(["sleep", "987611"], cwd=tmp_path, start_new_session=True)
    yield work
    work.kill()
    work.wait()


def test_it_does_what_it_is_asked_each_time_it_is_asked(
    work: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    with begun() as python:
        for _ in range(2):
            found = python.result_of({"directory": str(tmp_path), **LISTED})
            assert found is not None
            assert [each["pid"] for each in found["processes"]] == [work.pid]
        found = python.result_of({"directory": str(tmp_path), **ENDED})
        assert found is not None
        assert [each["pid"] for each in found["ended"]] == [work.pid]


def test_nothing_is_done_before_it_is_asked(work: subprocess.Popen[bytes], tmp_path: Path) -> None:
    with begun() as python:
        assert python._has_begun()
        assert work.poll() is None
    assert work.poll() is None


def test_in_check_mode_nothing_is_ended(work: subprocess.Popen[bytes], tmp_path: Path) -> None:
    with begun(check=True) as python:
        found = python.result_of({"directory": str(tmp_path), **ENDED})
    assert found is not None
    assert found["ended"] == []
    assert work.poll() is None


def test_any_name_of_a_directory_is_data(tmp_path: Path) -> None:
    folder = tmp_path / 'it\'s {given} %s """ \\ \u2028 \n é'
    folder.mkdir()
    with begun() as python:
        found = python.result_of({"directory": str(folder), **LISTED})
    assert found is not None
    assert found["directory"] == str(folder)


def test_what_a_login_prints_is_passed_over(tmp_path: Path) -> None:
    with begun(before="echo Welcome; printf 'Last login: today';") as python:
        assert python.result_of({"directory": str(tmp_path), **LISTED}) is not None


def _says(text: str) -> Callable[[], BegunPython]:
    """A program that says this in its place, once it has all that it is given; then it ends."""
    return lambda: BegunPython(["sh", "-c", f"read size; head -c $size >/dev/null; {text}"], b"pass")


@pytest.mark.parametrize(
    "process",
    [
        lambda: BegunPython(["false"], b"pass" * 100_000),
        lambda: BegunPython(["cat"], f"{BEGUN} not yet\n{MARK}{{}}\n".encode()),
        lambda: BegunPython(["sleep", "20"], b"pass"),
        lambda: BegunPython(["yes", f"{MARK}{{}}"], b"pass"),
        lambda: BegunPython([sys.executable, "-c", READER], b"1 +"),
        _says("echo Welcome"),
        _says(f"printf '{BEGUN}'"),
    ],
    ids=["it ends", "an echo", "silence", "no end of words", "no program", "a login", "half a line"],
)
def test_what_does_not_begin_is_not_asked(
    process: Callable[[], BegunPython], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(begun_python, "BEGIN_S", 0.3)
    python = process()
    try:
        assert python.result_of({"directory": "/"}) is None
        assert python.result_of({"directory": "/"}) is None, "nor later"
    finally:
        python.end()
        python._process.kill()
        python._process.wait()


@pytest.mark.parametrize(
    "answer",
    [
        "exit 1",
        "echo Killed",
        f"echo '{MARK}'",
        f"printf '{MARK}{{}}'",
        f"echo '{MARK}{{\"processes\": ['",
        f"echo '{MARK}[]'",
        "kill -9 $$",
        "exec sleep 20",
    ],
    ids=["it ended", "no mark", "nothing", "no end of line", "half of it", "a list", "killed", "silence"],
)
def test_what_was_asked_and_not_answered_has_failed(answer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(begun_python, "ANSWER_S", 0.5)
    python = _says(f"echo; echo '{BEGUN}'; read options; {answer}")()
    try:
        found = python.result_of({"directory": "/"})
        assert found is not None
        assert (found["failed"], found["not_seen"]) == (True, True)
        assert python.result_of({"directory": "/"}) is None, "a late answer is taken for no other's"
    finally:
        python.end()
        python._process.kill()
        python._process.wait()


def test_nobody_waits_for_what_does_not_read() -> None:
    python = BegunPython(["sleep", "20"], b"pass" * 1_000_000)
    python.end()
    assert python._process.wait(10) == -signal.SIGKILL


def test_a_fault_of_ours_was_not_seen() -> None:
    with begun() as python:
        found = python.result_of({"directory": "/", **LISTED, "watch": "soon"})
    assert found is not None
    assert found["not_seen"]
