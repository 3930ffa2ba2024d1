# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the module ``git_worktree`` does, apart from Ansible: its options in, its result out."""

from __future__ import annotations

import typing as t
from dataclasses import asdict

from .command import shown
from .making import make, predict
from .pushing import push
from .removal import end, predict_end
from .worktree import Result, Wanted, Work

__all__ = ["worktree"]

_SAME = (
    "repo",
    "branch",
    "path",
    "base",
    "remote",
    "dispatch",
    "locked",
    "fetch",
    "submodules",
    "delete_branch",
    "commit",
)


def worktree(options: t.Mapping[str, t.Any], check: bool) -> dict[str, t.Any]:
    """Bring a worktree into the state of ``git_worktree``.

    Args:
        options: Those of the module, with all defaults.
        check: Change nothing.

    Returns:
        The module's result.

    Raises:
        GitError: Why not.
    """
    wanted = Wanted(
        **{name: options[name] for name in _SAME},
        root=options["worktrees_root"],
        ended=tuple(options["ended_dispatches"]),
        rescue_limit=options["rescue_limit"] << 20,
        fetch_timeout_s=options["fetch_timeout"],
        lock_timeout_s=options["lock_timeout"],
        timeout_s=options["timeout"],
    )
    result = asdict(_done(Work.begin(wanted), options["state"], check))
    diff = {"before": result.pop("before"), "after": result.pop("after")}
    return {**result, "path": shown(result["path"]), "diff": diff}


def _done(work: Work, state: str, check: bool) -> Result:
    if state == "pushed":
        return push(work, check)
    if check:
        return predict(work) if state == "present" else predict_end(work)
    with work.repository.lock(work.wanted.dispatch or "git_worktree", work.wanted.lock_timeout_s):
        return make(work) if state == "present" else end(work)
