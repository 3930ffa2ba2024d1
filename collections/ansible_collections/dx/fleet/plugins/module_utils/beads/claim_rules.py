# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may claim a bead, and when. No I/O."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass
from datetime import datetime, timezone

from .bead import Bead
from .errors import AlreadyAssignedError, AlreadyClaimed, BeadNotReady, NotClaimable, OrchestratorActive
from .record import Claimant, age_s, dispatch_of, holds, summary_of, text_field, vm_of

__all__ = ["PLAIN", "Policy", "check_alone", "check_free", "check_ready", "check_vm"]


@dataclass(frozen=True)
class Policy:
    """What a claim may do to others.

    ``gone``: the dispatcher that is known to be gone ("": none is named), whose claim may be taken over.
    ``retry``: a bead that a dispatch left blocked may be claimed anew. ``force``: so may one that is blocked,
    deferred or an epic, or waits for another. ``alone``: no claim of another orchestrator may be under way,
    except on ``idle`` beads, whose sessions are known not to work. ``takeover``: go on all the same; the bead
    gets a note of it.
    """

    gone: str | None = None
    retry: bool = False
    force: bool = False
    alone: bool = False
    idle: frozenset[str] = frozenset()
    takeover: bool = False


PLAIN = Policy()


def check_alone(policy: Policy, others: t.Sequence[dict[str, t.Any]]) -> None:
    """Raises OrchestratorActive where the policy allows no other orchestrator, and there is one."""
    active = [claim for claim in others if claim["bead"] not in policy.idle]
    if not policy.alone or policy.takeover or not active:
        return
    first = active[0]
    raise OrchestratorActive(
        f"{first['orchestrator'] or 'an unknown orchestrator'} has been at work since"
        f" {first['claimed_at']} ({', '.join(claim['bead'] for claim in active)}), and the fleet allows"
        " one orchestrator at a time (--takeover goes on all the same)",
        "dx-fleet status",
        holder=first["orchestrator"],
        since=first["claimed_at"],
        others=active,
    )


def check_vm(bead: Bead, claimant: Claimant, now: datetime) -> None:
    """Raises AlreadyClaimed where the claim to go on with is on another VM than the one that is wanted."""
    if vm_of(bead) != claimant.vm:
        raise AlreadyClaimed(
            f"{bead.id} is claimed on {vm_of(bead)}, not on {claimant.vm}",
            f"dx-dispatch {vm_of(bead)} --bead {bead.id}",
            holder=dispatch_of(bead),
            claim=summary_of(bead, now),
        )


def check_free(bead: Bead, claimant: Claimant, policy: Policy, now: datetime) -> None:
    """Whether nobody has the bead, and a dispatch may have it.

    Raises:
        AlreadyClaimed: A dispatch holds it.
        AlreadyAssignedError: It is assigned to another, or in progress without a claim of ours.
        BeadNotReady: It is blocked or deferred, by a person.
        NotClaimable: It is closed, or was left blocked by a dispatch, or has any other status.
    """
    if holds(bead):
        raise AlreadyClaimed(
            f"{bead.id} is claimed by dispatch {dispatch_of(bead)} on {bead.assignee or 'nobody'}"
            f" ({text_field(bead, 'orchestrator') or 'unknown orchestrator'}, {_age(bead, now)})",
            f"bd show {bead.id}",
            holder=dispatch_of(bead),
            claim=summary_of(bead, now),
        )
    ours = holds(bead, ("blocked",))
    if bead.status == "open" or (ours and policy.retry):
        _check_assignee(bead, claimant, ours=ours)
        return
    if bead.status == "in_progress":
        raise AlreadyAssignedError(
            f"{bead.id} is in progress, assigned to {bead.assignee or 'nobody'}, and no dispatch holds it:"
            f" somebody claimed it by hand, or set it so. Where nobody works on it: {_freed(bead)}",
            f"bd show {bead.id}",
            holder=bead.assignee or None,
        )
    if not ours and bead.status != "closed":
        _check_assignee(bead, claimant, ours=ours)
    if ours or bead.status not in ("blocked", "deferred"):
        how = "a dispatch left it so" if ours else f"to have it worked on: bd update {bead.id} -s open"
        raise NotClaimable(
            f"{bead.id} is {bead.status}, not open ({how})",
            f"dx-dispatch --retry {bead.id}" if ours else f"bd show {bead.id}",
            status=bead.status,
            claim=summary_of(bead, now) if ours else None,
        )


def check_ready(bead: Bead, unclosed: t.Mapping[str, Bead], policy: Policy, now: datetime) -> None:
    """Whether a bead that nobody has can be worked on by now.

    Args:
        bead: The bead.
        unclosed: Every bead that is not closed, by id.
        policy: With ``force`` it is not asked; with ``retry`` blocked by a dispatch is as good as open.
        now: Wall clock.

    Raises:
        BeadNotReady: It is blocked, deferred, an epic, or waits for another.
    """
    reason = None if policy.force else _unready(bead, unclosed, policy, now)
    if reason is not None:
        raise BeadNotReady(
            f"{bead.id} {reason} (--force has it done all the same)",
            f"bd show {bead.id}",
            status=bead.status,
        )


def _check_assignee(bead: Bead, claimant: Claimant, *, ours: bool) -> None:
    if bead.assignee and bead.assignee != claimant.vm and not ours:
        raise AlreadyAssignedError(
            f"{bead.id} is assigned to {bead.assignee} (to free it: {_freed(bead)})",
            f"bd show {bead.id}",
            holder=bead.assignee,
        )


def _unready(bead: Bead, unclosed: t.Mapping[str, Bead], policy: Policy, now: datetime) -> str | None:
    """Why it can't be worked on, as the end of a sentence; None: it can."""
    if bead.issue_type == "epic":
        return "is an epic: its parts are beads of their own"
    until = _moment(bead.defer_until)
    if bead.status == "deferred" or (until is not None and until > now):
        return f"is deferred until {bead.defer_until}" if bead.defer_until else "is deferred"
    waits = _waits(bead, unclosed)
    if bead.status == "blocked" and not (policy.retry and holds(bead, ("blocked",))):
        return "is blocked" + (f": it {waits}" if waits else ", by no dispatch")
    return waits


def _waits(bead: Bead, unclosed: t.Mapping[str, Bead]) -> str | None:
    """For which beads it waits itself, or as a part of what waits."""
    line, seen = [bead], {bead.id}
    while line:
        each = line.pop(0)
        blockers = [other for other in each.waits_for if other in unclosed]
        if blockers:
            whose = "waits" if each is bead else f"is a part of {each.id}, which waits"
            return f"{whose} for {', '.join(blockers)}, not closed yet"
        parents = [unclosed[name] for name in each.parents if name in unclosed and name not in seen]
        seen.update(parent.id for parent in parents)
        line += parents
    return None


def _moment(text: str) -> datetime | None:
    """A time as `bd` writes it; None for what is none."""
    try:
        found = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=timezone.utc)


def _freed(bead: Bead) -> str:
    """The command that makes it nobody's."""
    return f"bd update {bead.id} -s open -a ''"


def _age(bead: Bead, now: datetime) -> str:
    age = age_s(bead, now)
    return "since an unknown time" if age is None else f"for {age:.0f} s"
