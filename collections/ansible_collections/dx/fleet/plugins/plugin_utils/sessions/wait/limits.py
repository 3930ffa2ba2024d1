# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Our own limits on a session. OpenCode 1.18 has none: neither steps, nor cost, nor time."""

from __future__ import annotations

from dataclasses import dataclass

from ...domain.outcome import State
from ..turn import Verdict
from .follower import Follower

__all__ = ["Limits", "exceeded"]


@dataclass(frozen=True)
class Limits:
    """Times in seconds, cost in US dollars; None is no limit.

    ``stall_timeout_s`` runs from the last event of substance: a step, a tool or text that moved.
    ``server_gone_s`` is how long a server may refuse connections, ``server_silent_s`` how long it may not
    answer (20 s were seen under load), before its sessions are given up.
    """

    timeout_s: float | None = 3600
    stall_timeout_s: float | None = 600
    max_cost: float | None = None
    max_steps: int | None = 300
    server_gone_s: float = 20
    server_silent_s: float = 60


def exceeded(limits: Limits, follower: Follower, *, began: float, now: float) -> Verdict | None:
    """The verdict on a session that is beyond a limit, its subagents' steps and cost included.

    Args:
        limits: The limits.
        follower: The session.
        began: Monotonic time at which the wait began.
        now: Monotonic time.
    """
    if limits.timeout_s is not None and now - began >= limits.timeout_s:
        return Verdict(State.TIMED_OUT, "timeout", f"not finished after {limits.timeout_s:g} s")
    if limits.stall_timeout_s is not None and now - follower.moved_at >= limits.stall_timeout_s:
        return Verdict(State.STALLED, "stall_timeout", f"nothing moved for {limits.stall_timeout_s:g} s")
    if limits.max_steps is not None and len(follower.steps) > limits.max_steps:
        return Verdict(State.ABORTED, "max_steps", f"more than {limits.max_steps} steps")
    if limits.max_cost is not None and follower.cost > limits.max_cost:
        words = f"cost {follower.cost:g}, more than {limits.max_cost:g}"
        return Verdict(State.ABORTED, "max_cost", words)
    return None
