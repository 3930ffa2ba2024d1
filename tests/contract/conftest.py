# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`bd` for the contract tests: the stand-in, and a real one where ``DX_TEST_BD`` or PATH has it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab.tracker import STANDIN, Tracker, real_bd

from .workspace import Workspace


@pytest.fixture
def standin(tmp_path: Path) -> Workspace:
    """One of the stand-in, for what can be had of it alone."""
    return Workspace(Tracker.make(tmp_path / "tracker", str(STANDIN)))


@pytest.fixture(params=["standin", "real"])
def workspace(request: pytest.FixtureRequest, tmp_path: Path) -> Workspace:
    """One of the stand-in, and one of a real `bd` where there is one."""
    if request.param == "real" and real_bd() is None:
        pytest.skip("there is no real bd on PATH, and DX_TEST_BD names none")
    executable = str(STANDIN) if request.param == "standin" else real_bd()
    return Workspace(Tracker.make(tmp_path / "tracker", executable))
