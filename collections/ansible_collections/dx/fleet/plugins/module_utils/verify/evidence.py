# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the work did to its worktree: read from git, asked of the remote, never taken from the agent."""

from __future__ import annotations

import os
import typing as t
from dataclasses import dataclass

from ..git import remote
from ..git.command import Git, shown
from ..git.errors import EffectUnknown, Refused
from ..git.repository import Repository
from ..git.unsaved import OwnIndex
from ..git.worktree import BASES

__all__ = ["Evidence", "Tree"]

_MAX = 200  # names that are listed of each kind


@dataclass(frozen=True)
class Evidence:
    """What the work changed; None is not known.

    Attributes:
        head_before, head: The commit that the work began at, and the one it came to.
        branch: The branch; None: HEAD is detached.
        commits: The commits from one to the other, the newest first: ``{"commit", "subject"}``.
        commit_count: How many they are.
        rewritten: Whether ``head`` does not contain ``head_before``.
        pushed: Whether the remote's branch of that name has ``head``, as the remote says.
        dirty_files: Tracked files with changes that are in no commit.
        untracked_files: Files that git neither has nor ignores.
        diffstat: ``{"files", "insertions", "deletions"}`` of the commits.
        changed: Every path that differs from ``head_before``, committed or not.
    """

    head_before: str | None
    head: str | None
    branch: str | None
    commits: tuple[t.Mapping[str, str], ...]
    commit_count: int
    rewritten: bool | None
    pushed: bool | None
    dirty_files: tuple[str, ...]
    untracked_files: tuple[str, ...]
    diffstat: t.Mapping[str, int] | None
    changed: tuple[str, ...]


class Tree:
    """A worktree (or the main checkout) that was worked in.

    Args:
        path: Its directory, or one in it.
        remote_timeout_s: How long the remote may take to answer.

    Raises:
        GitError: It is none that can be looked at.
    """

    def __init__(self, path: str, remote_timeout_s: float) -> None:
        self.repository = Repository.open(path)
        self.git: Git = self.repository.git
        found = self.git.out(
            "rev-parse", "--path-format=absolute", "--show-toplevel", "--git-dir"
        ).splitlines()
        self.path, self.admin = os.path.realpath(found[0]), found[1]
        self.git = self.repository.git.at(self.admin, self.path)
        self._remote_timeout_s = remote_timeout_s

    def head(self) -> str | None:
        """The commit that is checked out."""
        call = self.git.call("rev-parse", "--verify", "--quiet", "HEAD^{commit}")
        return call.out.strip() if call.ok else None

    def branch(self) -> str | None:
        """The branch that is checked out."""
        call = self.git.call("symbolic-ref", "--quiet", "--short", "HEAD")
        return call.out.strip() if call.ok else None

    def status(self) -> tuple[list[str], list[str]]:
        """Tracked files that differ from HEAD, and untracked ones, which git does not ignore."""
        words = (
            "status",
            "--porcelain",
            "-z",
            "--no-renames",
            "--untracked-files=all",
            "--ignore-submodules=none",
        )
        if self._hides():
            with OwnIndex(self.git, self.head()) as env:
                out = self.git.out(*words, env=env)
        else:
            out = self.git.out(*words)
        records = list(filter(None, out.split("\0")))
        return (
            [record[3:] for record in records if record[:2] != "??"],
            [record[3:] for record in records if record[:2] == "??"],
        )

    def evidence(self, base: str | None, branch: str | None, ask_remote: bool) -> Evidence:
        """What was done since a commit.

        Args:
            base: The commit that the work began at; None: as ``git_worktree`` has noted it.
            branch: The branch that was to be worked on; None: the one that is checked out.
            ask_remote: Whether to ask the remote for what was pushed.
        """
        head, own = self.head(), self.branch()
        base = self.repository.resolve(base or f"{BASES}/{own}")
        dirty, untracked = self.status()
        commits = self._commits(base, head)
        diff = self._diff(base, head) if base and head else {}
        pushed = self._pushed(branch or own, head) if ask_remote else None
        return Evidence(
            head_before=base,
            head=head,
            branch=own,
            commits=tuple(commits[:_MAX]),
            commit_count=len(commits),
            rewritten=None if base is None or head is None else not self.repository.is_ancestor(base, head),
            pushed=pushed,
            dirty_files=tuple(map(shown, dirty[:_MAX])),
            untracked_files=tuple(map(shown, untracked[:_MAX])),
            diffstat=_stat(diff) if base and head else None,
            changed=tuple(sorted({*diff, *dirty, *untracked})),
        )

    def text(self, commit: str | None, path: str) -> str | None:
        """A file's text in a commit; without one, in the worktree."""
        if commit is not None:
            call = self.git.call("cat-file", "blob", f"{commit}:{path}")
            return call.out if call.ok else None
        full = os.path.join(self.path, path)
        if not os.path.isfile(full):
            return None
        with open(full, encoding="utf-8", errors="replace") as file:
            return file.read(1 << 20)

    def had(self, commit: str | None, path: str) -> bool:
        """Whether a commit has a file."""
        return commit is not None and self.git.ok("cat-file", "-e", f"{commit}:{path}")

    def _hides(self) -> bool:
        """Whether a flag in the index may hide a change from `git status`."""
        listed = self.git.call("ls-files", "-v", "-z")
        return not listed.ok or any(
            entry[:1].islower() or entry[:1] == "S" for entry in listed.out.split("\0")
        )

    def _commits(self, base: str | None, head: str | None) -> list[dict[str, str]]:
        if base is None or head is None:
            return []
        out = self.git.out("log", "-z", "--format=%H%x09%s", f"{base}..{head}")
        return [
            {"commit": commit, "subject": shown(subject)[:200]}
            for commit, _, subject in (record.partition("\t") for record in out.split("\0") if record)
        ]

    def _diff(self, base: str, head: str) -> dict[str, tuple[int, int]]:
        """Path -> lines added and removed between two commits; a binary file has none."""
        words = ("diff-tree", "-r", "-z", "--numstat", "--no-renames", "--no-ext-diff", "--no-textconv")
        records = [record.split("\t", 2) for record in self.git.out(*words, base, head).split("\0") if record]
        return {path: (_number(added), _number(removed)) for added, removed, path in records}

    def _pushed(self, branch: str | None, head: str | None) -> bool | None:
        """As the remote says: what the clone has noted of it can be written by anyone."""
        try:
            where = remote.pick(self.repository, None)
            if where is None or branch is None or head is None:
                return False
            return remote.contains(self.repository, where, branch, head, self._remote_timeout_s)
        except (EffectUnknown, Refused):
            return None


def _stat(diff: t.Mapping[str, tuple[int, int]]) -> dict[str, int]:
    return {
        "files": len(diff),
        "insertions": sum(added for added, _ in diff.values()),
        "deletions": sum(removed for _, removed in diff.values()),
    }


def _number(text: str) -> int:
    return int(text) if text.isdigit() else 0
