# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which abandoned claims end, and how. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..domain.outcome import shown_state
from .claim_sessions import SessionSeen, no_dispatch
from .dispatcher import Liveness

__all__ = ["Decision", "decide"]


@dataclass(frozen=True)
class Decision:
    """What is to become of a claim (``kept``, ``released`` or ``blocked``), and what was found."""

    state: str
    found: str


def decide(claim: Mapping[str, Any], seen: SessionSeen, *, life: Liveness, ttl_s: float) -> Decision:
    """What is to become of a claim.

    Args:
        claim: As the module C(beads_info) tells it.
        seen: What its session is doing.
        life: Whether its dispatcher lives.
        ttl_s: Seconds for which every claim is left alone.
    """
    if claim["dispatch"] is None:
        return Decision("kept", f"no dispatch holds it: {no_dispatch(claim)}")
    name = claim["session"]
    where = f"its session on {claim['vm']}" if name is None else f"session {name} on {claim['vm']}"
    if claim["status"] != "in_progress":
        return Decision("kept", f"it is {claim['status']}, which a person decides")
    if seen.maybe_works:
        words = {
            "unknown": f"{where} can't be asked ({seen.why})",
            "needs_input": f"{where} waits for a person",
        }
        return Decision("kept", words.get(seen.state, f"{where} works"))
    age = claim["held_s"]
    if age is None or age < ttl_s:
        young = f"its dispatcher has had it for less than {ttl_s:g} s"
        return Decision("kept", "its age is unknown" if age is None else young)
    if life is Liveness.ALIVE:
        return Decision("kept", "its dispatcher lives")
    if seen.state == "gone":
        return Decision("released", f"{where} does not exist")
    verdict = seen.verdict
    if verdict is None or verdict.reason_code == "prompt_not_stored":
        return Decision("released", f"{where} never got the task")
    return Decision(
        "blocked",
        f"{where} is idle, and nobody ended the claim: {shown_state(verdict.state)}: {verdict.message}",
    )
