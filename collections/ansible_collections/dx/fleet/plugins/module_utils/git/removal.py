# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Remove a worktree: what is only in it is kept first, then its folder goes, then its registration.

Whatever step it dies at, a later run goes on: the reason of the lock says that a removal has begun, and which
commit has all the files.
"""

from __future__ import annotations

import os
import shutil
import stat
import typing as t
from contextlib import suppress
from dataclasses import replace

from ..processes import working_in
from . import names, rescue
from .command import command_line, shown
from .errors import EffectUnknown, Refused
from .repository import INITIALIZING, Worktree
from .unsaved import Unsaved, unsaved
from .worktree import BASES, REMOVING, Result, Work, as_seen, is_removing

__all__ = ["drop_unworked_branch", "end", "predict_end", "remove"]


def end(work: Work) -> Result:
    """Under the lock: no worktree at the path.

    Raises:
        GitError: Why it can't be removed, or must not.
    """
    tree = _found(work)
    if tree is None:
        drop_unworked_branch(work)
        return Result(False, work.path, work.branch)
    work.branch = work.branch or tree.branch
    result = work.described(tree)
    if tree.locked != INITIALIZING and not is_removing(tree):
        work.check_holder(tree)
    remove(work, tree, f"the worktree of {tree.branch or 'a detached HEAD'}")
    drop_unworked_branch(work)
    if work.wanted.delete_branch and tree.branch:
        _delete_branch(work, tree.branch)
    kept, notes = tuple(work.rescued), tuple(work.notes)
    return replace(result, changed=True, rescue_refs=kept, notes=notes, before=as_seen(tree))


def predict_end(work: Work) -> Result:
    """What :func:`end` would do.

    Raises:
        GitError: Why it could not, or must not.
    """
    tree = _found(work)
    if tree is None:
        return Result(False, work.path, work.branch)
    work.branch = work.branch or tree.branch
    if tree.locked != INITIALIZING and not is_removing(tree):
        work.check_holder(tree)
    _check_idle(tree)
    found = unsaved(work.repository, tree)
    notes = () if found.nothing else (f"would keep {_counted(found)} under a rescue ref",)
    return replace(work.described(tree), changed=True, notes=notes, before=as_seen(tree))


def remove(work: Work, tree: Worktree, what: str) -> None:
    """Remove one worktree, whatever state it is in.

    Args:
        work: The run, which learns the names of rescue refs.
        tree: The worktree.
        what: What it was, for the message of a rescue.

    Raises:
        Refused: A process works there.
        RescueFailed: What is in it could not be kept; nothing was removed.
        EffectUnknown: Something is left of it.
    """
    _check_idle(tree)
    work.note_index_lock(tree)
    known = _kept_before(work, tree)
    found = unsaved(work.repository, tree, known)
    if tree.locked == INITIALIZING and not found.files:
        found = replace(found, head_on_remote=True)  # nobody has worked in it, and its branch stays
    name = names.slug(tree.branch or os.path.basename(tree.path))
    ref = rescue.keep(work.repository, tree, found, name, work.wanted.rescue_limit, f"Rescued: {what}")
    work.rescued += [each for each in dict.fromkeys((known, ref)) if each and each.startswith(rescue.PREFIX)]
    if work.repository.admin_dir(tree) is not None:
        work.git.call("worktree", "unlock", tree.path)
        work.git.call("worktree", "lock", "--reason", REMOVING + (ref or known or tree.head or ""), tree.path)
    _delete(tree.path)
    work.git.call("worktree", "remove", "--force", "--force", tree.path)
    if work.repository.at(tree.path) is not None or os.path.lexists(tree.path):
        raise EffectUnknown(
            f"{shown(tree.path)} could not be removed whole", "see what is left of it", "not_removed"
        )


def drop_unworked_branch(work: Work) -> None:
    """Delete the branch that we made, where it still is at its base and out nowhere."""
    repository, branch = work.repository, work.branch
    base = repository.resolve(f"{BASES}/{branch}") if branch else None
    if base is None or any(tree.branch == branch for tree in repository.worktrees()):
        return
    if repository.resolve(f"refs/heads/{branch}") == base:
        work.git.call("update-ref", "-d", f"refs/heads/{branch}", base)
    if repository.resolve(f"refs/heads/{branch}") is None:
        work.git.call("update-ref", "-d", f"{BASES}/{branch}", base)


def _kept_before(work: Work, tree: Worktree) -> str | None:
    """What a removal that died had already kept: a rescue ref, or the commit that has all."""
    named = (tree.locked or "")[len(REMOVING) :] if is_removing(tree) else ""
    return named if named and work.repository.resolve(named) else None


def _found(work: Work) -> Worktree | None:
    tree = work.repository.at(work.path)
    if tree is None and os.path.isdir(work.path) and os.listdir(work.path):
        repair = command_line("git", "-C", work.git.directory, "worktree", "repair", work.path)
        raise Refused(
            f"{shown(work.path)} is there, and this clone does not have it as a worktree; it is left alone",
            f"see what it is; if it was one: {repair}",
            "not_a_worktree",
        )
    return tree


def _check_idle(tree: Worktree) -> None:
    """Refuse where a process works: what it writes after the rescue would be lost."""
    if busy := working_in(tree.path):
        listed = ", ".join(f"{process.pid} ({process.command})" for process in busy[:5])
        raise Refused(
            f"{shown(tree.path)} is the working directory of {listed}",
            "end these processes first",
            "worktree_busy",
            processes=[process.pid for process in busy],
        )


def _delete_branch(work: Work, branch: str) -> None:
    """Delete a branch whose commits are on a remote, or under the rescue ref."""
    repository, ref = work.repository, f"refs/heads/{branch}"
    tip = repository.resolve(ref)
    if tip is None:
        return
    if not repository.on_remote(tip) and not any(repository.is_ancestor(tip, kept) for kept in work.rescued):
        work.notes.append(f"the branch {branch} stays: its commits are nowhere else")
        return
    work.git.call("update-ref", "-d", ref, tip)
    work.git.call("update-ref", "-d", f"{BASES}/{branch}")


def _counted(found: Unsaved) -> str:
    files = sum(found.changed.values()) + len(found.ignored)
    heads = len(found.others) + (0 if found.head is None or found.head_on_remote else 1)
    return f"{files} files and the commits of {heads} heads"


def _delete(path: str) -> None:
    """Remove a folder with all in it, also where a tool took the right to write from its folders."""

    def allow(_: t.Callable[..., t.Any], failed: str, __: t.Any) -> None:
        with suppress(OSError):
            os.chmod(os.path.dirname(failed), stat.S_IRWXU)
            if os.path.isdir(failed) and not os.path.islink(failed):
                os.chmod(failed, stat.S_IRWXU)
                shutil.rmtree(failed, ignore_errors=True)
            else:
                os.unlink(failed)

    if os.path.lexists(path):
        shutil.rmtree(path, onerror=allow)
