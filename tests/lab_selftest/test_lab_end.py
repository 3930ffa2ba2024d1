# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Nothing is left behind, whatever way a lab ends.

That it is so with OpenCode itself is tried in three ways; the others are tried with a server in its place that
treats its children as badly, and starts in a tenth of the time.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests.lab import Lab, LabError
from tests.lab.binaries import CHECKOUT
from tests.lab.processes import lab_processes

from .conftest import STANDIN
from .ports import assert_let_go
from .sessions import Sessions

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Held:
    """A lab that another process holds, with the work of a session under way."""

    holder: subprocess.Popen[str]
    lab_id: str
    root: Path
    processes: list[psutil.Process]
    address: tuple[str, int]

    def signal(self, number: signal.Signals) -> None:
        self.holder.send_signal(number)

    def go_on(self) -> None:
        assert self.holder.stdin is not None
        self.holder.stdin.write("\n")
        self.holder.stdin.flush()


@contextmanager
def held(way: str = "return", *, standin: bool = True) -> Iterator[Held]:
    """A process that holds a lab, killed at the end if a test has failed to."""
    holder = subprocess.Popen(
        [sys.executable, "-m", "tests.lab_selftest.holder", way],
        cwd=CHECKOUT,
        env=os.environ | ({"DX_TEST_OPENCODE": str(STANDIN)} if standin else {}),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        process_group=0,
    )
    assert holder.stdout is not None
    processes: list[psutil.Process] = []
    try:
        report = json.loads(holder.stdout.readline())
        processes = [psutil.Process(pid) for pid in report["pids"]]
        yield Held(holder, report["lab_id"], Path(report["root"]), processes, tuple(report["address"]))
    finally:
        holder.kill()
        holder.communicate()
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.kill()


def assert_nothing_is_left(lab: Held) -> None:
    """Its processes end within seconds; then there is no other one, the port is free and the root gone."""
    _, alive = psutil.wait_procs(lab.processes, timeout=60)
    assert not alive
    assert lab_processes(lab.lab_id) == []
    assert not lab.root.exists()
    assert_let_go(lab.address, lab.lab_id)


@pytest.mark.parametrize("standin", [False, True], ids=["OpenCode", "stand-in"])
def test_the_work_that_the_tests_end_is_real(standin: bool) -> None:
    with held(standin=standin) as lab:
        commands = [" ".join(process.cmdline()) for process in lab.processes]
        assert sum(command.startswith("sleep 30") or "/sleep 30" in command for command in commands) >= 3
        assert any("opencode" in command and "serve" in command for command in commands)
        lab.go_on()
        assert lab.holder.wait(60) == 0
        assert_nothing_is_left(lab)


@pytest.mark.parametrize(
    ("number", "standin"),
    [(signal.SIGKILL, False), (signal.SIGTERM, False), (signal.SIGKILL, True), (signal.SIGINT, True)],
)
def test_a_signal_to_its_process(number: signal.Signals, standin: bool) -> None:
    with held(standin=standin) as lab:
        lab.signal(number)
        assert_nothing_is_left(lab)


def test_a_kill_of_its_whole_process_group() -> None:
    with held() as lab:
        os.killpg(lab.holder.pid, signal.SIGKILL)
        assert_nothing_is_left(lab)


@pytest.mark.parametrize("way", ["raise", "exit"])
def test_an_error_in_its_process(way: str) -> None:
    with held(way) as lab:
        lab.go_on()
        assert_nothing_is_left(lab)


def test_a_kill_while_a_fork_holds_the_pipe() -> None:
    with held() as lab, _the_pipe_of(lab):
        lab.signal(signal.SIGKILL)
        assert_nothing_is_left(lab)


@contextmanager
def _the_pipe_of(lab: Held) -> Iterator[None]:
    """Hold the pipe to the keeper's standard input open, as a fork of the process that made the lab would."""
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("needs /proc")
    keeper = next(process for process in lab.processes if "tests.lab.keeper" in process.cmdline())
    with open(f"/proc/{keeper.pid}/fd/0", "wb", buffering=0):
        yield


def test_a_kill_while_it_starts(tmp_path: Path, standin: None) -> None:
    root = tmp_path / "root"
    code = "import sys, pathlib, tests.lab; tests.lab.Lab(('solo',), pathlib.Path(sys.argv[1])).up()"
    starter = subprocess.Popen([sys.executable, "-c", code, str(root)], cwd=CHECKOUT)
    try:
        lab_id, servers = _starting(root)
    finally:
        starter.kill()
        starter.wait()
    _, alive = psutil.wait_procs(servers, timeout=60)
    assert not alive
    assert lab_processes(lab_id) == []
    assert not root.exists()


def _starting(root: Path) -> tuple[str, list[psutil.Process]]:
    """The lab's id and processes, as soon as the server's process is there."""
    for _ in range(1200):
        if (root / "lab-id").exists():
            lab_id = (root / "lab-id").read_text().strip()
            found = lab_processes(lab_id)
            if lab_id and len(found) >= 2:
                return lab_id, found
        time.sleep(0.05)
    raise TimeoutError("no server within 60 s")


def test_a_kill_of_the_keeper_itself(standin: None) -> None:
    lab = Lab(vms=("solo",))
    lab.up()
    root, lab_id, vm = lab.root, lab.lab_id, lab.vms["solo"]
    with Sessions(vm) as sessions:
        sessions.new().send("@bash sleep 300")
        sleepers = [process for process in vm.children() if "sleep 300" in " ".join(process.cmdline())]
        (keeper,) = (p for p in lab_processes(lab_id) if "tests.lab.keeper" in p.cmdline())
        everything = lab_processes(lab_id)
        assert sleepers
        keeper.kill()
        psutil.wait_procs([keeper], timeout=60)
        sessions.forget()
    lab.down()
    _, alive = psutil.wait_procs(everything, timeout=60)
    assert not alive
    assert lab_processes(lab_id) == []
    assert not root.exists()


def test_a_server_that_does_not_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "opencode"
    broken.write_text("#!/bin/sh\necho out of luck >&2\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setenv("DX_TEST_OPENCODE", str(broken))
    lab = Lab(root=tmp_path / "root")
    with pytest.raises(LabError, match="out of luck"):
        lab.up()
    assert not (tmp_path / "root").exists()


def test_a_root_that_is_not_empty_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "precious").touch()
    with pytest.raises(LabError, match="not empty"):
        Lab(root=tmp_path).up()
    assert (tmp_path / "precious").exists()


def test_down_can_be_repeated(standin: None) -> None:
    lab = Lab(vms=("solo",))
    lab.down()
    lab.up()
    lab.down()
    lab.down()
    with pytest.raises(LabError, match="not up"):
        _ = lab.root
