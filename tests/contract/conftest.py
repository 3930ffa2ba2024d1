# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`bd` for the contract tests: the stand-in, and a real one where ``DX_TEST_BD`` or PATH has it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab.tracker import STANDIN, Tracker, real_bd

from .workspace import Workspace


@pytest.fixture(scope="module")
def standin(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """One of the stand-in, for what can be had of it alone. All tests of a file work in it, each on its own beads."""
    return Workspace(Tracker.make(tmp_path_factory.mktemp("standin") / "tracker", str(STANDIN)))


@pytest.fixture(scope="module", params=["standin", "real"])
def workspace(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """One of the stand-in, and one of a real `bd` where there is one; shared as ``standin`` is."""
    return _workspace_of(request.param, tmp_path_factory.mktemp("workspace"))


@pytest.fixture(params=["standin", "real"])
def empty_workspace(request: pytest.FixtureRequest, tmp_path: Path) -> Workspace:
    """One for a test that lists all beads, or that may leave the store broken."""
    return _workspace_of(request.param, tmp_path)


def _workspace_of(kind: str, folder: Path) -> Workspace:
    executable = str(STANDIN) if kind == "standin" else real_bd()
    if executable is None:
        pytest.skip("there is no real bd on PATH, and DX_TEST_BD names none")
    return Workspace(Tracker.make(folder / "tracker", executable))
