# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Push a worktree's commit to the branch of its name at the remote, never by force."""

from __future__ import annotations

from dataclasses import replace

from . import remote
from .command import shown
from .errors import Refused
from .worktree import Result, Work

__all__ = ["push"]


def push(work: Work, check: bool) -> Result:
    """The worktree's commit at the remote, as the remote says.

    Raises:
        GitError: Why it did not get there, or that this is not known.
    """
    repository, wanted = work.repository, work.wanted
    tree = repository.at(work.path)
    if tree is None or tree.head is None:
        raise Refused(f"there is no worktree at {shown(work.path)}", "make it first", "not_a_worktree")
    branch = work.branch or tree.branch
    if branch is None:
        raise Refused(
            f"{shown(tree.path)} has no branch: HEAD is detached", "name the branch", "head_detached"
        )
    if wanted.commit is not None and wanted.commit != tree.head:
        raise Refused(
            f"{shown(tree.path)} is at {tree.head[:12]}, not at {wanted.commit[:12]}",
            "see what changed it since, and verify it again",
            "head_moved",
        )
    where = remote.pick(repository, wanted.remote)
    if where is None:
        raise Refused("the clone has no remote to push to", "add one: git remote add origin URL", "no_remote")
    limit_s = wanted.fetch_timeout_s
    if check:
        there = remote.contains(repository, where, branch, tree.head, limit_s)
        return replace(work.described(tree), changed=not there, pushed=there)
    done = remote.push(repository, where, branch, tree.head, limit_s)
    return replace(work.described(tree), changed=done.changed, pushed=True)
