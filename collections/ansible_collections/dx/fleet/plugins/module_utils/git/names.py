# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of branches and paths of worktrees: which are good, and which collide with one that is there."""

from __future__ import annotations

import hashlib
import os
import re
import typing as t
import unicodedata

from .command import Git, shown
from .errors import Refused

__all__ = ["branch_name", "check_place", "collision", "default_root", "slug", "worktree_path"]

MAX_COMPONENT = 200  # bytes; file systems take 255, and git appends ".lock"


def default_root(environ: t.Mapping[str, str]) -> str:
    """``$XDG_DATA_HOME/dx-fleet/worktrees``, by default in ``~/.local/share``."""
    base = environ.get("XDG_DATA_HOME", "")  # a relative one is to be ignored, says the specification
    if not os.path.isabs(base):
        base = os.path.join(os.path.expanduser("~"), ".local", "share")
    return os.path.join(base, "dx-fleet", "worktrees")


def branch_name(git: Git, name: str) -> str:
    """A branch's name as git takes it, in Unicode's composed form, as macOS writes it.

    Raises:
        Refused: It can't be a branch's name, or means something else as well.
    """
    branch = unicodedata.normalize("NFC", name)
    # git expands @{-1} to the branch before; a name of 40 hex digits is taken for a commit.
    call = git.call("check-ref-format", "--branch", branch)
    taken = call.ok and call.out.rstrip("\n") == branch
    doubtful = (
        branch == "@" or branch.startswith("refs/") or re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", branch)
    )
    long = any(len(os.fsencode(part)) > MAX_COMPONENT for part in branch.split("/"))
    if not taken or doubtful or long or branch != shown(branch):
        raise Refused(
            f"{shown(name)[:80]!r} can't be a branch's name",
            "choose one such as dx/bd-a1b2",
            "branch_name_invalid",
        )
    return branch


def collision(branch: str, branches: t.Iterable[str]) -> str | None:
    """A branch beside which this one can't be: the same but for case, or a folder of the other's name."""
    folded = _folded(branch)
    for other in branches:
        there = _folded(other)
        if other != branch and (
            there == folded or there.startswith(folded + "/") or folded.startswith(there + "/")
        ):
            return other
    return None


def worktree_path(root: str, common_dir: str, branch: str) -> str:
    """Where the worktree of a branch is by default: one folder per clone, one in it per branch."""
    top = os.path.dirname(common_dir) if os.path.basename(common_dir) == ".git" else common_dir
    clone = f"{slug(os.path.basename(top))}-{_digest(common_dir)}"
    return os.path.join(root, clone, slug(branch))


def check_place(path: str, root: str, main_path: str, common_dir: str) -> None:
    """Refuse a path that is not below the root of worktrees, or that has to do with the clone.

    Raises:
        Refused: It must not be a worktree's.
    """
    path, root = os.path.realpath(path), os.path.realpath(root)
    for kept in (main_path, common_dir):
        if _is_within(path, kept) or _is_within(kept, path):
            raise Refused(
                f"{path} and the clone at {kept} are inside each other",
                "set worktrees_root to a folder outside the clone",
                "path_in_clone",
            )
    if path == root or not _is_within(path, root):
        raise Refused(
            f"{path} is not below the root of worktrees, {root}",
            "leave path out, or set worktrees_root to the folder that holds it",
            "path_outside_root",
        )


def slug(name: str) -> str:
    """A name as one folder's; different for any two names, also where case does not count."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:60]
    return plain if plain == name and plain == plain.lower() else f"{plain or 'branch'}-{_digest(name)}"


def _digest(text: str) -> str:
    return hashlib.sha256(os.fsencode(text)).hexdigest()[:8]


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _is_within(path: str, folder: str) -> bool:
    """Compared without regard to case: a false match only refuses, on a disk where case counts."""
    path, folder = _folded(path), _folded(folder)
    return path == folder or path.startswith(folder.rstrip("/") + "/")
