# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is asked of one VM. Plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from . import identity
from .errors import UsageError
from .task import check_task

__all__ = ["Request", "Resolution"]


@dataclass(frozen=True)
class Resolution:
    """How a repo name becomes a directory on one VM; see :class:`~.fleet.VM`."""

    repos: Mapping[str, str] = field(default_factory=dict)
    repos_root: str | None = None


@dataclass(frozen=True)
class Request:
    """One dispatch as it was asked for.

    ``resume`` is the session to continue instead of a new one; ``directory`` goes before ``repo``;
    ``model`` is ``provider/model``; ``permission`` are OpenCode's rules (``permission``, ``pattern``,
    ``action``), the last match wins; a VM that is not ``enabled`` takes nothing new; ``max_concurrent`` is
    the VM's capacity in busy sessions. ``join``: what was sent under its id is followed, whatever it
    was. An ``isolated`` one works in a worktree that is yet to be made. ``asked`` is what the whole run was
    asked for, for the command that asks for it again.
    """

    dispatch: str
    task: str
    vm: str
    bead: str | None = None
    repo: str | None = None
    directory: str | None = None
    resume: str | None = None
    agent: str | None = None
    model: str | None = None
    title: str | None = None
    permission: tuple[Mapping[str, str], ...] = ()
    enabled: bool = True
    max_concurrent: int | None = None
    join: bool = False
    isolated: bool = False
    resolution: Resolution = field(default_factory=Resolution)
    asked: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_options(cls, args: Mapping[str, Any], vm: str) -> Request:
        """The request that the options of ``opencode_dispatch`` describe.

        Raises:
            UsageError: They can't be meant.
        """
        _check_options(args)
        task = args["task"] or ""
        return cls(
            dispatch=identity.check_dispatch_id(args["id"])
            if args["id"] is not None
            else identity.new_dispatch_id(),
            task=check_task(task) if task else "",
            vm=vm,
            bead=args["bead"],
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
            asked=args["request"],
        )

    def as_asked(self) -> dict[str, Any]:
        """What the run was asked for, with what holds for this VM."""
        own = {
            "task": self.task or None,
            "repo": self.repo,
            "directory": self.directory,
            "session": self.resume,
            "agent": self.agent,
            "model": self.model,
            "title": self.title,
        }
        return {**self.asked, **own}

    @property
    def session(self) -> str:
        """Id of the session in which the task runs."""
        return self.resume or identity.session_id(self.dispatch)

    @property
    def message(self) -> str:
        """Id of the user message that carries the task."""
        return identity.message_id(self.dispatch)

    @property
    def part(self) -> str:
        """Id of the only part of that message."""
        return identity.part_id(self.dispatch, self.task)


def _check_options(args: Mapping[str, Any]) -> None:
    """Raises UsageError for options that can't be meant together."""
    if not args["task"] and args["id"] is None:
        raise UsageError(
            "there is neither a task nor an id", reason_code="empty_task", next_action="set task"
        )
    if args["task"] and not (args["repo"] or args["directory"] or args["session"]):
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
