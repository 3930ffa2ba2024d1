# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Errors of working with a repository and its worktrees.

GitError
├── GitMissing, GitTooOld
├── RepositoryError      the clone can't be used: not there, no repository, another owner's, not writable
├── RepositoryBusy       another process holds our lock of the repository
├── Refused              what is wanted must not be done, or something stands in its way
├── RescueFailed         what a removal would lose could not be kept; nothing was removed
├── FetchFailed          the remote did not give what is needed, within its time
├── PushRefused          the remote did not take the commit
├── EffectUnknown        it may or may not have happened, and can't be read back
└── GitFailed            any other failure of git, in its own words

``reason_code`` says which of a kind it is.
"""

from __future__ import annotations

import typing as t

__all__ = [
    "EffectUnknown",
    "FetchFailed",
    "GitError",
    "GitFailed",
    "GitMissing",
    "GitTooOld",
    "PushRefused",
    "Refused",
    "RepositoryBusy",
    "RepositoryError",
    "RescueFailed",
]


class GitError(Exception):
    """An error that a person can act on.

    Args:
        message: One line: what, and where.
        next_action: What to do or run next.
        reason_code: Stable snake_case name; that of the class by default.
        details: More fields for a result, JSON-ready.
    """

    reason_code = "git_error"

    def __init__(
        self, message: str, next_action: str, reason_code: str | None = None, **details: t.Any
    ) -> None:
        super().__init__(message)
        self.message = message
        self.next_action = next_action
        self.reason_code = reason_code or self.reason_code
        self.details = details

    def as_result(self) -> dict[str, t.Any]:
        """What a module returns that fails with it."""
        return {
            "failed": True,
            "msg": f"{self.message}. Next: {self.next_action}",
            "reason_code": self.reason_code,
            "next_action": self.next_action,
            **self.details,
        }


class GitMissing(GitError):
    reason_code = "git_missing"


class GitTooOld(GitError):
    reason_code = "git_too_old"


class RepositoryError(GitError):
    reason_code = "not_a_repository"


class RepositoryBusy(GitError):
    reason_code = "repository_busy"


class Refused(GitError):
    reason_code = "worktree_refused"


class RescueFailed(GitError):
    reason_code = "rescue_failed"


class FetchFailed(GitError):
    reason_code = "fetch_failed"


class PushRefused(GitError):
    reason_code = "push_refused"


class EffectUnknown(GitError):
    reason_code = "effect_unknown"


class GitFailed(GitError):
    reason_code = "git_failed"
