# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""kill -9 at every step of making and removing: a later run puts it right, and nothing is lost."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.git_clone import PROGRAM, Clone
from tests.verify_runs import PROGRAM as CHECK
from tests.verify_runs import run_check, start_check
from tests.wait import wait_for

# Counts what changes anything, and dies before the step with that number. The call of git that follows a kill
# is made all the same with "after": an orphan that works on.
DIES = """
import os, signal, sys
at, seen = int(os.environ["DX_DIE_AT"]), 0
READS = {"version", "rev-parse", "worktree list", "for-each-ref", "check-ref-format", "rev-list", "merge-base", "remote",
         "ls-tree", "ls-files", "cat-file", "config", "symbolic-ref", "ls-remote", "status"}
def step(event, arguments):
    global seen
    if event == "subprocess.Popen":
        words = [word for word in arguments[1] if not word.startswith(("-", "core.", "gc.", "maintenance.", "submodule.", "log."))]
        if words[1] in READS or " ".join(words[1:3]) in READS:
            return
    elif event not in ("os.remove", "os.rmdir", "os.mkdir", "os.rename") or "dx-fleet" not in str(arguments[0]) or "/tmp/dx-" in str(arguments[0]):
        return
    seen += 1
    if seen == at:
        os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(step)
"""

# Counts what a check changes, and dies before the step with that number: the module, or what supervises the command,
# a fork of it which counts its own steps.
DIES_CHECKING = """
import os, signal, sys
module, seen = os.getpid(), {}
def step(event, arguments):
    if event == "subprocess.Popen":
        if list(arguments[1])[0] == "git":
            return
    elif event == "open":
        if "dx-fleet" not in str(arguments[0]) or not arguments[2] & (os.O_WRONLY | os.O_RDWR):
            return
    elif event not in ("os.fork", "os.remove", "os.mkdir") or "/tmp/dx-" in str(arguments[:1]):
        return
    if ".coverage" in str(arguments[:1]):
        return
    who = "module" if os.getpid() == module else "supervisor"
    seen[who] = seen.get(who, 0) + 1
    if [who, str(seen[who])] == [os.environ["DX_DIES"], os.environ["DX_DIE_AT"]]:
        os.mkdir(os.environ["DX_DIED"])
        os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(step)
"""

# A git that kills whoever called it at the call with that number, and then works on as an orphan.
GIT_THAT_KILLS = """#!/bin/sh
case " $* " in
*" fetch "*|*" update-ref "*|*" branch "*|*" worktree add "*|*" worktree lock "*|*" worktree unlock "*|*" worktree remove "*)
    echo . >> "$DX_CALLS"
    if [ "$(wc -l < "$DX_CALLS")" -eq "$DX_DIE_AT" ]; then kill -9 "$PPID"; fi;;
esac
exec /usr/bin/git "$@"
"""

How = Callable[[Clone, int, dict[str, Any]], bool]


def before_a_step(clone: Clone, number: int, options: dict[str, Any]) -> bool:
    """Run it till it is killed before a step; False: it came to its end."""
    process = clone.start(DIES + PROGRAM, {"DX_DIE_AT": str(number)}, **options)
    out, err = process.communicate(timeout=60)
    assert process.returncode in (0, -signal.SIGKILL), err
    assert process.returncode or "msg" not in json.loads(out), out
    return process.returncode != 0


def while_git_goes_on(clone: Clone, number: int, options: dict[str, Any]) -> bool:
    """Run it till a git that it has started kills it; False: it came to its end."""
    tools = clone.home / "tools"
    tools.mkdir(exist_ok=True)
    (tools / "git").write_text(GIT_THAT_KILLS)
    (tools / "git").chmod(0o755)
    calls = clone.home / "calls"
    calls.unlink(missing_ok=True)
    env = {"PATH": f"{tools}:{os.environ['PATH']}", "DX_CALLS": str(calls), "DX_DIE_AT": str(number)}
    process = clone.start(env=env, **options)
    process.communicate(timeout=60)
    return process.returncode != 0


HOWS = pytest.mark.parametrize("how", [before_a_step, while_git_goes_on])


def deaths(how: How, clone: Clone, options: dict[str, Any], least: int) -> Iterator[int]:
    """Each step at which it can be killed."""
    number = 1
    while how(clone, number, options):
        yield number
        number += 1
    assert number > least


@HOWS
def test_while_it_is_made(clone: Clone, how: How) -> None:
    before = clone.refs()
    options = {"branch": "dx/a", "dispatch": "d1"}
    tip = clone.git("rev-parse", "main")
    for number in deaths(how, clone, options, least=5):
        made = clone.do(dispatch="d1")
        path = made["path"]
        assert clone.registered() == [path], number
        assert "locked dx-fleet dispatch d1" in clone.git("worktree", "list", "--porcelain")
        assert (clone.git("status", "--porcelain", at=path), made["head"], made["base"]) == ("", tip, tip)
        assert made["rescue_refs"] == []
        clone.do(dispatch="d1", state="absent")
        assert (clone.refs(), clone.registered()) == (before, []), number
        clone.check()


@HOWS
def test_after_it_was_killed_a_removal_leaves_nothing(clone: Clone, how: How) -> None:
    before = clone.refs()
    for number in deaths(how, clone, {"branch": "dx/a", "dispatch": "d1"}, least=5):
        clone.do(dispatch="d1", state="absent")
        assert (clone.refs(), clone.registered()) == (before, []), number
        assert not list(clone.root.glob("*/*"))
    clone.check()


