# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What may be typed after dx-dispatch."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from ...module_utils.beads.ids import CHECK_IT, is_bead_id
from ..domain.errors import UsageError
from ..domain.outcome import EXIT_CODES
from ..domain.task import check_task, is_text
from .fleet_source import vm_names
from .options import Options, amount, count, flag, option, seconds, words

__all__ = ["HELP_EXAMPLES", "USAGE", "DispatchOptions"]

USAGE = "[VM] REPO TASK | --all REPO TASK | [VM] [REPO] --bead BEAD | [VM] --id ID"


def _exit_codes() -> str:
    """``0 done   1 our own fault …`` in lines of four."""
    each = [f"{code:d} {meaning}" for code, meaning in EXIT_CODES.items()]
    return "\n".join("  " + "   ".join(each[start : start + 4]) for start in range(0, len(each), 4))


HELP_EXAMPLES = f"""\
examples:
  dx-dispatch epyc6 affordabot "Run make test"           # one VM, followed to its end
  dx-dispatch affordabot "Run make test"                 # the default VM
  dx-dispatch --all affordabot "Run make test"           # every enabled VM, in parallel
  dx-dispatch epyc6 affordabot "Continue work" --session ses_abc123
  dx-dispatch epyc6 affordabot "Run make test" --no-wait --json
  dx-dispatch epyc6 --id 01J9ZK3V4N8Q5W2X7Y6T1R0PMA      # join that dispatch again
  dx-dispatch affordabot - <task.md                      # the task from standard input
  dx-dispatch epyc6 affordabot --bead bd-a1b2            # work on a bead; its text is the task
  dx-dispatch --bead bd-a1b2                             # go on with it where another left off
  dx-dispatch --retry bd-a1b2                            # work on a blocked bead once more
  dx-dispatch --retry bd-a1b2 --branch feature-xyz "Keep the old API"

All else about the fleet is dx-fleet's: dx-fleet --help.

exit codes:
{_exit_codes()}
"""


