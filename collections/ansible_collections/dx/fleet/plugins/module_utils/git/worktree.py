# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The worktree of one branch: which one is wanted, what is there, and who holds it.

Everything is done under one lock per repository, and read back: git's exit codes are hints (eight adds of one
path: two said 0; an add whose hook fails says 7, and the worktree is there).

Where an add died, the ref ``refs/dx-fleet/base/BRANCH`` shows that the branch is ours and where it began.
Where a removal died, the reason of the worktree's lock shows it.
"""

from __future__ import annotations

import os
import time
import typing as t
from contextlib import suppress
from dataclasses import dataclass, field

from . import names
from .command import command_line, shown
from .errors import Refused
from .repository import INITIALIZING, Repository, Worktree

__all__ = ["BASES", "HELD_BY", "REMOVING", "Result", "Wanted", "Work", "as_seen", "holder_of", "is_removing"]

BASES = "refs/dx-fleet/base"
HELD_BY = "dx-fleet dispatch "
REMOVING = "dx-fleet removing "


@dataclass(frozen=True)
class Wanted:
    """Which worktree is wanted, as of the options of ``git_worktree``."""

    repo: str
    branch: str | None = None
    path: str | None = None
    base: str | None = None
    remote: str | None = None
    root: str | None = None
    dispatch: str | None = None
    ended: tuple[str, ...] = ()
    locked: bool = True
    fetch: bool = True
    submodules: bool = False
    delete_branch: bool = False
    commit: str | None = None
    rescue_limit: int = 512 << 20
    fetch_timeout_s: float = 120.0
    lock_timeout_s: float = 300.0
    timeout_s: float = 600.0

    @property
    def lock_reason(self) -> str | None:
        """Why the worktree is to be locked; None: it is not."""
        return HELD_BY + self.dispatch if self.dispatch and self.locked else None


@dataclass(frozen=True)
class Result:
    """What became of it; ``None`` is not known, or there is none.

    ``before`` and ``after`` are the worktree as a person sees it in a diff. ``repaired`` says what an earlier
    run had left behind, ``rescue_refs`` name what a removal kept.
    """

    changed: bool
    path: str
    branch: str | None = None
    base: str | None = None
    head: str | None = None
    pushed: bool | None = None
    rescue_refs: tuple[str, ...] = ()
    repaired: tuple[str, ...] = ()
    empty_submodules: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    before: t.Mapping[str, t.Any] = field(default_factory=dict)
    after: t.Mapping[str, t.Any] = field(default_factory=dict)


class Work:
    """One run: the repository, the names, and what was repaired and kept on the way.

    Attributes:
        branch: The wanted branch; None: whichever is at ``path``.
        path: The worktree's directory, links resolved.
    """

    def __init__(self, wanted: Wanted, repository: Repository, branch: str | None, path: str) -> None:
        self.wanted = wanted
        self.repository = repository
        self.git = repository.git
        self.branch = branch
        self.path = path
        self.repaired: list[str] = []
        self.rescued: list[str] = []
        self.notes: list[str] = []

    @classmethod
    def begin(cls, wanted: Wanted) -> Work:
        """Look at the repository and the names.

        Raises:
            GitError: Nothing can be done there, or under these names.
        """
        repository = Repository.open(os.path.abspath(os.path.expanduser(wanted.repo)), wanted.timeout_s)
        root = os.path.realpath(os.path.expanduser(wanted.root or names.default_root(os.environ)))
        branch = None if wanted.branch is None else names.branch_name(repository.git, wanted.branch)
        if wanted.path is not None:
            path = os.path.join(root, os.path.expanduser(wanted.path))
        elif branch is not None:
            path = names.worktree_path(root, repository.common_dir, branch)
        else:
            raise Refused("neither a branch nor a path is named", "name the branch", "worktree_unnamed")
        path = os.path.realpath(path)
        names.check_place(path, root, repository.main_path(), repository.common_dir)
        return cls(wanted, repository, branch, path)

    def broken(self, tree: Worktree) -> str | None:
        """What is wrong with a worktree; None: nothing."""
        if tree.locked == INITIALIZING:
            return "half made"
        if is_removing(tree):
            return "half removed"
        if not os.path.isdir(tree.path):
            return "without its folder"
        if not os.path.lexists(os.path.join(tree.path, ".git")):
            return "without its .git file"
        return None

    def may_have(self, tree: Worktree) -> bool:
        """Whether nobody else holds a worktree."""
        return tree.locked is None or holder_of(tree) in {
            *filter(None, [self.wanted.dispatch]),
            *self.wanted.ended,
        }

    def check_holder(self, tree: Worktree) -> None:
        """Refuse a worktree that another dispatch, or a person, has locked.

        Raises:
            Refused: One has.
        """
        if self.may_have(tree):
            return
        dispatch = holder_of(tree)
        who = (
            f"dispatch {shown(dispatch)}"
            if dispatch
            else f"a person ({shown(tree.locked or '') or 'no reason given'})"
        )
        unlock = command_line("git", "-C", self.git.directory, "worktree", "unlock", tree.path)
        raise Refused(
            f"the worktree {shown(tree.path)} is locked by {who}",
            f"wait for it; or, if that has ended: {unlock}",
            "worktree_locked",
        )

    def note_index_lock(self, tree: Worktree) -> None:
        """Note a lock file because of which commits there fail. It may be a living git's: it stays."""
        admin = self.repository.admin_dir(tree)
        path = os.path.join(admin or "", "index.lock")
        with suppress(OSError):
            age_s = max(0.0, time.time() - os.stat(path).st_mtime)
            self.notes.append(f"there is a lock file of git, {age_s:.0f} s old: {shown(path)}")

    def empty_submodules(self, tree: Worktree) -> tuple[str, ...]:
        """The submodules that are not checked out."""
        listed = self.git.call("ls-tree", "-r", "-z", "--full-tree", tree.head or "HEAD").out.split("\0")
        paths = [entry.split("\t", 1)[1] for entry in listed if entry.startswith("160000 ")]
        return tuple(
            shown(path) for path in paths if not os.path.lexists(os.path.join(tree.path, path, ".git"))
        )

    def described(self, tree: Worktree) -> Result:
        """The facts of a worktree."""
        return Result(
            changed=False,
            path=tree.path,
            branch=tree.branch,
            base=self._base(tree),
            head=tree.head,
            pushed=None if tree.head is None else self.repository.on_remote(tree.head),
            rescue_refs=tuple(self.rescued),
            repaired=tuple(self.repaired),
            empty_submodules=self.empty_submodules(tree),
            notes=tuple(self.notes),
        )

    def _base(self, tree: Worktree) -> str | None:
        """The commit that the branch began at; of a branch that was there before, where it left the base."""
        repository = self.repository
        if self.branch and (own := repository.resolve(f"{BASES}/{self.branch}")):
            return own
        other = self.wanted.base or f"refs/remotes/{self.wanted.remote or 'origin'}/HEAD"
        commit = repository.resolve(other)
        return repository.merge_base(tree.head, commit) if tree.head and commit else None


def is_removing(tree: Worktree) -> bool:
    """Whether a removal of ours has begun."""
    return tree.locked is not None and tree.locked.startswith(REMOVING.rstrip())


def holder_of(tree: Worktree) -> str | None:
    """The dispatch that holds a worktree."""
    locked = tree.locked or ""
    return locked[len(HELD_BY) :] if locked.startswith(HELD_BY) else None


def as_seen(tree: Worktree | None) -> dict[str, t.Any]:
    """A worktree for a diff."""
    if tree is None:
        return {}
    locked = None if tree.locked is None else shown(tree.locked)
    return {"path": shown(tree.path), "branch": tree.branch, "head": tree.head, "locked": locked}
