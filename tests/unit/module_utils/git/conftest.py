# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A clone in a home of its own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.lab.sample_repos import git_environment

from .clone import Clone


@pytest.fixture(scope="session")
def original(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A clone that is only copied."""
    return Clone.make(tmp_path_factory.mktemp("clone") / "original")


@pytest.fixture
def clone(original: Clone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Clone:
    """A clone ``affordabot`` and its remote."""
    for name in [name for name in os.environ if name.startswith(("GIT_", "XDG_"))]:
        monkeypatch.delenv(name)
    made = original.copied(tmp_path)
    for name, value in git_environment(made.home).items():
        monkeypatch.setenv(name, value)
    return made
