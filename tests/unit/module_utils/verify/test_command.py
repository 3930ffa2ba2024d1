# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Nothing that a check has started survives it, and what it prints stays within bounds."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.git_clone import Clone
from tests.verify_runs import run_check, start_check
from tests.wait import wait_for

DAEMON = """
import os, signal, sys, time
for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
    signal.signal(number, signal.SIG_IGN)
if os.fork(): os._exit(0)
os.setsid()
if os.fork(): os._exit(0)
os.chdir("/")
os.closerange(0, 3)
os.execve("/bin/sleep", ["sleep", sys.argv[1]], {})
"""
"""Two forks, a session of its own, every signal but one ignored, another directory, an empty environment."""


@pytest.fixture
def tree(clone: Clone) -> Path:
    return Path(clone.do(dispatch="d1")["path"])


@pytest.fixture
def seconds() -> Iterator[str]:
    """How long a left process would sleep: a number by which only it is found."""
    number = f"{600 + os.getpid() % 100}.{time.monotonic_ns() % 10**9:09d}"
    yield number
    for process in sleepers(number):
        process.kill()


def sleepers(seconds: str) -> list[psutil.Process]:
    return [
        each for each in psutil.process_iter(["cmdline"]) if (each.info["cmdline"] or [])[-1:] == [seconds]
    ]


LEAVERS = {
    "nothing": "true",
    "a child in the background": "sleep SECONDS &",
    "one that ignores SIGTERM": "sh -c \"trap '' TERM HUP INT; sleep SECONDS\" &",
    "one with a session of its own": "setsid sleep SECONDS &",
    "a daemon": "python3 daemon.py SECONDS",
    "many": "for i in 1 2 3 4 5 6 7 8; do setsid sleep SECONDS & python3 daemon.py SECONDS; done",
    "one that starts others": "setsid sh -c 'while :; do setsid sleep SECONDS & sleep 0.01; done' & sleep 0.3",
    "one that holds the output open": "(sleep SECONDS; echo late) & echo early",
}


@pytest.mark.parametrize("end", ["ends", "fails", "takes too long"])
@pytest.mark.parametrize("leaver", LEAVERS)
def test_nothing_survives(clone: Clone, tree: Path, seconds: str, leaver: str, end: str) -> None:
    (tree / "daemon.py").write_text(DAEMON)
    command = LEAVERS[leaver].replace("SECONDS", seconds)
    command += {"ends": "\necho end", "fails": "\nexit 3", "takes too long": f"\nsleep {seconds}"}[end]
    began = time.monotonic()
    result = run_check(tree, command, timeout=1.0 if end == "takes too long" else 60, counts="none")
    assert sleepers(seconds) == []
    assert (result["processes_alive"], result["processes_proven"]) == (0, True)
    assert (result["processes_left"] > 0) == (leaver != "nothing" or end == "takes too long")
    assert result["rc"] == {"ends": 0, "fails": 3, "takes too long": None}[end]
    assert result["timed_out"] == (end == "takes too long")
    assert time.monotonic() - began < 30


@pytest.mark.parametrize("dies", ["the module", "the supervisor", "both"])
@pytest.mark.parametrize("leaver", ["a child in the background", "a daemon"])
def test_what_a_killed_run_left_is_ended(
    clone: Clone, tree: Path, seconds: str, leaver: str, dies: str
) -> None:
    (tree / "daemon.py").write_text(DAEMON)
    command = LEAVERS[leaver].replace("SECONDS", seconds) + f"\nsleep {seconds}"
    process = start_check(tree, command)
    wait_for(lambda: len(sleepers(seconds)) == 2)
    (supervisor,) = psutil.Process(process.pid).children()
    if dies == "both":
        supervisor.suspend()  # so that it can't tidy up
        process.kill()
        supervisor.kill()
    elif dies == "the module":
        process.kill()
    else:
        supervisor.kill()
    out, _ = process.communicate(timeout=30)
    if dies == "the supervisor":
        result = json.loads(out)
        assert (result["verdict"], result["reason_code"]) == ("unverified", "check_not_run")
        assert sleepers(seconds) == []
    again = run_check(tree, "echo 3 passed in 0.1s")  # it waits for the supervisor that tidies up
    assert again["verdict"] == "verified"
    if dies == "both":  # nobody was left to inherit them: the next run finds those that bear its mark
        assert again["processes_ended_before"] > 0
        assert len(sleepers(seconds)) == (1 if leaver == "a daemon" else 0)
    else:
        assert sleepers(seconds) == []
    assert clone.git("status", "--porcelain", at=tree).split() == ["??", "daemon.py"]


@pytest.mark.parametrize(
    ("hostile", "reason"),
    [
        ("kill -9 $PPID; sleep SECONDS", "check_not_run"),
        ("exec >&- 2>&- <&-; (sleep SECONDS &); true", "no_counts"),
        ("kill -9 0", "check_killed"),
    ],
)
def test_a_command_that_attacks_what_runs_it(tree: Path, seconds: str, hostile: str, reason: str) -> None:
    result = run_check(tree, hostile.replace("SECONDS", seconds), timeout=20.0)
    assert (result["verdict"], result["reason_code"]) == ("unverified", reason)
    assert (result["processes_alive"], sleepers(seconds)) == (0, [])


