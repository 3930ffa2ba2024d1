# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A kept command is the same whether its process was there before it or not, and each runs once."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.launch import kept_command, spare_command
from ansible_collections.dx.fleet.plugins.plugin_utils.launch.kept_command import KeptCommands
from ansible_collections.dx.fleet.plugins.plugin_utils.launch.spare_command import SpareCommand

from tests.command import COLLECTIONS
from tests.wait import wait_for

LIST = ("dx-fleet", "list", "--json")


@pytest.fixture
def inventory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "fleet.yml"
    path.write_text("plugin: dx.fleet.vm_endpoints\n")
    (tmp_path / "vm-endpoints.json").write_text('{"vms": {"epyc6": {"opencode": "http://127.0.0.1:1"}}}')
    monkeypatch.setenv("DX_VM_ENDPOINTS", str(tmp_path / "vm-endpoints.json"))
    monkeypatch.setenv("PYTHONPATH", str(COLLECTIONS))
    return path


def begun(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What was begun beside the spare processes."""
    lines: list[list[str]] = []
    popen = subprocess.Popen

    def noted(words: list[str], **options: object) -> object:
        if "spare_main" not in words[2]:
            lines.append(words[3:])
        return popen(words, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(kept_command.subprocess, "Popen", noted)
    return lines


def spare_of(commands: KeptCommands) -> SpareCommand:
    assert commands._spare is not None
    return commands._spare


async def run_and_keep(commands: KeptCommands, words: Sequence[str], **options: Any) -> Any:
    """The document, when another spare process is there."""
    document = await commands.run("k", words, **options)
    await asyncio.to_thread(wait_for, lambda: commands._spare is not None)
    return document


def is_over(process: subprocess.Popen[bytes]) -> Callable[[], bool]:
    return lambda: process.poll() is not None


@pytest.mark.parametrize("spare", ["none", "there", "dead"])
def test_the_document_is_the_same_and_another_spare_follows(
    inventory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spare: str
) -> None:
    lines = begun(monkeypatch)
    commands = KeptCommands(tmp_path / "commands", inventory, spare=spare != "none")
    first = None if spare == "none" else spare_of(commands)
    if first is not None and spare == "dead":
        first._process.kill()
        first._process.wait()
    run = commands.run("k", LIST) if spare == "none" else run_and_keep(commands, LIST)
    document = asyncio.run(run)
    assert (document["exit_code"], [vm["vm"] for vm in document["vms"]]) == (0, ["epyc6"])
    assert len(lines) == (0 if spare == "there" else 1)
    if first is not None:
        again = spare_of(commands)
        assert again is not first
        again._socket.close()
        wait_for(is_over(again._process))
    assert asyncio.run(commands.run("k", LIST)) == document  # its file is read
    assert len(lines) == (0 if spare == "there" else 1)


def test_a_spare_reads_what_is_written_for_it_and_prints_where_it_is_to(
    inventory: Path, tmp_path: Path
) -> None:
    commands = KeptCommands(tmp_path / "commands", inventory, spare=True)
    words = ("dx-dispatch", "--json", "--", "epyc6", "affordabot", "-")
    document = asyncio.run(run_and_keep(commands, words, stdin="Run make test\n@say {{ x }}"))
    assert document["results"][0]["reason_code"] == "connection_refused", document
    assert "affordabot '@say" not in str(document)
    spare_of(commands)._socket.close()


@pytest.mark.parametrize("changed", ["configuration", "code"])
def test_a_spare_that_has_read_what_was_changed_since_runs_nothing(
    inventory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: str
) -> None:
    lines = begun(monkeypatch)
    file = tmp_path / changed
    monkeypatch.setenv("ANSIBLE_CONFIG", str(file if changed == "configuration" else "/nowhere"))
    if changed == "code":
        monkeypatch.setattr(spare_command, "__file__", str(file))
    file.write_text("")
    commands = KeptCommands(tmp_path / "commands", inventory, spare=True)
    spare = spare_of(commands)
    file.unlink()
    file.write_text("")
    assert asyncio.run(run_and_keep(commands, LIST))["exit_code"] == 0
    assert len(lines) == 1
    assert spare._process.returncode is not None
    spare_of(commands)._socket.close()


def test_words_that_nobody_reads_hold_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spare_command, "GIVE_S", 0.2)
    spare = SpareCommand()
    spare._process.send_signal(signal.SIGSTOP)
    given: list[object] = []
    words = ["stop", "--reason=" + "x" * (4 << 20), "epyc6"]
    giving = threading.Thread(
        target=lambda: given.append(spare.give("dx-fleet", words, (0, 1, 2), ())), daemon=True
    )
    giving.start()
    giving.join(20)
    assert given == [None]
    assert spare._process.returncode == -signal.SIGKILL


def test_a_command_that_no_spare_can_follow_has_its_document(
    inventory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def none() -> SpareCommand:
        raise BlockingIOError("Resource temporarily unavailable")

    monkeypatch.setattr(kept_command, "SpareCommand", none)
    commands = KeptCommands(tmp_path / "commands", inventory, spare=True)
    assert asyncio.run(commands.run("k", LIST))["exit_code"] == 0
    assert "no process is kept ready" in caplog.text


@pytest.mark.parametrize("sent", [b"", b"\0", b'\0["dx-fleet", "li'], ids=["nothing", "no words", "half"])
def test_what_was_cut_off_by_the_death_of_the_giver_is_not_run(
    inventory: Path, tmp_path: Path, sent: bytes
) -> None:
    out = os.open(tmp_path / "out", os.O_RDWR | os.O_CREAT)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        process = subprocess.Popen(
            [sys.executable, "-c", spare_command._ENTRY, str(theirs.fileno())], pass_fds=(theirs.fileno(),)
        )
        theirs.close()
        if sent:
            socket.send_fds(ours, [sent[:1]], [out, out, out])
            ours.sendall(sent[1:])
    os.close(out)
    assert process.wait(60) == 0
    assert (tmp_path / "out").read_bytes() == b""


def test_a_spare_ends_with_whoever_keeps_it(inventory: Path) -> None:
    keeper = (
        "import time\n"
        "from ansible_collections.dx.fleet.plugins.plugin_utils.launch.spare_command import SpareCommand\n"
        "print(SpareCommand()._process.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    kept = subprocess.Popen([sys.executable, "-c", keeper], stdout=subprocess.PIPE, text=True)
    assert kept.stdout is not None
    pid = int(kept.stdout.readline())
    kept.send_signal(signal.SIGKILL)
    kept.wait()
    wait_for(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
