# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A request out of a task's options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import identity
from .errors import PreflightError, UsageError
from .outcome import State
from .request import Request, Resolution
from .task import check_task

__all__ = ["request_from"]


def request_from(args: Mapping[str, Any], vm: str) -> Request:
    """The request that the options of ``opencode_dispatch`` describe.

    Raises:
        UsageError: They can't be meant.
        PreflightError: ``vm_disabled``.
    """
    task = args["task"] or ""
    if not task and not args["id"]:
        raise UsageError(
            "there is neither a task nor an id", reason_code="empty_task", next_action="set task"
        )
    if not args["enabled"]:
        raise PreflightError(
            f"{vm} is disabled in vm-endpoints.json",
            reason_code="vm_disabled",
            next_action=f"use another VM, or set enabled of {vm} to true",
            state=State.REFUSED,
        )
    if task and not (args["repo"] or args["directory"] or args["session"]):
        raise UsageError(
            "it is not said where to work", reason_code="repo_missing", next_action="set repo or directory"
        )
    if args["model"] is not None and "/" not in args["model"].strip("/"):
        raise UsageError(
            f"the model {args['model']!r} has no provider",
            reason_code="bad_model",
            next_action="write it as provider/model",
        )
    return Request(
        dispatch=identity.check_dispatch_id(args["id"]) if args["id"] else identity.new_dispatch_id(),
        task=check_task(task) if task else "",
        vm=vm,
        repo=args["repo"],
        directory=args["directory"],
        resume=args["session"],
        agent=args["agent"],
        model=args["model"],
        title=args["title"],
        permission=tuple(args["permission"]),
        max_concurrent=args["max_concurrent"],
        resolution=Resolution(repos=args["repos"], repos_root=args["repos_root"]),
    )