def test_a_command_that_is_not_there_proves_nothing(tree: Path) -> None:
    result = run_check(tree, "no-such-command")
    assert (result["verdict"], result["reason_code"]) == ("unverified", "command_not_found")


def test_a_command_that_kills_all_above_it_is_no_success_and_leaves_nothing(tree: Path, seconds: str) -> None:
    kill = "kill -9 $(ps -o ppid= -p $PPID) $PPID; sleep SECONDS".replace("SECONDS", seconds)
    process = start_check(tree, kill)
    out, _ = process.communicate(timeout=30)
    assert (process.returncode, out) == (-signal.SIGKILL, "")
    again = run_check(tree, "echo 3 passed in 0.1s")
    assert again["verdict"] == "verified"
    assert sleepers(seconds) == []


def test_a_terminated_module_ends_its_check(tree: Path, seconds: str) -> None:
    process = start_check(tree, f"sleep {seconds}")
    wait_for(lambda: sleepers(seconds))
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    wait_for(lambda: not sleepers(seconds))


def test_a_command_that_asked_to_tidy_up_can(tree: Path, tmp_path: Path) -> None:
    result = run_check(
        tree,
        f"trap 'echo tidied > {tmp_path}/tidied; exit 1' TERM; while :; do sleep 0.05; done",
        timeout=0.5,
    )
    assert result["timed_out"]
    assert (tmp_path / "tidied").read_text() == "tidied\n"


def test_a_flood_is_cut_in_the_middle(tree: Path) -> None:
    command = "echo first; head -c 30000000 /dev/zero | tr '\\0' x; echo; echo '5 passed in 0.1s'"
    result = run_check(tree, command, output_limit=1)
    output = Path(result["output_file"])
    assert output.stat().st_size < (1 << 20) + 100
    assert output.read_text().startswith("first\nxxx")
    assert "bytes left out]" in output.read_text()
    assert result["output_tail"].endswith("5 passed in 0.1s\n")
    assert len(result["output_tail"]) <= 4000
    assert (result["verdict"], result["tests"]["passed"]) == ("verified", 5)


def test_an_endless_flood_ends_with_its_time(tree: Path) -> None:
    result = run_check(tree, "yes", timeout=1.0, output_limit=1)
    assert (result["verdict"], result["reason_code"]) == ("unverified", "check_timed_out")
    assert Path(result["output_file"]).stat().st_size < (1 << 20) + 100


def test_only_its_user_reads_the_output(tree: Path) -> None:
    output = Path(run_check(tree, "echo secret")["output_file"])
    assert stat.S_IMODE(output.stat().st_mode) == 0o600
    assert stat.S_IMODE(output.parent.stat().st_mode) == 0o700


def test_old_outputs_go(clone: Clone, tree: Path) -> None:
    folder = Path(run_check(tree, "true")["output_file"]).parent
    for number in range(60):
        (folder / f"{number}.log").touch()
        os.utime(folder / f"{number}.log", (number, number))
    run_check(tree, "true")
    assert len(list(folder.glob("*.log"))) <= 51
    assert not (folder / "0.log").exists()


def test_it_has_no_input_and_no_terminal_and_no_git_of_ours(tree: Path) -> None:
    env = {"GIT_DIR": "/nowhere", "GIT_INDEX_FILE": "/nowhere"}
    result = run_check(tree, "cat; tty; env | grep ^GIT_; git rev-parse --show-toplevel", env=env)
    assert result["output_tail"].splitlines() == ["not a tty", str(tree)]


def test_two_checks_of_one_worktree_do_not_meet(tree: Path, tmp_path: Path) -> None:
    command = f"mkdir {tmp_path}/alone || exit 1; sleep 0.3; rmdir {tmp_path}/alone"
    processes = [start_check(tree, command, counts="none") for _ in range(3)]
    results = [json.loads(process.communicate(timeout=60)[0]) for process in processes]
    assert [result["verdict"] for result in results] == ["verified"] * 3


def test_a_check_that_is_waited_for_too_long(tree: Path, seconds: str) -> None:
    process = start_check(tree, f"sleep {seconds}")
    wait_for(lambda: sleepers(seconds))
    assert run_check(tree, "true", lock_timeout=0.2)["reason_code"] == "check_busy"
    process.kill()
    process.communicate()
    wait_for(lambda: not sleepers(seconds))


def test_where_orphans_do_not_come_back_nothing_is_proven(tree: Path, seconds: str) -> None:
    """As on macOS: no subreaper. What bears the mark is found all the same."""
    script = tree / "without.py"
    script.write_text(
        "import json, sys\n"
        "from ansible_collections.dx.fleet.plugins.module_utils.verify import command, commands\n"
        "command._become_subreaper = lambda on: False\n"
        "print(json.dumps(commands.verify(json.loads(sys.argv[1]), False)))\n"
    )
    from tests.command import COLLECTIONS
    from tests.verify_runs import check_options

    options = check_options(tree, f"setsid sleep {seconds} & echo 1 passed in 0.1s")
    done = subprocess.run(
        ["python3", str(script), json.dumps(options)],
        env={**os.environ, "PYTHONPATH": str(COLLECTIONS)}, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    result = json.loads(done.stdout)
    assert (result["verdict"], result["processes_proven"], sleepers(seconds)) == ("verified", False, [])
