# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real processes of every kind, ended; and somebody else's, left alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.dx.fleet.plugins.module_utils.work_processes import ending
from ansible_collections.dx.fleet.plugins.module_utils.work_processes.belonging import belonging
from ansible_collections.dx.fleet.plugins.module_utils.work_processes.ending import Found, work_processes
from ansible_collections.dx.fleet.plugins.module_utils.work_processes.listing import (
    CannotList,
    Process,
    _folders,
    processes,
)

from tests.command import environment
from tests.wait import wait_for

SERVER = "import sys, subprocess; subprocess.run(['bash', '-c', sys.stdin.read()])"
KINDS = {
    "a shell": "sleep 987601",
    "one that ignores TERM": "trap '' TERM; while :; do sleep 987602 & wait; done",
    "one of another session": "setsid sleep 987603 & sleep 987604",
    "a daemon": "(setsid sleep 987605 >/dev/null 2>&1 </dev/null &); sleep 987606",
    "one that went elsewhere": "cd / && sleep 987607",
    "one that begins new ones": "while :; do sleep 0.05; done",
}


def alive(mark: str) -> list[int]:
    return [each.pid for each in processes() if mark in each.command and "serve" not in each.command]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that is called as OpenCode's server is, and runs one command in its directory."""
    program = tmp_path / "opencode"
    program.symlink_to(sys.executable)
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "serve").write_text(SERVER)
    begun = subprocess.Popen(
        [str(program), "serve"],
        stdin=subprocess.PIPE,
        text=True,
        cwd=tmp_path / "work",
        env={**os.environ, "PYTHONHOME": sys.base_prefix},
        start_new_session=True,
    )
    yield begun
    begun.kill()
    begun.wait()
    for each in processes():
        if (each.cwd and each.cwd.startswith(str(tmp_path))) or "98760" in each.command:
            os.kill(each.pid, signal.SIGKILL)


def run(server: subprocess.Popen[str], command: str) -> None:
    assert server.stdin is not None
    with server.stdin as pipe:
        pipe.write(
            f"export OPENCODE_PID={server.pid}; cd '{server.args[0].rpartition('/')[0]}/work'; {command}"
        )  # type: ignore[index]


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_work_began_is_ended(server: subprocess.Popen[str], tmp_path: Path, kind: str) -> None:
    run(server, KINDS[kind])
    marks = [word.rstrip(";") for word in KINDS[kind].split() if word.startswith("9876")]
    deadline = time.monotonic() + 20
    while (
        not all(map(alive, marks))
        or not work_processes(str(tmp_path / "work"), exclusive=False, end=False, watch_s=0).processes
    ):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    found = work_processes(str(tmp_path / "work"), exclusive=False, end=True, watch_s=0.3)
    assert (found.processes, found.unsure, found.why) == ([], [], None)
    assert found.ended
    assert not any(map(alive, marks))
    assert server.poll() is None or server.returncode == 0, "the server itself is spared"


