# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The outcome of a dispatch whose bead was told of it, or could not be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..text.shell import command_line
from .errors import FleetError
from .outcome import Outcome, State

__all__ = ["settled"]


def settled(
    told: Mapping[str, Any], bead: str, *, ended: str | None = None, failure: FleetError | None = None
) -> Outcome:
    """The outcome with its bead, and the command that goes on with that.

    Args:
        told: The outcome as plain data; empty where there was none.
        bead: The bead.
        ended: What the claim became: ``closed``, ``blocked``, ``released`` or ``held``.
        failure: Why the bead could not be told. The outcome then is no success: the bead says another thing.
    """
    if not told:
        outcome = Outcome(State.FAILED, "own_fault", "the run ended without an outcome")
    else:
        outcome = Outcome.from_dict(told)
    outcome = outcome.with_(bead=bead)
    again = command_line(["dx-dispatch", "--bead", bead])
    if failure is not None:
        return outcome.with_(
            state=State.FAILED if outcome.state.good else outcome.state,
            reason_code="bead_not_ended" if failure.reason_code != "claim_lost" else "claim_lost",
            message_to_human=f"{outcome.message_to_human}; but bead {bead} was not told: {failure.message}",
            next_action=again if failure.reason_code != "claim_lost" else failure.next_action,
        )
    if ended == "held" and not (outcome.state is State.NEEDS_INPUT and outcome.next_action):
        return outcome.with_(next_action=again) if outcome.state is not State.RUNNING else outcome
    if ended == "blocked":
        return outcome.with_(next_action=command_line(["dx-dispatch", "--retry", bead]))
    return outcome
