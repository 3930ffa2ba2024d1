# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A signal lets go of a dispatch in each step around its task; the last line takes it up again."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.command import words_of
from tests.lab import Lab
from tests.wait import wait_for

from .fleet import Fleet, fresh_id

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
pytestmark = pytest.mark.usefixtures("idle_afterwards")


@pytest.fixture
def slow_remote(lab: Lab, tmp_path: Path) -> Iterator[Path]:
    """The remote of the clone answers only once this folder has a file C(go)."""
    script = tmp_path / "upload-pack"
    wait = f"touch {tmp_path}/began; until [ -e {tmp_path}/go ]; do sleep 0.1; done"
    script.write_text(f'#!/bin/sh\n{wait}\nexec git-upload-pack "$@"\n')
    script.chmod(0o755)
    git = ["git", "-C", str(lab.vms["epyc6"].repo("affordabot")), "config"]
    subprocess.run([*git, "remote.origin.uploadpack", str(script)], check=True)
    yield tmp_path
    (tmp_path / "go").touch()
    subprocess.run([*git, "--unset", "remote.origin.uploadpack"], check=True)


@pytest.mark.parametrize("number", SIGNALS, ids=[number.name for number in SIGNALS])
def test_while_its_work_is_verified(lab: Lab, fleet: Fleet, tmp_path: Path, number: signal.Signals) -> None:
    mark = fresh_id()
    check = f"touch {tmp_path}/began; until [ -e {tmp_path}/go ]; do sleep 0.1; done; make test"
    task = f"@bash echo {mark} >> README.md && git commit -qam more\n@say {mark}"
    running = fleet.start("epyc6", "affordabot", task, "--branch", f"fix/{mark}", "--verify", check)
    wait_for((tmp_path / "began").exists, 90)
    running.interrupt(number=number)
    detached = running.finish()
    assert detached.code == 130, detached
    assert "Traceback" not in detached.err
    (tmp_path / "go").touch()
    program, *words = words_of(detached.out.rstrip("\n").splitlines()[-1])
    assert program == "dx-dispatch"
    joined = fleet.dispatch(*words)
    assert (joined.code, joined.result()["state"]) == (0, "verified"), joined
    assert len(fleet["epyc6"].prompts(joined.result()["session"])) == 1


@pytest.mark.parametrize("number", SIGNALS, ids=[number.name for number in SIGNALS])
def test_while_its_worktree_is_made(
    lab: Lab, fleet: Fleet, slow_remote: Path, number: signal.Signals
) -> None:
    mark = fresh_id()
    running = fleet.start("epyc6", "affordabot", f"@say {mark}", "--branch", f"fix/{mark}")
    wait_for((slow_remote / "began").exists, 90)
    running.interrupt(number=number)
    detached = running.finish()
    assert detached.code == 130, detached
    assert "Traceback" not in detached.err
    (slow_remote / "go").touch()
    program, *words = words_of(detached.out.rstrip("\n").splitlines()[-1])
    assert program == "dx-dispatch"
    joined = fleet.dispatch(*words)
    assert joined.result()["state"] == "completed", joined
    assert fleet["epyc6"].prompts(joined.result()["session"]) == [[f"@say {mark}"]]
