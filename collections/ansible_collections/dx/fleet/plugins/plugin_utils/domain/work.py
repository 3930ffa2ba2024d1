# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the work of a dispatch is isolated, verified, pushed and ended.

What the run was asked for goes before the claim, and that before the policy of the repo.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ...module_utils.git.names import worktree_path
from .errors import UsageError
from .precedence import is_given, is_on

__all__ = ["Place", "Work", "closing_outcome", "root_of", "verify_command", "work_of"]

Options = Mapping[str, Any]

ROOT = "~/.local/share/dx-fleet/worktrees"
_NOT_IN_A_BRANCH = re.compile(r"[^A-Za-z0-9_-]+")
_NO_BRANCH_OF_GIT = re.compile(r"\.\.|\.$|\.lock$")  # of what a bead's id may have in it


@dataclass(frozen=True)
class Work:
    """What holds for the work of one dispatch.

    Attributes:
        repo: Name of the repo, or None.
        isolated: Whether it is done in a worktree of its own.
        branch: The branch of that worktree; None: it is named after the dispatch.
        base: What a new branch begins at; None: the remote's default branch.
        verify: The shell command that decides; None: nothing is verified.
        report: Globs of the JUnit files that it writes.
        counts: ``none`` accepts a command that counts no tests.
        verify_timeout_s: How long it may run.
        expect_changes: Whether work without a change is no work.
        push: Whether a verified branch is pushed.
        close_on: The outcome that closes a bead.
    """

    repo: str | None = None
    isolated: bool = False
    branch: str | None = None
    base: str | None = None
    verify: str | None = None
    report: tuple[str, ...] = ()
    counts: Literal["required", "none"] = "required"
    verify_timeout_s: float = 1800.0
    expect_changes: bool = False
    push: bool = False
    close_on: Literal["verified", "completed"] = "verified"

    def branch_for(self, dispatch: str) -> str:
        """The branch, for the dispatch of this id."""
        return self.branch or f"dx/{_plain(dispatch)}"


@dataclass(frozen=True)
class Place:
    """Where on the VM the worktree of a branch is: below ``root``."""

    root: str
    path: str

    @classmethod
    def of(cls, root: str | None, home: str, clone: str, branch: str) -> Place:
        """The place for a branch of a clone.

        Args:
            root: The VM's folder of worktrees; None: the default one in the user's data folder.
            home: The home of the user that the VM's server runs as.
            clone: The directory of the clone.
            branch: The branch.
        """
        whole = root_of(root, home)
        return cls(whole, worktree_path(whole, f"{clone.rstrip('/')}/.git", branch))


def root_of(root: str | None, home: str) -> str:
    """The folder of worktrees of a VM whose server's user has that home; None: the default one."""
    chosen = root or ROOT
    return f"{home.rstrip('/')}{chosen[1:]}" if chosen == "~" or chosen.startswith("~/") else chosen


def work_of(request: Options, policies: Options, claim: Options) -> Work:
    """How the work of a dispatch is done.

    Args:
        request: What the run was asked for.
        policies: What holds for each repo, as the host variable ``dx_repos`` has it.
        claim: What the claim of its bead returned; empty where there is none yet.

    Raises:
        UsageError: ``worktree_needed`` or ``verify_missing``: what is asked for does not go together.
    """
    repo = _name(request.get("repo") or claim.get("repo"))
    policy: Options = policies.get(repo or "") or {}
    isolated = _isolated(request, policy, claim)
    verify = verify_command(request, policies, repo)
    asked_to_push = is_on(request.get("push"))
    repo_comes_with_the_claim = repo is None and is_given(request.get("bead"))
    if asked_to_push and verify is None and not repo_comes_with_the_claim:
        raise UsageError(
            "only verified work is pushed, and nothing verifies it",
            reason_code="verify_missing",
            next_action=f"add --verify COMMAND, or set verify of {repo or 'the repo'} in vm-endpoints.json",
        )
    needs = [name for name in ("branch", "expect_changes", "push") if is_given(request.get(name))]
    if needs and not isolated:
        raise UsageError(
            f"--{needs[0].replace('_', '-')} needs a worktree, and this dispatch has none",
            reason_code="worktree_needed",
            next_action="leave out --session, or worktree: never of the repo, or the option",
        )
    report = policy.get("report")
    return Work(
        repo=repo,
        isolated=isolated,
        branch=_branch(request, claim) if isolated else None,
        base=policy.get("base"),
        verify=verify,
        report=(report,) if report and request.get("verify") is None else (),
        counts="none" if policy.get("counts") == "none" and request.get("verify") is None else "required",
        verify_timeout_s=float(policy.get("verify_timeout") or Work.verify_timeout_s),
        expect_changes=is_on(request.get("expect_changes")),
        push=isolated and verify is not None and (asked_to_push or bool(policy.get("push"))),
        close_on=closing_outcome(policies, repo),
    )


def verify_command(request: Options, policies: Options, repo: str | None) -> str | None:
    """The command that decides whether the work is good; it never comes from the worktree."""
    if is_on(request.get("no_verify")):
        return None
    policy: Options = policies.get(_name(repo) or "") or {}
    return request.get("verify") or policy.get("verify") or None


def closing_outcome(policies: Options, repo: str | None) -> Literal["verified", "completed"]:
    """The outcome that closes a bead: ``completed`` is the agent's own word."""
    policy: Options = policies.get(_name(repo) or "") or {}
    return "completed" if policy.get("close_on") == "completed" else "verified"


def _isolated(request: Options, policy: Options, claim: Options) -> bool:
    if claim:
        return claim.get("branch") is not None
    if request.get("session") is not None and not is_given(request.get("branch")):
        return False  # a session stays where it is, and nobody says that this is a worktree of ours
    wanted = request.get("worktree") or policy.get("worktree") or "auto"
    asked = any(is_given(request.get(name)) for name in ("bead", "branch", "expect_changes", "push"))
    return wanted == "always" or (wanted != "never" and asked)


def _branch(request: Options, claim: Options) -> str | None:
    given = claim.get("branch") or request.get("branch")
    return given or (_branch_of(str(request["bead"])) if request.get("bead") else None)


def _branch_of(bead: str) -> str:
    """The branch of a bead, another one for each of them."""
    if not _NO_BRANCH_OF_GIT.search(bead):
        return f"dx/{bead}"
    return f"dx/{_plain(bead)}-{hashlib.sha256(bead.encode()).hexdigest()[:8]}"


def _plain(name: str) -> str:
    return _NOT_IN_A_BRANCH.sub("-", name).strip("-")


def _name(repo: str | None) -> str | None:
    """The repo's name, also where it is given as a directory."""
    return repo.rstrip("/").rpartition("/")[2] if repo else None
