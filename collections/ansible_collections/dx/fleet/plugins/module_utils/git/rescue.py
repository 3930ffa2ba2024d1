# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep what would be lost with a worktree, under a rescue ref.

A rescue ref names a commit whose tree is the worktree as it is, byte by byte, and whose parents are HEAD and
every other commit that only this worktree knows. So one name keeps all, and `git checkout REF -- .` brings
the files back.
"""

from __future__ import annotations

import os
import stat
import typing as t

from .command import Git, command_line, shown
from .errors import RescueFailed
from .repository import Repository, Worktree
from .unsaved import OwnIndex, Unsaved

__all__ = ["PREFIX", "keep"]

PREFIX = "refs/dx-fleet/rescue"
_IDENTITY = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "dx.fleet"), ("EMAIL", "dx-fleet@localhost"))
}
_SHOWN = 5


def keep(
    repository: Repository, tree: Worktree, found: Unsaved, name: str, limit: int, why: str
) -> str | None:
    """Keep what would be lost.

    Args:
        repository: Its repository.
        tree: The worktree.
        found: What would be lost.
        name: The beginning of the ref's name below ``refs/dx-fleet/rescue``.
        limit: How many bytes of files that no commit has may take.
        why: For the message of the commit.

    Returns:
        The ref, which may be that of a removal that died; None: there is nothing to keep.

    Raises:
        RescueFailed: It can't be kept. Nothing was changed but for objects that nothing names.
    """
    if found.nothing:
        return None
    git = repository.git
    admin = repository.admin_dir(tree)
    files, staged = None, None
    if admin is not None and os.path.isdir(tree.path):
        git = repository.git.at(admin, tree.path)
        staged = _staged(git, found)
        files = _files_as_they_are(git, found, limit) if found.files else None
    if there := _kept_before(repository, name, found, files, staged):
        return there
    commit = _commit(git, found, files, staged, why)
    ref = f"{PREFIX}/{name}-{commit[:12]}"
    call = repository.git.call("update-ref", "--create-reflog", "-m", why, ref, commit)
    if repository.resolve(ref) != commit:
        raise RescueFailed(
            f"{shown(tree.path)} holds work that could not be kept: {call.error_text()}",
            f"look at it by hand: {command_line('git', '-C', tree.path, 'status')}",
        )
    return ref


def _kept_before(
    repository: Repository, name: str, found: Unsaved, files: str | None, staged: str | None
) -> str | None:
    """The ref of a removal that kept just this, and died before it went on."""
    needed = [*([found.head] if found.head else []), *found.others]
    listed = repository.git.out("for-each-ref", "--format=%(refname) %(tree) %(parent)", f"{PREFIX}/{name}-*")
    for line in listed.splitlines():
        ref, tree, *parents = line.split()
        if files is not None and tree != files:
            continue
        if staged is not None and staged not in [_tree_of(repository.git, parent) for parent in parents]:
            continue
        if all(repository.is_ancestor(commit, ref) for commit in needed):
            return ref
    return None


def _commit(git: Git, found: Unsaved, files: str | None, staged: str | None, why: str) -> str:
    """A commit that has all; HEAD itself, where that is all there is."""
    parents = [*([found.head] if found.head else []), *found.others]
    if staged is not None:
        before = ["-p", found.head] if found.head else []
        parents.append(
            git.out("commit-tree", staged, *before, "-m", "what was staged", env=_IDENTITY).strip()
        )
    if files is None and parents == [found.head]:
        return parents[0]
    tree = files or (_tree_of(git, found.head) if found.head else git.out("mktree", stdin=b"").strip())
    words = [word for parent in dict.fromkeys(parents) for word in ("-p", parent)]
    return git.out("commit-tree", tree, *words, "-m", why, env=_IDENTITY).strip()


def _tree_of(git: Git, commit: str) -> str:
    return git.out("rev-parse", f"{commit}^{{tree}}").strip()


def _staged(git: Git, found: Unsaved) -> str | None:
    """The tree of what is staged; None where it is HEAD's, or can't be written (in a conflict)."""
    made = git.call("write-tree")
    tree = made.out.strip()
    return tree if made.ok and found.head and tree != _tree_of(git, found.head) else None


def _files_as_they_are(git: Git, found: Unsaved, limit: int) -> str:
    """The tree of a worktree as it is."""
    _check_size(git.directory, found, limit)
    with OwnIndex(git, found.head) as env:
        entries = b"".join(_entries(git, git.directory, found))
        git.out("update-index", "-z", "--index-info", env=env, stdin=entries)
        return git.out("write-tree", env=env).strip()


def _check_size(path: str, found: Unsaved, limit: int) -> None:
    sizes = {name: os.lstat(os.path.join(os.fsencode(path), name)).st_size for name in _files(found)}
    if sum(sizes.values()) > limit:
        largest = sorted(sizes, key=lambda name: -sizes[name])[:_SHOWN]
        listed = ", ".join(f"{shown(os.fsdecode(name))} ({sizes[name] >> 20} MiB)" for name in largest)
        raise RescueFailed(
            f"{shown(path)} holds {sum(sizes.values()) >> 20} MiB of files that no commit has: {listed}",
            "remove what is not needed, or raise rescue_limit",
            "rescue_too_large",
        )


def _files(found: Unsaved) -> t.Iterator[bytes]:
    yield from (name for name, there in found.changed.items() if there)
    yield from found.ignored


def _entries(git: Git, path: str, found: Unsaved) -> t.Iterator[bytes]:
    """Lines for `git update-index --index-info`; bytes are stored as they are, without filters."""
    width = len(found.head or "0" * 40)
    for name, there in found.changed.items():
        if not there:
            yield b"0 " + b"0" * width + b"\t" + name + b"\0"
    plain: list[tuple[bytes, bytes]] = []
    for name in _files(found):
        full = os.path.join(os.fsencode(path), name)
        status = os.lstat(full)
        if stat.S_ISLNK(status.st_mode):
            target = git.out("hash-object", "-w", "--no-filters", "--stdin", stdin=os.readlink(full))
            yield b"120000 " + target.strip().encode() + b"\t" + name + b"\0"
        elif stat.S_ISREG(status.st_mode):
            plain.append((b"100755 " if status.st_mode & 0o100 else b"100644 ", name))
        # A socket, a pipe or a device holds nothing.
    for (mode, name), stored in zip(plain, _stored(git, [name for _, name in plain])):
        yield mode + stored.encode() + b"\t" + name + b"\0"


def _stored(git: Git, names: t.Sequence[bytes]) -> list[str]:
    """The object of each file."""
    one_a_line = all(b"\n" not in name for name in names)
    if one_a_line:
        objects = git.out(
            "hash-object", "-w", "--no-filters", "--stdin-paths", stdin=b"".join(n + b"\n" for n in names)
        )
        found = objects.split()
    else:
        words = ("hash-object", "-w", "--no-filters", "--")
        found = [git.out(*words, os.fsdecode(name)).strip() for name in names]
    if len(found) != len(names):
        raise RescueFailed(
            f"{shown(git.directory)} changed while it was kept", "see what still writes in it, then try again"
        )
    return found
