# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``dx-fleet reap``: end the claims that nobody works on, and the worktrees of dispatches that ended."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ...launch.in_process import InProcess
from ...launch.interrupt import leaving_by
from ...launch.playbook_run import PlaybookRun
from ..claims import claim_lines, claims_of
from ..command import Command
from ..fleet_source import find_fleet
from ..options import Options, flag, option, seconds
from ..report import Report, graded, left, outcomes_of

__all__ = ["COMMAND", "ReapOptions", "reap"]


@dataclass(frozen=True)
class ReapOptions(Options):
    """End the claims that nobody works on any more, and the worktrees of dispatches that ended.

    A worktree goes when nobody has used it for as many days as keep_worktrees of its repo says (default 14);
    its branch stays, and what is in no commit is kept under a rescue ref.
    """

    ttl: float | None = option(
        "--ttl",
        type=seconds,
        metavar="TIME",
        help="leave claims alone that are younger than this, such as 90s or 10m (default 1h)",
    )
    dry_run: bool = flag("--dry-run", help="show what would become of each of them, change nothing")


def reap(options: ReapOptions) -> Report:
    """What became of each claim and each worktree."""
    fleet, inventory = find_fleet(options.inventory)
    playbook = PlaybookRun(
        "reap",
        inventory,
        variables={"ttl": options.ttl} if options.ttl is not None else {},
        hosts=len(fleet.vms),
        check=options.dry_run,
        verbosity=0 if options.json else options.verbose,
    )
    with leaving_by(left):
        collected = InProcess().run(playbook)
    claims, trouble = claims_of(collected)
    if claims is None and not trouble:
        trouble = outcomes_of(list(collected.faults)[:1] or ["tracker"], collected, "dx-fleet reap -vvv")
    lines = claim_lines(claims) if claims != [] else ["no bead is claimed"]
    sections: dict[str, Any] = {} if claims is None else {"claims": claims}
    if collected.worktrees:
        sections["worktrees"] = [
            each for found in collected.worktrees.values() for each in found["worktrees"]
        ]
    lines += [line for vm, found in collected.worktrees.items() for line in _worktree_lines(vm, found)]
    return Report(graded(trouble, int(claims is not None)), trouble, lines, sections)


def _worktree_lines(vm: str, found: Mapping[str, Any]) -> Iterator[str]:
    if found["not_looked_at"]:
        yield f"[{vm}] its worktrees were left alone: {found['not_looked_at']}"
    yield from (f"[{vm}] {each['summary']}" for each in found["worktrees"])


COMMAND = Command(ReapOptions, reap)
