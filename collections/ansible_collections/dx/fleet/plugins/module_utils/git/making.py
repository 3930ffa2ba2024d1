# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make a worktree, or find it: what stands in the way is looked for first, a failed add leaves nothing."""

from __future__ import annotations

import os
import re
from dataclasses import replace

from . import names, obstacles, remote
from .command import command_line, shown
from .errors import EffectUnknown, GitFailed, Refused
from .removal import drop_unworked_branch, remove
from .repository import INITIALIZING, Worktree
from .worktree import BASES, Result, Work, as_seen, holder_of, is_removing

__all__ = ["make", "predict"]

_FULL_ID = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


def make(work: Work) -> Result:
    """Under the lock: the worktree as it is to be.

    Raises:
        GitError: Why it can't be, or must not.
    """
    branch = _branch(work)
    tree = _usable(work, branch)
    before = as_seen(tree)
    made = tree is None
    tree = tree or _made(work, branch)
    if work.wanted.submodules:
        _init_submodules(work, tree)
    tree, locked = _locked_as_wanted(work, tree)
    changed = made or locked or bool(work.repaired)
    return replace(work.described(tree), changed=changed, before=before, after=as_seen(tree))


def predict(work: Work) -> Result:
    """What :func:`make` would do, as far as that can be seen; nothing is fetched or made.

    Raises:
        GitError: Why it could not be, or must not.
    """
    branch = _branch(work)
    tree = work.repository.at(work.path)
    if tree is not None and not work.broken(tree):
        work.check_holder(tree)
        _check_branch(work, tree, branch)
        after = replace(tree, locked=_lock_after(work, tree))
        return replace(
            work.described(tree), changed=after != tree, before=as_seen(tree), after=as_seen(after)
        )
    if tree is None:
        _check_free(work, branch)
    after = Worktree(work.path, None, branch, work.wanted.lock_reason)
    return Result(True, work.path, branch, before=as_seen(tree), after=as_seen(after))


def _branch(work: Work) -> str:
    if work.branch is None:
        raise Refused("the worktree is to be made of a branch", "name the branch", "worktree_unnamed")
    return work.branch


def _usable(work: Work, branch: str) -> Worktree | None:
    """The worktree that is there and good; what an earlier run left half made or half removed is gone."""
    tree = work.repository.at(work.path)
    if tree is None:
        return None
    broken = work.broken(tree)
    if not is_removing(tree) and tree.locked != INITIALIZING:
        work.check_holder(tree)
    if broken is None:
        _check_branch(work, tree, branch)
        work.note_index_lock(tree)
        return tree
    remove(work, tree, f"a worktree that was {broken}")
    work.repaired.append(broken)
    return None


def _check_branch(work: Work, tree: Worktree, branch: str) -> None:
    """Refuse one that has another branch; but within a dispatch, the agent may have changed it."""
    if tree.branch == branch:
        return
    there = shown(tree.branch or "a detached HEAD")
    if tree.locked is not None and holder_of(tree) == work.wanted.dispatch:
        work.notes.append(f"it has {there}, not {branch}")
        return
    raise Refused(
        f"the worktree {shown(tree.path)} has {there}, not {branch}",
        "name another path, or remove that worktree",
        "branch_mismatch",
    )


def _check_free(work: Work, branch: str) -> None:
    """Refuse a folder that is not ours, and a branch that is out elsewhere or collides with one."""
    path = work.path
    if os.path.lexists(path) and not (os.path.isdir(path) and not os.listdir(path)):
        raise Refused(
            f"{shown(path)} is there already, and is no worktree of this clone",
            "move it away, or name another path",
            "path_in_use",
        )
    for tree in work.repository.worktrees():
        if tree.branch == branch:
            raise Refused(
                f"the branch {branch} is out at {shown(tree.path)}",
                "name another branch, or end the work there",
                "branch_in_use",
            )
    other = names.collision(branch, work.repository.branches())
    if other is not None:
        raise Refused(
            f"the branch {branch} collides with {shown(other)}, which is there",
            "name another branch",
            "branch_collides",
        )


def _made(work: Work, branch: str) -> Worktree:
    """A new worktree."""
    repository = work.repository
    _forget_abandoned(work, branch)
    _check_free(work, branch)
    _make_parent(os.path.dirname(work.path))
    start, base = _start(work, branch)
    obstacles.check_lfs(repository, start)
    obstacles.check_disk(repository, start, work.path)
    _make_branch(work, branch, start, base)
    call = work.git.call("worktree", "add", work.path, branch)
    tree = repository.at(work.path)
    if tree is not None and not work.broken(tree) and tree.branch == branch and tree.head is not None:
        return tree
    if tree is not None:
        remove(work, tree, "a worktree that could not be made")
    drop_unworked_branch(work)
    why = call.error_text() if not call.ok else "git says that it was made, and it is not there"
    again = command_line("git", "-C", work.git.directory, "worktree", "add", work.path, branch)
    raise GitFailed(f"the worktree {shown(work.path)} could not be made: {why}", f"try it by hand: {again}")


def _forget_abandoned(work: Work, branch: str) -> None:
    """Remove the registration of our branch elsewhere, where its folder is gone and nobody else locked it."""
    for tree in work.repository.worktrees()[1:]:
        if tree.branch == branch and not os.path.isdir(tree.path) and work.may_have(tree):
            remove(work, tree, "a worktree without its folder")
            work.repaired.append(f"registered at {shown(tree.path)}, which is gone")


