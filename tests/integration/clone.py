# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The clone of affordabot on a VM and its remote, as git itself shows them."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.lab import LabVM

__all__ = ["Clone", "git"]


def git(directory: Path | str, *words: str) -> str:
    """The standard output of a call that succeeds."""
    done = subprocess.run(["git", "-C", str(directory), *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()


class Clone:
    """The clone of affordabot on a VM."""

    def __init__(self, vm: LabVM) -> None:
        self.path = vm.repo("affordabot")
        self._before = self._state()

    def worktrees(self) -> dict[str, Mapping[str, str]]:
        """Branch -> what git says of its worktree."""
        found = {}
        for block in git(self.path, "worktree", "list", "--porcelain").split("\n\n")[1:]:
            fields = dict(line.partition(" ")[::2] for line in block.splitlines())
            found[fields.get("branch", "").removeprefix("refs/heads/")] = fields
        return found

    def is_untouched(self) -> bool:
        """Whether the person's own checkout is as it was."""
        return self._state() == self._before

    def _state(self) -> tuple[str, str]:
        return git(self.path, "rev-parse", "HEAD"), git(self.path, "status", "--porcelain")

    def at_remote(self, branch: str) -> str:
        """The commit of a branch at the remote; empty where it has none."""
        return git(self.path, "ls-remote", "origin", f"refs/heads/{branch}").partition("\t")[0]
