# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`bd` for the contract tests: the stand-in, and a real one where ``DX_TEST_BD`` or PATH has it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from ansible_collections.dx.fleet.plugins.module_utils.beads.bd import Bd
from ansible_collections.dx.fleet.plugins.module_utils.beads.claims import Claims

STANDIN = Path(__file__).parents[1] / "lab" / "standin_bd.py"
REAL = os.environ.get("DX_TEST_BD") or shutil.which("bd")


@dataclass(frozen=True)
class Workspace:
    """A fresh workspace, and how to work in it."""

    executable: str
    folder: Path

    @property
    def bd(self) -> Bd:
        return Bd(self.executable, str(self.folder))

    @property
    def claims(self) -> Claims:
        return Claims(self.bd, str(self.folder / ".beads"))

    def create(self, title: str = "Fix linting", description: str = "") -> str:
        """The id of a new bead."""
        call = self.bd.run(["create", title, f"--description={description}", "--json"])
        return str(json.loads(call.out)["id"])


@pytest.fixture(params=["standin", "real"])
def make_workspace(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[], Workspace]:
    """Makes workspaces with the stand-in, and with a real `bd` where there is one."""
    if request.param == "real" and REAL is None:
        pytest.skip("there is no real bd on PATH, and DX_TEST_BD names none")
    executable = str(STANDIN) if request.param == "standin" else str(REAL)

    def make() -> Workspace:
        folder = tmp_path_factory.mktemp("tracker")
        subprocess.run(["git", "init", "-q", str(folder)], check=True)
        words = ["init", "-q", "--non-interactive", "--prefix", "aff", "--skip-hooks", "--skip-agents"]
        subprocess.run(
            [executable, *words], cwd=folder, check=True, stdin=subprocess.DEVNULL, capture_output=True
        )
        return Workspace(executable, folder)

    return make


@pytest.fixture
def workspace(make_workspace: Callable[[], Workspace]) -> Workspace:
    return make_workspace()