def _make_parent(parent: str) -> None:
    try:
        os.makedirs(parent, mode=0o700, exist_ok=True)
        why = None if os.access(parent, os.W_OK | os.X_OK) else "this user can't write in it"
    except OSError as error:
        why = error.strerror or str(error)
    if why:
        raise Refused(
            f"{parent} can't be used: {why}",
            "set worktrees_root to a folder of this user",
            "root_not_writable",
        )


def _start(work: Work, branch: str) -> tuple[str, str]:
    """The commit that the branch is to have, and the one that its work counts from."""
    repository, wanted = work.repository, work.wanted
    source = remote.pick(repository, wanted.remote)
    known = repository.resolve(wanted.base) if _FULL_ID.fullmatch(wanted.base or "") and wanted.base else None
    if source is not None and wanted.fetch and not known:
        remote.fetch(repository, source, wanted.fetch_timeout_s)
    base = known or _base(work, source)
    start = _tip(work, branch, source) or base
    if start == base:
        return start, base
    began = repository.resolve(f"{BASES}/{branch}") or repository.merge_base(start, base)
    return start, began or start


def _tip(work: Work, branch: str, source: str | None) -> str | None:
    """Where a branch that is there stands; one that is only behind the remote's is brought forward."""
    repository = work.repository
    own = repository.resolve(f"refs/heads/{branch}")
    there = repository.resolve(f"refs/remotes/{source}/{branch}") if source else None
    if own is None or there is None or own == there or repository.is_ancestor(there, own):
        return own or there
    if repository.is_ancestor(own, there):
        work.git.call("update-ref", f"refs/heads/{branch}", there, own)
        return repository.resolve(f"refs/heads/{branch}")
    work.notes.append(f"{branch} here and at {source} have gone different ways; a push would be refused")
    return own


def _base(work: Work, source: str | None) -> str:
    """The commit that a new branch begins at."""
    repository, wanted = work.repository, work.wanted
    name = wanted.base
    if name is None and source is not None:
        name = remote.default_branch(repository, source, wanted.fetch_timeout_s)
    if commit := _resolved(work, name, source):
        return commit
    if source is not None and wanted.fetch and name and _FULL_ID.fullmatch(name):
        remote.fetch_commit(repository, source, name, wanted.fetch_timeout_s)
        if commit := repository.resolve(name):
            return commit
    raise Refused(
        f"{work.git.directory} has no {shown(name or 'commit')!r} to begin at",
        "name a branch, a tag or a full commit id as base",
        "base_unknown",
    )


def _resolved(work: Work, name: str | None, source: str | None) -> str | None:
    """The commit of a name: the remote's branch goes before a local one, which may be old."""
    if name is None:
        return work.repository.resolve("HEAD")
    candidates = [f"refs/remotes/{source}/{name}"] if source else []
    candidates += [f"refs/remotes/{name}", f"refs/tags/{name}", f"refs/heads/{name}", name]
    return next(filter(None, map(work.repository.resolve, candidates)), None)


def _make_branch(work: Work, branch: str, start: str, base: str) -> None:
    """The branch, and before it the ref that shows that it is ours."""
    ref = f"refs/heads/{branch}"
    if work.repository.resolve(ref) is not None:
        return
    work.git.call("update-ref", f"{BASES}/{branch}", base)
    call = work.git.call("branch", "--no-track", branch, start)
    if work.repository.resolve(ref) != start:
        work.git.call("update-ref", "-d", f"{BASES}/{branch}", base)
        raise GitFailed(
            f"the branch {branch} could not be made: {call.error_text()}",
            f"try it by hand: {command_line('git', '-C', work.git.directory, 'branch', branch, start)}",
        )


def _init_submodules(work: Work, tree: Worktree) -> None:
    if not work.empty_submodules(tree):
        return
    words = ("submodule", "update", "--init", "--recursive")
    work.git.at(work.repository.admin_dir(tree) or "", tree.path).call(*words)
    if missing := work.empty_submodules(tree):
        raise GitFailed(
            f"the submodules {', '.join(missing)} could not be fetched",
            command_line("git", "-C", tree.path, *words),
            "submodules_missing",
        )


def _lock_after(work: Work, tree: Worktree) -> str | None:
    """The reason of the worktree's lock as it is to be; one without a dispatch is left as it is."""
    reason = work.wanted.lock_reason
    return tree.locked if reason is None and work.wanted.locked else reason


def _locked_as_wanted(work: Work, tree: Worktree) -> tuple[Worktree, bool]:
    """The worktree, locked with the dispatch's id or not locked, and whether that is new."""
    reason = _lock_after(work, tree)
    if tree.locked == reason:
        return tree, False
    if tree.locked is not None:
        work.git.call("worktree", "unlock", tree.path)
    if reason is not None:
        work.git.call("worktree", "lock", "--reason", reason, tree.path)
    after = work.repository.at(work.path)
    if after is None or after.locked != reason:
        raise EffectUnknown(
            f"the lock of {shown(tree.path)} is not as it was set",
            command_line("git", "-C", work.git.directory, "worktree", "list", "--verbose"),
            "lock_not_set",
        )
    return after, True
