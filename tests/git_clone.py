# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real clone of a real remote, and the module's work on it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.dx.fleet.plugins.module_utils import specs
from ansible_collections.dx.fleet.plugins.module_utils.git.commands import worktree

from tests.command import environment
from tests.lab import sample_repos

__all__ = ["PROGRAM", "Clone", "clone", "original"]

PROGRAM = """
import json, sys
from ansible_collections.dx.fleet.plugins.module_utils.git.commands import worktree
from ansible_collections.dx.fleet.plugins.module_utils.git.errors import GitError
options = json.loads(sys.argv[1])
try:
    print(json.dumps(worktree(options, False)))
except GitError as error:
    print(json.dumps(error.as_result()))
"""


@dataclass(frozen=True)
class Clone:
    """``home`` has the clone ``affordabot`` of ``remote``."""

    home: Path
    remote: Path

    @classmethod
    def make(cls, folder: Path) -> Clone:
        """Make both, in a folder that is not there yet."""
        home = folder / "home"
        home.mkdir(parents=True)
        remotes = sample_repos.make_remotes(folder)
        sample_repos.clone(remotes, home, "epyc6")
        return cls(home, remotes["affordabot"])

    def copied(self, folder: Path) -> Clone:
        """Both once more, as if they had been made in another folder."""
        shutil.copytree(self.home.parent, folder, dirs_exist_ok=True)
        copy = Clone(folder / "home", folder / self.remote.name)
        config = copy.path / ".git" / "config"
        config.write_text(config.read_text().replace(str(self.remote), str(copy.remote)))
        return copy

    @property
    def path(self) -> Path:
        return self.home / "affordabot"

    @property
    def root(self) -> Path:
        return self.home / ".local" / "share" / "dx-fleet" / "worktrees"

    def options(self, branch: str | None = "dx/a", **options: Any) -> dict[str, Any]:
        """The module's options with all defaults."""
        defaults = {name: option.get("default") for name, option in specs.GIT_WORKTREE.items()}
        return {**defaults, "repo": str(self.path), "branch": branch, **options}

    def do(self, branch: str | None = "dx/a", *, check: bool = False, **options: Any) -> dict[str, Any]:
        """Run it here."""
        result: dict[str, Any] = json.loads(json.dumps(worktree(self.options(branch, **options), check)))
        return result

    def start(
        self, program: str = PROGRAM, env: dict[str, str] | None = None, **options: Any
    ) -> subprocess.Popen[str]:
        """Run it in a process of its own, which prints its result or its failure."""
        return subprocess.Popen(
            [sys.executable, "-c", program, json.dumps(self.options(**options))],
            env=environment(env or {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def git(self, *words: str, at: Path | str | None = None, stdin: str | None = None) -> str:
        """A git of the person whose clone it is."""
        done = subprocess.run(
            ["git", *words], cwd=at or self.path, capture_output=True, text=True, check=False, input=stdin
        )
        assert done.returncode == 0, (words, done.stderr)
        return done.stdout.strip()

    def refs(self, pattern: str = "refs") -> dict[str, str]:
        """Ref -> commit."""
        lines = self.git("for-each-ref", "--format=%(refname) %(objectname)", pattern).splitlines()
        return dict(line.split(" ", 1) for line in lines)

    def registered(self) -> list[str]:
        """The paths of all linked worktrees."""
        lines = self.git("worktree", "list", "--porcelain").splitlines()
        return [line.split(" ", 1)[1] for line in lines if line.startswith("worktree ")][1:]

    def commit(self, at: Path | str, name: str = "new.txt", text: str = "new\n") -> str:
        """Commit a file there, and return the commit."""
        Path(at, name).write_text(text)
        self.git("add", "--all", at=at)
        self.git("commit", "--quiet", "--message", f"Add {name}", at=at)
        return self.git("rev-parse", "HEAD", at=at)

    def kept_blob(self, data: bytes) -> bool:
        """Whether some ref leads to a file of just these bytes."""
        found = subprocess.run(
            ["git", "hash-object", "--no-filters", "--stdin"],
            cwd=self.path,
            input=data,
            capture_output=True,
            check=True,
        )
        return found.stdout.decode().strip() in self.git("rev-list", "--objects", "--all").split()

    def kept_commit(self, commit: str) -> bool:
        """Whether some ref leads to a commit; not only a HEAD."""
        return commit in self.git("rev-list", "--glob=refs/*").split()

    def check(self) -> None:
        """Everything that refs lead to is there."""
        self.git("fsck", "--connectivity-only", "--no-dangling")


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
    for name, value in sample_repos.git_environment(made.home).items():
        monkeypatch.setenv(name, value)
    return made
