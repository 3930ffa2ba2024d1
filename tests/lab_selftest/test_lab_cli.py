# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``python -m tests.lab``: the lab by hand."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import httpx
import psutil
import pytest

from tests.lab.binaries import CHECKOUT
from tests.lab.processes import lab_processes

pytestmark = pytest.mark.slow


def run(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.lab", *arguments, "--root", str(root)]
    return subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=300, check=False)


def test_up_status_down(tmp_path: Path, standin: None) -> None:
    root = tmp_path / "lab"
    try:
        up = run(root, "up")
        assert up.returncode == 0, up.stderr
        assert f"export DX_VM_ENDPOINTS={root}/vm-endpoints.json" in up.stdout.splitlines()
        again = run(root, "up")
        assert again.stdout == up.stdout
        status = json.loads(run(root, "status", "--json").stdout)
        assert status["up"]
        assert list(status["vms"]) == ["homedesktop", "macmini", "epyc6"]
        for vm in status["vms"].values():
            assert httpx.get(f"{vm['url']}/global/health").status_code == 200
        lab_id = (root / "lab-id").read_text().strip()
        everything = lab_processes(lab_id)
        assert len(everything) == 4
    finally:
        down = run(root, "down")
    assert (down.returncode, down.stdout) == (0, "the lab is down\n")
    assert not psutil.wait_procs(everything, timeout=60)[1]
    assert lab_processes(lab_id) == []
    assert not root.exists()


def test_what_a_lost_keeper_leaves_is_cleared_away(tmp_path: Path, standin: None) -> None:
    root = tmp_path / "lab"
    assert run(root, "up").returncode == 0
    lab_id = (root / "lab-id").read_text().strip()
    everything = lab_processes(lab_id)
    state = json.loads((root / "state.json").read_text())
    psutil.Process(state["pid"]).kill()
    psutil.wait_procs(everything, timeout=60)
    assert run(root, "status").returncode == 1
    assert run(root, "down").returncode == 0
    assert lab_processes(lab_id) == []
    assert not root.exists()


def test_status_and_down_without_a_lab(tmp_path: Path) -> None:
    status = run(tmp_path / "lab", "status")
    assert status.returncode == 1
    assert "no lab runs in" in status.stdout
    assert json.loads(run(tmp_path / "lab", "status", "--json").stdout) == {"up": False}
    assert run(tmp_path / "lab", "down").returncode == 0


def test_a_missing_opencode_is_one_line(tmp_path: Path) -> None:
    environment = os.environ | {"DX_TEST_OPENCODE": "/nowhere/opencode"}
    command = [sys.executable, "-m", "tests.lab", "up", "--root", str(tmp_path / "lab")]
    done = subprocess.run(command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: DX_TEST_OPENCODE=/nowhere/opencode is not an executable file\n"


def test_a_directory_that_never_was_a_lab_is_not_removed(tmp_path: Path) -> None:
    (tmp_path / "precious").touch()
    assert run(tmp_path, "down").returncode == 0
    assert run(tmp_path, "up").returncode == 1
    assert (tmp_path / "precious").exists()
