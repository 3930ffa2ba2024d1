# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Slack workspace starts without the machine's Node, and nothing of it is left behind, however it ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests.lab import BinaryMissingError, Lab, LabError
from tests.lab.binaries import CHECKOUT
from tests.lab.processes import lab_processes
from tests.lab.slack import SlackWorkspace
from tests.lab.slack.binaries import find_emulator, find_node, pinned_emulator

from .ports import assert_let_go

_HOLD = """
import json, sys
from tests.lab import Lab
with Lab(vms=(), slack=True) as lab:
    lab.slack.client().chat_postMessage(channel=lab.slack.channel, text="x")
    print(json.dumps([lab.lab_id, str(lab.root), lab.slack.url]), flush=True)
    sys.stdin.readline()
"""


@dataclass(frozen=True)
class Held:
    """A workspace that another process holds: keeper and emulator."""

    holder: subprocess.Popen[str]
    lab_id: str
    root: Path
    url: str
    processes: list[psutil.Process]


@contextmanager
def held() -> Iterator[Held]:
    """A process that holds a workspace, killed at the end if a test has failed to."""
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLD], cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        lab_id, root, url = json.loads(holder.stdout.readline())
        processes = lab_processes(lab_id)
        assert sorted(_kind(process) for process in processes) == ["emulator", "keeper"]
        yield Held(holder, lab_id, Path(root), url, processes)
    finally:
        holder.kill()
        holder.communicate()


def _kind(process: psutil.Process) -> str:
    command = process.cmdline()
    if str(find_emulator()) in command:
        return "emulator"
    return "keeper" if "tests.lab.keeper" in command else " ".join(command)


def assert_nothing_is_left(held: Held) -> None:
    """Its processes end within seconds; then there is no other one, the port is free and the root gone."""
    _, alive = psutil.wait_procs(held.processes, timeout=25)
    assert not alive
    assert lab_processes(held.lab_id) == []
    assert not held.root.exists()
    assert_let_go(("127.0.0.1", int(held.url.split(":")[2].split("/")[0])), held.lab_id)


def test_close() -> None:
    with held() as workspace:
        assert workspace.holder.stdin is not None
        workspace.holder.stdin.write("\n")
        workspace.holder.stdin.flush()
        assert workspace.holder.wait(30) == 0
        assert_nothing_is_left(workspace)


def test_a_kill_of_its_process() -> None:
    """The other signals come to the same: :mod:`tests.lab_selftest.test_lab_end`."""
    with held() as workspace:
        workspace.holder.kill()
        assert_nothing_is_left(workspace)


def test_a_kill_while_somebody_waits_for_an_answer() -> None:
    lab = Lab(vms=(), slack=True)
    lab.up()
    lab_id, processes = lab.lab_id, lab_processes(lab.lab_id)
    waiting = _hanging_post(lab.slack)
    try:
        lab.down()
        assert waiting.wait(30) != 0
    finally:
        waiting.kill()
    assert not psutil.wait_procs(processes, timeout=25)[1]
    assert lab_processes(lab_id) == []


def _hanging_post(slack: SlackWorkspace) -> subprocess.Popen[bytes]:
    """Another process that posts and is left without an answer."""
    slack.fault("chat.postMessage", "hang")
    post = "import sys, urllib.request; urllib.request.urlopen(sys.argv[1], b'', 60)"
    process = subprocess.Popen(
        [sys.executable, "-c", post, f"{slack.url}chat.postMessage"], stderr=subprocess.DEVNULL
    )
    slack.wait_for_calls("chat.postMessage")
    return process


def test_a_kill_of_the_keeper_takes_the_emulator_with_it() -> None:
    lab = Lab(vms=(), slack=True)
    lab.up()
    processes = {_kind(process): process for process in lab_processes(lab.lab_id)}
    try:
        processes["keeper"].kill()
        if sys.platform == "linux":
            assert not psutil.wait_procs([processes["emulator"]], timeout=10)[1]
    finally:
        lab_id = lab.lab_id
        lab.down()
    assert lab_processes(lab_id) == []


def test_a_kill_while_it_starts(tmp_path: Path) -> None:
    root = tmp_path / "root"
    code = "import sys, pathlib, tests.lab; tests.lab.Lab((), pathlib.Path(sys.argv[1]), slack=True).up()"
    starter = subprocess.Popen([sys.executable, "-c", code, str(root)], cwd=CHECKOUT)
    try:
        lab_id, processes = _starting(root)
    finally:
        starter.kill()
        starter.wait()
    assert not psutil.wait_procs(processes, timeout=25)[1]
    assert lab_processes(lab_id) == []
    assert not root.exists()


def _starting(root: Path) -> tuple[str, list[psutil.Process]]:
    """The lab's id and processes, as soon as the emulator's is there."""
    for _ in range(1200):
        if (root / "slack" / "emulator.log").exists():
            lab_id = (root / "lab-id").read_text().strip()
            return lab_id, lab_processes(lab_id)
        time.sleep(0.02)
    raise TimeoutError("no emulator within 24 s")


def test_no_node_of_the_machine_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with Lab(vms=(), slack=True) as lab:
        assert lab.slack.client().auth_test()["ok"]
        (emulator,) = (one for one in lab_processes(lab.lab_id) if _kind(one) == "emulator")
        assert Path(emulator.exe()).resolve() == find_node().resolve()
        assert find_node().is_relative_to(CHECKOUT)


