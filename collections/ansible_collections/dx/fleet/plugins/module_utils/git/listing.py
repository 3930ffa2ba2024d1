# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The worktrees below a folder, of whichever clones: whose they are, and when they were last used."""

from __future__ import annotations

import os
import time
import typing as t
from contextlib import suppress

from ..processes import working_in
from . import names
from .command import shown
from .errors import GitError
from .repository import INITIALIZING, Repository, Worktree
from .worktree import holder_of, is_removing

__all__ = ["listed"]

# What git, or a lock of ours that is set or taken away, changes in the folder that git has for a worktree.
_TOUCHED = (".", "HEAD", "index", os.path.join("logs", "HEAD"))


def listed(options: t.Mapping[str, t.Any], _check: bool) -> dict[str, t.Any]:
    """The result of ``git_worktree_info``. Nothing is changed, fetched or locked, in check mode or not.

    Args:
        options: Those of the module, with all defaults.
    """
    found: list[dict[str, t.Any]] = []
    for root in _roots(options["worktrees_roots"]):
        seen: set[str] = set()
        for path in _folders(root):
            try:
                repository = Repository.open(path, options["timeout"])
            except GitError as error:
                found.append(
                    {**_NOTHING, "worktrees_root": root, "path": shown(path), "problem": error.message}
                )
                continue
            if repository.common_dir not in seen:
                seen.add(repository.common_dir)
                found += _of_clone(repository, root)
    return {"changed": False, "worktrees": sorted(found, key=lambda each: str(each["path"]))}


_NOTHING: t.Mapping[str, t.Any] = dict.fromkeys(
    ("worktrees_root", "path", "repo", "branch", "head", "locked", "dispatch", "unused_s", "problem")
) | {"half_made": False, "processes": []}


def _roots(named: t.Sequence[str]) -> list[str]:
    """The folders, links resolved, each once; that of the user is one in any case."""
    paths = [os.path.realpath(os.path.expanduser(path)) for path in named]
    return list(dict.fromkeys([*paths, os.path.realpath(names.default_root(os.environ))]))


def _folders(root: str) -> t.Iterator[str]:
    """The folders in which worktrees are: one for each clone, and in it one for each branch."""
    for clone in _subfolders(root):
        yield from (path for path in _subfolders(clone) if os.path.lexists(os.path.join(path, ".git")))


def _subfolders(folder: str) -> list[str]:
    try:
        return sorted(entry.path for entry in os.scandir(folder) if entry.is_dir(follow_symlinks=False))
    except OSError:
        return []


def _of_clone(repository: Repository, root: str) -> t.Iterator[dict[str, t.Any]]:
    main = repository.main_path()
    for tree in repository.worktrees()[1:]:
        if os.path.realpath(tree.path).startswith(root.rstrip("/") + "/"):
            yield {**_described(repository, main, tree), "worktrees_root": root}


def _described(repository: Repository, main: str, tree: Worktree) -> dict[str, t.Any]:
    return {
        **_NOTHING,
        "path": tree.path,
        "repo": main,
        "branch": tree.branch,
        "head": tree.head,
        "locked": None if tree.locked is None else shown(tree.locked),
        "dispatch": holder_of(tree),
        "half_made": tree.locked == INITIALIZING or is_removing(tree),
        "unused_s": _unused_s(repository.admin_dir(tree), tree.path),
        "processes": [f"{process.pid} ({process.command})" for process in working_in(tree.path)],
    }


def _unused_s(admin: str | None, path: str) -> float:
    """Seconds since git, a lock of ours, or somebody in its topmost folder changed something."""
    places = [path, *(os.path.join(admin, name) for name in _TOUCHED if admin is not None)]
    newest = 0.0
    for place in places:
        with suppress(OSError):
            newest = max(newest, os.lstat(place).st_mtime)
    return round(max(0.0, time.time() - newest), 1)
