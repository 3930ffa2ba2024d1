# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What would make `git worktree add` fail or give useless files: looked for before anything is made."""

from __future__ import annotations

import os
import shutil
import typing as t

from .command import Git
from .errors import Refused
from .repository import Repository

__all__ = ["check_disk", "check_lfs", "existing_parent", "uses_lfs"]

RESERVE = 64 * 1024 * 1024  # bytes; a build wants some as well
PER_FILE = 4096  # bytes of a disk's block


def check_disk(repository: Repository, commit: str, folder: str) -> None:
    """Refuse what the disk has no room for.

    Raises:
        Refused: It has not.
    """
    needed, files = _size(repository.git, commit)
    there = existing_parent(folder)
    free = shutil.disk_usage(there).free
    if free < needed + RESERVE:
        raise Refused(
            f"the files of {commit[:12]} need {_mib(needed)}, and the disk of {there} has {_mib(free)} free",
            "free some space, or set worktrees_root to another disk",
            "disk_full",
        )
    nodes = os.statvfs(there)
    if nodes.f_files and nodes.f_favail < files:
        raise Refused(
            f"{commit[:12]} has {files} files, and the disk of {there} has room for {nodes.f_favail} more",
            "remove some files, or set worktrees_root to another disk",
            "disk_full",
        )


def check_lfs(repository: Repository, commit: str) -> None:
    """Refuse a commit whose files are in Git LFS where that is not at work: they would be pointers.

    Raises:
        Refused: They would.
    """
    git = repository.git
    if not uses_lfs(repository, commit):
        return
    if not git.ok("lfs", "version"):
        raise Refused(
            f"{git.directory} keeps files in Git LFS, and there is no git-lfs on this host",
            "install it: brew install git-lfs, or apt-get install git-lfs",
            "lfs_missing",
        )
    if not git.ok("config", "filter.lfs.process") and not git.ok("config", "filter.lfs.smudge"):
        raise Refused(
            f"{git.directory} keeps files in Git LFS, which is not set up for this user",
            "run git lfs install on this host as this user",
            "lfs_not_set_up",
        )


def uses_lfs(repository: Repository, commit: str) -> bool:
    """Whether a commit, or this clone for itself, names the filter of Git LFS."""
    own = os.path.join(repository.common_dir, "info", "attributes")
    try:
        with open(own, encoding="utf-8", errors="replace") as file:
            if "filter=lfs" in file.read():
                return True
    except OSError:
        pass  # most clones have none
    listed = repository.git.call("ls-tree", "-r", "-z", "--name-only", "--full-tree", commit)
    names = [name for name in listed.out.split("\0") if os.path.basename(name) == ".gitattributes"]
    return any(
        "filter=lfs" in repository.git.call("cat-file", "blob", f"{commit}:{name}").out for name in names[:50]
    )


def existing_parent(folder: str) -> str:
    """The nearest folder at or above a path that is there."""
    folder = os.path.abspath(folder)
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    return folder


def _size(git: Git, commit: str) -> tuple[int, int]:
    """How many bytes a commit takes on a disk, about, and how many files it has."""
    sizes = [line.split("\t", 1)[0].split()[-1] for line in _lines(git, commit)]
    blocks = sum(-(-int(size) // PER_FILE) for size in sizes if size.isdigit())
    return blocks * PER_FILE, len(sizes)


def _lines(git: Git, commit: str) -> t.Iterator[str]:
    return filter(None, git.out("ls-tree", "-r", "-l", "-z", "--full-tree", commit).split("\0"))


def _mib(size: int) -> str:
    return f"{size / 1024 / 1024:.0f} MiB"
