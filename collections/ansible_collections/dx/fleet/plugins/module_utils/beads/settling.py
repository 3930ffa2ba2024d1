# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a claim ends, by the outcome of its dispatch."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

__all__ = ["End", "end_of"]

_CLOSED = ("verified", "completed")
_BLOCKED = ("failed", "lost", "aborted", "stalled", "timed_out", "no_op")
REASON_LIMIT = 1000  # characters


@dataclass(frozen=True)
class End:
    """What the bead becomes: ``closed``, ``blocked``, ``released``, or ``held``: the claim goes on."""

    state: str
    reason: str


def end_of(outcome: t.Mapping[str, t.Any], *, sent: bool, begun_now: bool) -> End:
    """What becomes of the claim.

    Args:
        outcome: The outcome, as the tasks of the flow return it.
        sent: Whether the task was placed, so that the outcome is that of its session.
        begun_now: Whether this run made the claim. One that it only went on with may have a session that
            works, whatever kept this run from seeing it.
    """
    state, code = str(outcome.get("state")), str(outcome.get("reason_code"))
    words = " ".join(str(outcome.get("message_to_human") or code).replace("\0", " ").split())
    reason = f"{state}: {words}"[:REASON_LIMIT]
    if not sent:
        maybe_sent = code == "effect_unknown" or state not in ("failed", "refused", "unreachable")
        return End("held" if maybe_sent or not begun_now else "released", reason)
    if state in _CLOSED:
        return End("closed", reason)
    if state in _BLOCKED and not code.endswith("_unconfirmed"):
        return End("blocked", reason)
    return End("held", reason)  # it works, it waits for a person, or it can't be seen
