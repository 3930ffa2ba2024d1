# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sample repositories do what a real project's do."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.lab.sample_repos import REPOS, clone, git_environment, make_remotes


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with clones of all sample repositories."""
    directory = tmp_path_factory.mktemp("repos")
    made = directory / "home"
    made.mkdir()
    (directory / "remotes").mkdir()
    clone(make_remotes(directory / "remotes"), made, "somebody")
    return made


@pytest.mark.parametrize("repo", list(REPOS))
def test_make_test_runs_tests(home: Path, repo: str) -> None:
    done = _run(home / repo, "make", "test")
    assert done.returncode == 0, done.stderr
    assert "Ran 3 tests" in done.stderr
    assert _run(home / repo, "git", "status", "--porcelain").stdout == ""


@pytest.mark.parametrize("how", ["variable", "file"])
def test_a_test_can_be_made_to_fail(home: Path, how: str) -> None:
    repo = home / "affordabot"
    if how == "file":
        (repo / "BREAK").touch()
        done = _run(repo, "make", "test")
        (repo / "BREAK").unlink()
    else:
        done = _run(repo, "make", "test", "BREAK=1")
    assert done.returncode == 2
    assert "FAILED (failures=1)" in done.stderr


def test_make_lint(home: Path) -> None:
    done = _run(home / "affordabot", "make", "lint")
    assert (done.returncode, done.stdout) == (0, "lint passed\n")


def test_the_first_commit_is_the_same_in_every_lab(tmp_path: Path, home: Path) -> None:
    other = make_remotes(tmp_path)["affordabot"]
    assert _head(other) == _head(home / "affordabot")


def test_the_identity_is_the_vm_s(home: Path) -> None:
    repo = home / "affordabot"
    assert _run(repo, "git", "config", "user.email").stdout == "somebody@example.invalid\n"


def _head(repo: Path) -> str:
    return _run(repo, "git", "rev-parse", "HEAD").stdout


def _run(directory: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = git_environment(directory.parent)
    return subprocess.run(
        command, cwd=directory, env=environment, capture_output=True, text=True, check=False
    )