@HOWS
def test_while_it_is_removed(clone: Clone, how: How) -> None:
    options = {"branch": "dx/a", "dispatch": "d1", "state": "absent"}
    number, died = 0, True
    while died:
        number += 1
        path = Path(clone.do(dispatch="d1")["path"])
        (clone.path / ".git" / "info" / "exclude").write_text("*.log\n")
        commits = [clone.commit(path, f"{number}.txt", f"committed {number}\n")]
        clone.git("commit", "--quiet", "--amend", "--message", "Better", at=path)
        commits.append(clone.git("rev-parse", "HEAD", at=path))
        files = {
            "README.md": f"changed {number}",
            "new/file.txt": f"new {number}",
            "run.log": f"a log {number}",
        }
        (path / "new").mkdir()
        for name, text in files.items():
            (path / name).write_text(text)
        died = how(clone, number, options)
        clone.do(dispatch="d1", state="absent")
        assert clone.registered() == [], number
        assert not path.exists()
        assert all(map(clone.kept_commit, commits)), number
        for name, text in files.items():
            assert clone.kept_blob(text.encode()), (number, name)
        assert (
            len(clone.refs("refs/dx-fleet/rescue")) == number
        )  # one each, and none of what was half removed
        clone.check()
    assert number > 4


@pytest.mark.parametrize("end", ["it goes on", "it dies too"])
def test_in_the_middle_of_a_checkout(clone: Clone, end: str) -> None:
    """The module is killed while git writes the files: git holds the lock as long as it lives."""
    reached, gate = clone.home / "reached", clone.home / "gate"
    clone.commit(clone.path, ".gitattributes", "*.txt filter=slow\n")
    clone.commit(clone.path, "a.txt")
    clone.commit(clone.path, "b.txt")
    clone.git("push", "--quiet", "origin", "main")
    clone.git(
        "config", "filter.slow.smudge", f"touch {reached}; while [ ! -e {gate} ]; do sleep 0.02; done; cat"
    )
    process = clone.start(dispatch="d1")
    wait_for(reached.exists)
    group = int(
        subprocess.check_output(["pgrep", "-f", f"worktree add .*{clone.root}"], text=True).split()[0]
    )
    process.kill()
    process.communicate()
    if end == "it dies too":
        os.killpg(group, signal.SIGKILL)
    else:
        busy = clone.start(dispatch="d1", lock_timeout=0.2)
        assert json.loads(busy.communicate(timeout=30)[0])["reason_code"] == "repository_busy"
    gate.touch()
    made = clone.do(dispatch="d1")
    assert clone.registered() == [made["path"]]
    assert clone.git("status", "--porcelain", at=made["path"]) == ""
    assert made["repaired"] == ([] if end == "it goes on" else ["half made"])
    assert Path(made["path"], "b.txt").read_text() == "new\n"


@pytest.mark.parametrize(("who", "at_least"), [("module", 5), ("supervisor", 1)])
def test_while_it_is_verified(clone: Clone, tmp_path: Path, who: str, at_least: int) -> None:
    path = Path(clone.do(dispatch="d1")["path"])
    commit = clone.commit(path, "new.txt")
    clone.git("push", "--quiet", "origin", "HEAD", at=path)
    before, refs = files_of(path), clone.refs()
    command = f'{shlex.quote(sys.executable)} -c \'import subprocess; subprocess.Popen(["sleep", "86398"])\'; make test'
    number, died = 0, True
    while died:
        number += 1
        (path / "report.xml").write_text("<testsuite/>")
        mark = tmp_path / f"died-{number}"
        env = {"DX_DIES": who, "DX_DIE_AT": str(number), "DX_DIED": str(mark)}
        process = start_check(path, command, program=DIES_CHECKING + CHECK, env=env, report=["report.xml"])
        out, err = process.communicate(timeout=120)
        died = mark.exists()
        assert process.returncode == (-signal.SIGKILL if died and who == "module" else 0), err
        if died and who == "supervisor":
            assert json.loads(out)["reason_code"] == "check_not_run", number
        found = run_check(path, command)
        assert (found["verdict"], found["head"], found["pushed"]) == ("verified", commit, True), number
        assert [
            each for each in psutil.process_iter(["cmdline"]) if "86398" in (each.info["cmdline"] or ())
        ] == []
        assert (files_of(path), clone.refs()) == (before, refs), number
        clone.check()
    assert number > at_least


def files_of(path: Path) -> dict[str, bytes]:
    """All files that a person sees there."""
    return {
        str(each.relative_to(path)): each.read_bytes()
        for each in path.rglob("*")
        if each.is_file() and "__pycache__" not in each.parts and each.name != "report.xml"
    }


def test_while_it_is_pushed(clone: Clone) -> None:
    path = clone.do(dispatch="d1")["path"]
    commit = clone.commit(path)
    hook = clone.remote / "hooks" / "pre-receive"
    reached = clone.home / "reached"
    hook.write_text(f"#!/bin/sh\ntouch {reached}\nsleep 0.5\n")
    hook.chmod(0o755)
    process = clone.start(dispatch="d1", state="pushed")
    wait_for(reached.exists)
    process.kill()
    process.communicate()
    assert clone.do(dispatch="d1", state="pushed")["pushed"]
    assert clone.git("rev-parse", "dx/a", at=clone.remote) == commit