@dataclass(frozen=True)
class DispatchOptions(Options):
    """Hand a coding task to the OpenCode server of a VM and follow it to its end."""

    words: tuple[str, ...] = words(
        "VM REPO TASK",
        help="VM (default: default_vm of the file), repo name, task; - reads the task from standard input",
        complete=vm_names,
    )
    all: bool = flag("--all", help="dispatch to every enabled VM in parallel")
    session: str | None = option(
        "--session",
        metavar="SES",
        help="continue this OpenCode session instead of a new one; one that works in a worktree of ours needs"
        " its --branch as well",
    )
    id: str | None = option(
        "--id",
        metavar="ID",
        help="name of the dispatch; the same id again joins or reports it, and sends nothing twice",
    )
    bead: str | None = option(
        "--bead",
        metavar="BEAD",
        help="claim this bead and work on it, or go on with what a dispatcher that is gone began;"
        " without a task its title and description are the task",
    )
    retry: str | None = option(
        "--retry",
        metavar="BEAD",
        help="work once more on a bead that was blocked by a dispatch, in its place and on its branch; a text"
        " after it is a new instruction for the agent, which learns how the try before ended",
    )
    same_session: bool = flag(
        "--same-session", help="with --retry: go on in the session of the try before, instead of a new one"
    )
    branch: str | None = option(
        "--branch",
        metavar="NAME",
        help="work on this git branch, in its own worktree (default: dx/BEAD)",
    )
    verify: str | None = option(
        "--verify",
        metavar="CMD",
        help="decide by this shell command whether the work is good (default: verify of the repo)",
    )
    no_verify: bool = flag("--no-verify", help="verify nothing: the agent's word has to do")
    expect_changes: bool = flag("--expect-changes", help="work that changes nothing is no work")
    push: bool = flag("--push", help="push the branch once it is verified, never by force")
    force: bool = flag(
        "--force", help="work on the bead although it is blocked, deferred, an epic, or waits for another"
    )
    takeover: bool = flag(
        "--takeover", help="go on although another orchestrator is at work and the fleet allows one"
    )
    agent: str | None = option("--agent", metavar="NAME", help="OpenCode agent, such as build or plan")
    model: str | None = option("--model", metavar="PROVIDER/MODEL", help="model for the task")
    title: str | None = option(
        "--title", metavar="TEXT", help="title of the session (default: the task, shortened)"
    )
    no_wait: bool = flag("--no-wait", help="return as soon as the task is sent")
    timeout: float | None = option(
        "--timeout",
        type=seconds,
        metavar="TIME",
        help="stop the task after this time, such as 90, 10m or 1h30m (default 1h; 0: never)",
    )
    stall_timeout: float | None = option(
        "--stall-timeout",
        type=seconds,
        metavar="TIME",
        help="stop it when nothing moves for so long (default 10m; 0: never)",
    )
    max_cost: float | None = option(
        "--max-cost", type=amount, metavar="USD", help="stop it above this cost (0: above nothing)"
    )
    max_steps: int | None = option(
        "--max-steps",
        type=count,
        metavar="N",
        help="stop it above so many steps of the agent (default 300; 0: never)",
    )
    preflight_timeout: float | None = option(
        "--preflight-timeout",
        type=seconds,
        metavar="TIME",
        help="give up a VM that stays silent for so long before anything is sent (default 20s)",
    )
    on_input: str | None = option(
        "--on-input",
        choices=("ask", "fail", "reject"),
        help="when the agent waits for a permission or an answer: ask here, and follow on until it has one"
        " from anywhere (default on a terminal); end as needs_input (default elsewhere); or reject it",
    )
    dry_run: bool = flag("--dry-run", help="look at everything, send nothing")
    slack: bool | None = option(
        "--slack", action=argparse.BooleanOptionalAction, help="tell the dispatch in Slack"
    )
    progress_json: bool = flag(
        "--progress-json", help="print what happens on standard error, as a line of JSON each"
    )

    @property
    def any_bead(self) -> str | None:
        """The bead to work on, for the first time or again."""
        return self.bead if self.bead is not None else self.retry

    def check(self) -> None:
        """Raises UsageError for options that can't go together, or are no names of anything."""
        self._check_bead()
        if self.all and self.session:
            raise UsageError(
                "--session belongs to one VM and can't go with --all",
                reason_code="session_and_all",
                next_action="name the VM of the session",
            )
        if self.verify is not None and (self.no_verify or not self.verify.strip()):
            raise UsageError(
                "--verify needs a command, and does not go with --no-verify",
                reason_code="usage",
                next_action="leave one of them out",
            )
        if self.all and self.branch is not None:
            raise UsageError(
                "a branch is worked on by one VM, so --branch can't go with --all",
                reason_code="branch_and_all",
                next_action="leave --branch out: each VM then has a branch of its own with --expect-changes",
            )
        if self.words and not is_text(self.words[-1]):  # more is known of a task than of other words
            check_task(self.words[-1])

    def _check_bead(self) -> None:
        if self.bead is not None and self.retry is not None:
            raise UsageError(
                "--bead and --retry don't go together", reason_code="usage", next_action="choose one"
            )
        if self.same_session and (self.retry is None or self.session is not None or self.branch is not None):
            raise UsageError(
                "--same-session goes with --retry, and a session stays in its directory and on its branch",
                reason_code="usage",
                next_action="leave out --session and --branch, or --same-session for a new session",
            )
        bead = self.any_bead
        if bead is None:
            if self.takeover or self.force:
                raise UsageError(
                    "--takeover and --force belong to a bead",
                    reason_code="usage",
                    next_action="add --bead BEAD",
                )
            return
        if not is_bead_id(bead):
            raise UsageError(
                f"{bead[:80]!a} is not a full bead id such as bd-a1b2",
                reason_code="bad_bead",
                next_action=CHECK_IT,
            )
        if self.all:
            raise UsageError(
                "a bead is worked on by one VM, so it can't go with --all",
                reason_code="bead_and_all",
                next_action=f"name the VM: dx-dispatch VM REPO --bead {bead}",
            )
