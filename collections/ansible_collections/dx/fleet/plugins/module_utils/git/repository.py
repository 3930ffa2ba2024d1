# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One clone: what it is, what git has registered in it, and our lock of it."""

from __future__ import annotations

import os
import pwd
import re
import typing as t
from contextlib import contextmanager
from dataclasses import dataclass

from ..file_lock import Held, file_lock
from .command import NUL_IN_WORKTREE_LIST, Call, Git, failed, shown
from .errors import RepositoryBusy, RepositoryError

__all__ = ["Repository", "Worktree", "account"]

LOCK = "dx-fleet.lock"
INITIALIZING = "initializing"


@dataclass(frozen=True)
class Worktree:
    """One registered worktree, as `git worktree list` has it.

    Attributes:
        path: Absolute, links resolved.
        head: Its commit; None before the first one.
        branch: Its branch without ``refs/heads/``; None where HEAD is detached.
        locked: The reason of its lock ("" for none given); None: it is not locked.
        prunable: Why git thinks that it is gone; None: it does not.
    """

    path: str
    head: str | None = None
    branch: str | None = None
    locked: str | None = None
    prunable: str | None = None


class Repository:
    """A clone on this host.

    Args:
        git: Runs in it.
        common_dir: The folder that all its worktrees share.
    """

    def __init__(self, git: Git, common_dir: str) -> None:
        self.git = git
        self.common_dir = common_dir

    @classmethod
    def open(cls, directory: str, timeout_s: float = 600.0) -> Repository:
        """The repository of a directory.

        Raises:
            RepositoryError: There is none that this user can work in.
            GitMissing, GitTooOld: It can't be looked at.
        """
        git = Git(directory, timeout_s)
        if not os.path.isdir(directory):
            raise RepositoryError(
                f"there is no directory {directory}", f"clone it there: git clone URL {directory}"
            )
        if git.version:
            call = git.call("rev-parse", "--path-format=absolute", "--git-common-dir")
        if not call.ok:
            raise _unusable(directory, call)
        common = os.path.realpath(call.out.rstrip("\n"))
        _check_owner(directory, common)
        return cls(git, common)

    def worktrees(self) -> list[Worktree]:
        """All registered worktrees; the first is the main one.

        Raises:
            GitFailed: They can't be listed.
        """
        nul = self.git.version >= NUL_IN_WORKTREE_LIST
        out = self.git.out("worktree", "list", "--porcelain", *(["-z"] if nul else []))
        end = "\0" if nul else "\n"
        records = [record.split(end) for record in out.split(end * 2) if record.strip(end)]
        return [_worktree(dict(_pair(line) for line in record if line)) for record in records]

    def at(self, path: str) -> Worktree | None:
        """The worktree that is registered at a path (links resolved), other than the main one."""
        return next((tree for tree in self.worktrees()[1:] if _same(tree.path, path)), None)

    def main_path(self) -> str:
        """Where the main checkout is; of a bare repository, itself."""
        return os.path.realpath(self.worktrees()[0].path)

    def admin_dir(self, tree: Worktree) -> str | None:
        """The folder in which git keeps HEAD, index and reflog of a worktree; None: it has none."""
        base = os.path.join(self.common_dir, "worktrees")
        for name in sorted(os.listdir(base)) if os.path.isdir(base) else []:
            try:
                with open(
                    os.path.join(base, name, "gitdir"), encoding="utf-8", errors="surrogateescape"
                ) as file:
                    gitdir = file.read().rstrip("\n")
            except OSError:
                continue
            if _same(os.path.dirname(os.path.join(base, name, gitdir)), tree.path):
                return os.path.join(base, name)
        return None

    def resolve(self, revision: str) -> str | None:
        """The commit that a revision names; None: there is none."""
        call = self.git.call("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
        return call.out.strip() if call.ok else None

    def is_ancestor(self, ancestor: str, commit: str) -> bool:
        """Whether a commit contains another."""
        return self.git.ok("merge-base", "--is-ancestor", ancestor, commit)

    def merge_base(self, one: str, other: str) -> str | None:
        """The newest commit that both contain."""
        call = self.git.call("merge-base", one, other)
        return call.out.strip() if call.ok else None

    def on_remote(self, commit: str) -> bool:
        """Whether a remote's branch, as last fetched or pushed, contains a commit."""
        call = self.git.call("rev-list", "--max-count=1", commit, "--not", "--remotes")
        return call.ok and not call.out.strip()

    def remotes(self) -> list[str]:
        """The names of its remotes."""
        return self.git.out("remote").split()

    def branches(self) -> list[str]:
        """All local branches."""
        out = self.git.out("for-each-ref", "--format=%(refname:lstrip=2)", "refs/heads")
        return out.splitlines()

    @contextmanager
    def lock(self, holder: str, timeout_s: float) -> t.Iterator[None]:
        """Hold our lock of the repository; the git that runs meanwhile holds it too, should we die before it.

        Raises:
            RepositoryBusy: Another process holds it for longer than that.
            RepositoryError: It can't be made.
        """
        path = os.path.join(self.common_dir, LOCK)
        try:
            with file_lock(path, holder, timeout_s) as descriptor:
                self.git.inherited = (descriptor,)
                try:
                    yield
                finally:
                    self.git.inherited = ()
        except Held as held:
            raise RepositoryBusy(
                f"{held}, or a git that it started, holds {self.common_dir} for more than {timeout_s:g} s",
                "wait for it, or see what that process does",
            ) from None
        except PermissionError as error:
            raise _not_writable(self.common_dir) from error


def account(uid: int) -> str:
    """A user's name, else its number."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _check_owner(directory: str, common: str) -> None:
    """What another user owns would get files that its owner, as whom the agent works, can't write."""
    if os.stat(common).st_uid != os.geteuid():
        raise _of_other_owner(directory, os.stat(common).st_uid)
    if not os.access(common, os.W_OK | os.X_OK):
        raise _not_writable(common)


def _unusable(directory: str, call: Call) -> Exception:
    if "dubious ownership" in call.err:
        return _of_other_owner(directory, os.stat(directory).st_uid)
    if "not a git repository" in call.err:
        return RepositoryError(
            f"{directory} is no git repository", f"name the clone, or make one: git clone URL {directory}"
        )
    return failed(call)


def _of_other_owner(directory: str, uid: int) -> RepositoryError:
    return RepositoryError(
        f"{directory} belongs to {account(uid)}, and this is {account(os.geteuid())}",
        f"connect as {account(uid)}; safe.directory alone would not make the files writable",
        "repository_of_other_owner",
    )


def _not_writable(common: str) -> RepositoryError:
    return RepositoryError(
        f"this user ({account(os.geteuid())}) can't write in {common}",
        "connect as the user that owns the clone, or give it back the right to write",
        "repository_not_writable",
    )


def _pair(line: str) -> tuple[str, str]:
    name, _, value = line.partition(" ")
    return name, value


def _worktree(found: t.Mapping[str, str]) -> Worktree:
    head = found.get("HEAD", "")
    branch = found.get("branch")
    return Worktree(
        path=found["worktree"],
        head=None if not head.strip("0") else head,
        branch=None if branch is None else re.sub("^refs/heads/", "", branch),
        locked=_unquoted(found["locked"]) if "locked" in found else None,
        prunable=shown(found["prunable"]) if "prunable" in found else None,
    )


def _unquoted(reason: str) -> str:
    """Without -z, git quotes a reason that holds a newline."""
    return reason[1:-1] if reason.startswith('"') and reason.endswith('"') else reason


def _same(one: str, other: str) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)