@pytest.mark.parametrize("exclusive", [False, True])
def test_of_what_may_be_anybodys_nothing_is_ended_unless_the_directory_is_the_works_own(
    tmp_path: Path, exclusive: bool
) -> None:
    other = subprocess.Popen(["sleep", "987608"], cwd=tmp_path, start_new_session=True)
    try:
        found = work_processes(str(tmp_path), exclusive=exclusive, end=True, watch_s=0)
        if exclusive:
            assert [each["pid"] for each in found.ended] == [other.pid]
        else:
            assert ([each["pid"] for each in found.unsure], found.ended) == ([other.pid], [])
            assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_a_commit_while_it_is_watched_is_seen(tmp_path: Path) -> None:
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    commit = [*git, "commit", "-q", "--allow-empty", "-m", "x"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run(commit, check=True)
    still = work_processes(str(tmp_path), exclusive=False, end=False, watch_s=0.3)
    assert still.head is not None
    assert (still.head == still.head_before, still.dirty) == (True, 0)
    (tmp_path / "new").write_text("x")
    later = subprocess.Popen(["sh", "-c", 'sleep 0.5; exec "$@"', "sh", *commit], cwd="/")
    moved = work_processes(str(tmp_path), exclusive=False, end=False, watch_s=20)
    later.wait()
    assert moved.head != moved.head_before
    assert moved.dirty == 1


@pytest.mark.parametrize(
    ("ago_s", "waits"),
    [(0.0, True), (60.0, False), (-1000.0, True), (7200.0, True)],
    ids=["just now", "long enough ago", "before this start of the machine", "too long ago"],
)
def test_a_watch_goes_on_where_an_earlier_one_began(tmp_path: Path, ago_s: float, waits: bool) -> None:
    since = {"moment": time.monotonic() - ago_s, "head": None}
    found = work_processes(str(tmp_path), exclusive=True, end=True, watch_s=0.5, since=since)
    assert found.watched_s >= 0.5
    assert (found.watched_s < 60.0) is waits


def test_what_moved_since_an_earlier_watch_is_seen(tmp_path: Path) -> None:
    since = {"moment": time.monotonic() - 60.0, "head": "a" * 40}
    found = work_processes(str(tmp_path), exclusive=True, end=True, watch_s=0.5, since=since)
    assert (found.head_before, found.head) == ("a" * 40, None)


def test_the_watch_begins_anew_where_something_had_to_be_ended(tmp_path: Path) -> None:
    working = subprocess.Popen(["sleep", "616"], cwd=tmp_path, start_new_session=True)
    try:
        since = {"moment": time.monotonic() - 60.0, "head": None}
        found = work_processes(str(tmp_path), exclusive=True, end=True, watch_s=0.5, since=since)
    finally:
        working.kill()
        working.wait()
    assert [each["pid"] for each in found.ended] == [working.pid]
    assert 0.5 <= found.watched_s < 60.0


MODULE = """
import sys
from ansible_collections.dx.fleet.plugins.module_utils.git.command import Git
Git(sys.argv[1]).call("-c", "alias.wait=!touch began; sleep 987609", "wait")
"""


def test_what_a_module_of_ours_runs_there_is_left_alone(tmp_path: Path) -> None:
    """A dispatch that is being stopped lets go of its worktree meanwhile."""
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    module = subprocess.Popen(
        [sys.executable, "-c", MODULE, str(tmp_path)], cwd="/", env=environment({}), start_new_session=True
    )
    try:
        wait_for(lambda: (tmp_path / "began").exists() and alive("987609"))
        since = {"moment": time.monotonic() - 60.0, "head": None}
        found = work_processes(str(tmp_path), exclusive=True, end=True, watch_s=0.5, since=since)
        assert (found.processes, found.ended) == ([], [])
        assert found.watched_s >= 60.0
        assert module.poll() is None
    finally:
        for pid in (module.pid, *alive("987609")):
            os.kill(pid, signal.SIGKILL)
        module.wait()


def process(
    pid: int,
    parent: int,
    cwd: str = "/w",
    *,
    command: str = "x",
    tty: bool = False,
    server: int | None = None,
    module: int | None = None,
) -> Process:
    return Process(pid, parent, "1", command, cwd, tty, 0, server, module=module)


@pytest.mark.parametrize(
    ("work", "is_ours"),
    [
        (process(21, 20, module=20), True),
        (process(21, 20), False),
        (process(21, 1, module=20), False),  # it left the module, as no git of ours does
        (process(21, 20, module=77), False),
        (process(21, 20, module=21), False),
        (process(21, 20, module=20, server=10), False),  # of the agent, whatever it says
    ],
    ids=["ours", "no mark", "no parent", "another's mark", "its own mark", "begun by the server"],
)
def test_whose_git_it_is(work: Process, is_ours: bool) -> None:
    listed = [process(1, 0, "/"), process(20, 1, "/root", command="python module"), work]
    found = belonging(listed, "/w", exclusive=True, known=set(), me=99)
    assert [each.pid for each in found.surely] == ([] if is_ours else [21])


def test_a_persons_shell_and_the_server_and_we_are_spared() -> None:
    listed = [
        process(1, 0, "/", command="init"),
        process(10, 1, command="/usr/bin/opencode serve --port 4105"),
        process(11, 10, command="bash -c make"),
        process(20, 1, command="bash", tty=True),
        process(21, 20, command="vim", tty=True),
        process(30, 1, command="sshd"),
        process(31, 30, command="python module"),
    ]
    found = belonging(listed, "/w", exclusive=True, known=set(), me=31)
    assert [each.pid for each in found.surely] == [11]


def test_what_lsof_says_is_read() -> None:
    assert _folders("p1\nfcwd\nn/\np22\nfcwd\nn/Users/x y\nn/other\nx\n") == {1: "/", 22: "/other"}


def test_a_repository_that_git_does_not_read_is_not_taken_for_none(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    look = {"exclusive": False, "end": False, "watch_s": 0.0}
    assert work_processes(str(tmp_path / "in"), **look).unread is None
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    assert work_processes(str(tmp_path / "in"), **look).unread is None  # it has no commit yet
    (tmp_path / ".git" / "HEAD").write_text("broken")
    found = work_processes(str(tmp_path / "in"), **look)
    assert found.head is None
    assert found.unread is not None


def test_what_belonged_to_the_work_in_an_earlier_look_does_so_still(tmp_path: Path) -> None:
    gone = subprocess.Popen(["sleep", "617"], cwd="/", start_new_session=True)
    try:
        (began,) = [each.began for each in processes() if each.pid == gone.pid]
        since = {"moment": 0.0, "head": None, "processes": [{"pid": gone.pid, "began": began}]}
        found = work_processes(str(tmp_path), exclusive=False, end=False, watch_s=0.0, since=since)
        assert [each["pid"] for each in found.processes or ()] == [gone.pid]
    finally:
        gone.kill()
        gone.wait()


def test_what_was_ended_before_the_list_fails_begins_the_watch_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(found: Found, *_: object) -> None:
        found.ended.append({"pid": 1})
        raise CannotList("lsof can't be used")

    monkeypatch.setattr(ending, "_end_all", failing)
    since = {"moment": time.monotonic() - 60.0, "head": None}
    found = work_processes(str(tmp_path), exclusive=True, end=True, watch_s=0.2, since=since)
    assert (found.processes, found.why) == (None, "lsof can't be used")
    assert 0.2 <= found.watched_s < 60.0
