# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the claim of a dispatch ends, and the outcome once its bead was written, or could not be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .errors import FleetError
from .next_action import advise, bead_command, show_bead_command
from .outcome import FINISHED, Outcome, State
from .precedence import returned

__all__ = ["End", "end_of", "is_over", "settled"]

_FINISHED = ("verified", "completed")
_BLOCKED = ("failed", "lost", "aborted", "stalled", "timed_out", "no_op", "unverified")
REASON_LIMIT = 1000  # characters


@dataclass(frozen=True)
class End:
    """What the bead becomes: ``closed``, ``blocked``, ``released``, or ``held``: the claim goes on."""

    state: str
    reason: str


def end_of(outcome: Mapping[str, Any], *, sent: bool, begun_now: bool, close_on: str = "verified") -> End:
    """What becomes of the claim.

    Args:
        outcome: The outcome, as the tasks of the flow return it.
        sent: Whether the task was placed, so that the outcome is that of its session.
        begun_now: Whether this run made the claim. One that it only went on with may have a session that
            works, whatever kept this run from seeing it.
        close_on: The outcome that closes the bead: ``verified``, or ``completed``, the agent's own word.
    """
    state, code = str(outcome.get("state")), str(outcome.get("reason_code"))
    words = " ".join(str(outcome.get("message_to_human") or code).replace("\0", " ").split())
    reason = f"{state}: {words}"[:REASON_LIMIT]
    if not sent:
        maybe_sent = code == "effect_unknown" or state not in ("failed", "refused", "unreachable")
        return End("held" if maybe_sent or not begun_now else "released", reason)
    if state in _FINISHED:
        if state == "verified" or close_on == "completed":
            return End("closed", reason)
        return End("blocked", f"{FINISHED}: {words}"[:REASON_LIMIT])
    if state in _BLOCKED and not code.endswith("_unconfirmed"):
        return End("blocked", reason)
    return End("held", reason)  # it works, it waits for a person, or it can't be seen


def is_over(outcome: Mapping[str, Any], sent: Mapping[str, Any]) -> bool:
    """Whether nobody works on it any more, as far as was seen.

    Args:
        outcome: The outcome.
        sent: What the step that sends the task returned.
    """
    return end_of(outcome, sent=bool(returned(sent)), begun_now=True).state != "held"


def settled(
    told: Mapping[str, Any],
    bead: str,
    asked: Mapping[str, Any],
    *,
    ended: str | None = None,
    noted: str | None = None,
    failure: FleetError | None = None,
) -> Outcome:
    """The outcome with its bead, and the command that continues it.

    Args:
        told: The outcome as plain data; empty where there was none.
        bead: The bead.
        asked: What the run was asked for.
        ended: What the claim became: ``closed``, ``blocked``, ``released`` or ``held``.
        noted: The status that somebody gave the bead in the middle of the dispatch. It stays, and the result
            is a note in the bead.
        failure: Why the bead could not be updated. The outcome then is no success: the bead differs.
    """
    if not told:
        outcome = Outcome(State.FAILED, "own_fault", "the run ended without an outcome")
    else:
        outcome = Outcome.from_dict(told)
    outcome = outcome.with_(bead=bead)
    if failure is not None:
        lost = failure.reason_code == "claim_lost"
        return outcome.with_(
            state=State.FAILED if outcome.state.good else outcome.state,
            reason_code="claim_lost" if lost else "bead_not_ended",
            message_to_human=f"{outcome.message_to_human}; but bead {bead} is not updated: {failure.message}",
            next_action=failure.next_action if lost else bead_command(asked, bead, outcome.vm),
        )
    if noted is not None:
        return outcome.with_(
            message_to_human=f"{outcome.message_to_human}; bead {bead} was changed meanwhile and stays as it"
            f" is ({noted}), with a note of this result",
            next_action=show_bead_command(bead),
        )
    return advise(outcome, asked, ended=ended)