def test_a_missing_node_is_told(tmp_path: Path) -> None:
    with pytest.raises(BinaryMissingError, match="no Node for the Slack emulator here: run `make setup`"):
        find_node({}, tmp_path)
    with pytest.raises(BinaryMissingError, match="DX_TEST_NODE=/nowhere is not an executable file"):
        find_node({"DX_TEST_NODE": "/nowhere"}, tmp_path)


def test_a_lab_without_its_node_does_not_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DX_TEST_NODE", "/nowhere")
    with pytest.raises(BinaryMissingError, match="/nowhere"):
        Lab(vms=(), root=tmp_path / "root", slack=True).up()
    assert not (tmp_path / "root").exists()


def test_another_package_of_the_emulator_s_name_is_not_taken(tmp_path: Path) -> None:
    package = tmp_path / ".tools" / "slack" / "node_modules" / "emulate"
    package.mkdir(parents=True)
    (package / "package.json").write_text('{"version": "1.0.2"}')
    with pytest.raises(BinaryMissingError, match=f"emulate {pinned_emulator()}"):
        find_emulator(tmp_path)
    (package / "package.json").write_text(json.dumps({"version": pinned_emulator()}))
    assert find_emulator(tmp_path) == package / "dist" / "index.js"


def test_the_lock_file_names_the_pinned_version_and_no_registry() -> None:
    folder = CHECKOUT / "tests" / "lab" / "slack" / "npm"
    text = (folder / "package-lock.json").read_text()
    assert json.loads(text)["packages"]["node_modules/emulate"]["version"] == pinned_emulator() == "0.12.2"
    assert "resolved" not in text
    assert "://" not in text


def test_an_emulator_that_does_not_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "node"
    broken.write_text("#!/bin/sh\necho out of luck >&2\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setenv("DX_TEST_NODE", str(broken))
    with pytest.raises(LabError, match="out of luck"):
        Lab(vms=(), root=tmp_path / "root", slack=True).up()
    assert not (tmp_path / "root").exists()


def test_what_has_arrived_is_done_although_the_caller_went_away(slack: SlackWorkspace) -> None:
    emulator = _emulator_of(slack)
    emulator.suspend()
    try:
        with pytest.raises(TimeoutError):
            slack.client(timeout_s=1).chat_postMessage(channel=slack.channel, text="late")
    finally:
        emulator.resume()
    # By and by: each look is a turn of the emulator's.
    looks = (slack.threads() for _ in range(200))
    assert [thread.root.text for thread in next(filter(None, looks), ())] == ["late"]
    slack.clear()
    assert slack.threads() == []


def test_the_port_is_the_machine_s_own(workspace: SlackWorkspace) -> None:
    emulator = _emulator_of(workspace)
    addresses = {one.laddr.ip for one in emulator.net_connections() if one.status == psutil.CONN_LISTEN}
    assert addresses == {"127.0.0.1"}
    assert workspace.url.startswith("http://127.0.0.1:")


def _emulator_of(workspace: SlackWorkspace) -> psutil.Process:
    (emulator,) = (one for one in psutil.process_iter() if _is_emulator_of(workspace, one))
    return emulator


def _is_emulator_of(workspace: SlackWorkspace, process: psutil.Process) -> bool:
    try:
        command = process.cmdline()
        if str(find_emulator()) not in command:
            return False
        return workspace.bot_token in Path(command[-1]).read_text()
    except (psutil.Error, OSError):
        return False


@pytest.mark.slow
def test_by_hand(tmp_path: Path, standin: None) -> None:
    root = tmp_path / "lab"
    try:
        up = _by_hand(root, "up", "--slack")
        assert up.returncode == 0, up.stderr
        status = json.loads(_by_hand(root, "status", "--json").stdout)
        told = status["env"]
        for name in ("SLACK_BOT_TOKEN", "SLACK_AUDIT_CHANNEL", "DX_SLACK_API_URL"):
            assert f"export {name}={told[name]}" in up.stdout.splitlines()
        lab = Lab.attach(root)
        assert lab.slack.client().chat_postMessage(channel=lab.slack.channel, text="x")["ok"]
        assert told == lab.env
        assert (root / "state.json").stat().st_mode & 0o077 == 0
        assert (root / "slack" / "seed.json").stat().st_mode & 0o077 == 0
        processes = lab_processes(lab.lab_id)
        assert len(processes) == 5
    finally:
        down = _by_hand(root, "down")
    assert down.returncode == 0
    assert not psutil.wait_procs(processes, timeout=60)[1]
    assert not root.exists()


@pytest.mark.slow
def test_a_lab_by_hand_that_runs_without_slack(tmp_path: Path, standin: None) -> None:
    root = tmp_path / "lab"
    try:
        with Lab(("solo",), root=root):
            refused = _by_hand(root, "up", "--slack")
            assert (refused.returncode, refused.stdout) == (1, "")
            assert "runs without Slack; end it first" in refused.stderr
            assert "SLACK_BOT_TOKEN" not in _by_hand(root, "up").stdout
    finally:
        assert not root.exists()


def _by_hand(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.lab", *arguments, "--root", str(root)]
    return subprocess.run(
        command, cwd=CHECKOUT, env=os.environ, capture_output=True, text=True, timeout=120, check=False
    )
