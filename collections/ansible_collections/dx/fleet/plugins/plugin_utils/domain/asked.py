# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A request out of a task's options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import identity
from .errors import UsageError
from .request import Request, Resolution
from .task import check_task

__all__ = ["request_from"]


def request_from(args: Mapping[str, Any], vm: str) -> Request:
    """The request that the options of ``opencode_dispatch`` describe.

    Raises:
        UsageError: They can't be meant.
    """
    task = args["task"] or ""
    if not task and args["id"] is None:
        raise UsageError(
            "there is neither a task nor an id", reason_code="empty_task", next_action="set task"
        )
    if task and not (args["repo"] or args["directory"] or args["session"]):
        raise UsageError(
            "it is not said where to work", reason_code="repo_missing", next_action="set repo or directory"
        )
    if args["session"] and (args["permission"] or args["title"]):
        raise UsageError(
            "title and permission are those of a new session, and a session to continue is given",
            reason_code="not_a_new_session",
            next_action="leave title and permission out, or session",
        )
    if any(part in (".", "..") for part in (args["repo"] or "").split("/")):
        raise UsageError(
            f"{args['repo']!r} is not the name of a repo",
            reason_code="bad_repo",
            next_action="give its name, or its absolute directory",
        )
    if args["model"] is not None and "/" not in args["model"].strip("/"):
        raise UsageError(
            f"the model {args['model']!r} has no provider",
            reason_code="bad_model",
            next_action="write it as provider/model",
        )
    return Request(
        dispatch=identity.check_dispatch_id(args["id"])
        if args["id"] is not None
        else identity.new_dispatch_id(),
        task=check_task(task) if task else "",
        vm=vm,
        repo=args["repo"],
        directory=args["directory"],
        resume=args["session"],
        agent=args["agent"],
        model=args["model"],
        title=args["title"],
        permission=tuple(args["permission"]),
        enabled=args["enabled"],
        max_concurrent=args["max_concurrent"],
        join=args["join"],
        resolution=Resolution(repos=args["repos"], repos_root=args["repos_root"]),
    )
