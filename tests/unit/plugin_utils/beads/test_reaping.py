# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which abandoned claims end: never one whose session may work."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.beads.claim_sessions import SessionSeen
from ansible_collections.dx.fleet.plugins.plugin_utils.beads.dispatcher import Liveness
from ansible_collections.dx.fleet.plugins.plugin_utils.beads.reaping import Decision, decide
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.outcome import State
from ansible_collections.dx.fleet.plugins.plugin_utils.sessions.turn import Verdict

DONE = Verdict(State.COMPLETED, "completed", "the agent wrote: yes")
NEVER = Verdict(State.FAILED, "prompt_not_stored", "no trace")
MAYBE_WORKS = ("busy", "retry", "needs_input", "unknown")


def decided(
    seen: SessionSeen, *, life: Liveness = Liveness.GONE, held_s: float | None = 7200, **more: Any
) -> Decision:
    claim = {
        "bead": "bd-1",
        "vm": "epyc6",
        "dispatch": "d1",
        "session": "ses_1",
        "status": "in_progress",
        "age_s": 1e6,
        **more,
    }
    return decide({**claim, "held_s": held_s}, seen, life=life, ttl_s=3600)


@pytest.mark.parametrize(
    ("seen", "state", "found"),
    [
        (SessionSeen("gone"), "released", "does not exist"),
        (SessionSeen("idle", NEVER), "released", "never got the task"),
        (SessionSeen("idle"), "released", "never got the task"),
        (SessionSeen("idle", DONE), "blocked", "the agent wrote: yes"),
        (SessionSeen("idle", Verdict(State.ABORTED, "aborted", "it was aborted")), "blocked", "aborted"),
        (SessionSeen("idle", Verdict(State.LOST, "server_restarted", "it died")), "blocked", "it died"),
    ],
)
@pytest.mark.parametrize("life", [Liveness.GONE, Liveness.UNSEEN])
def test_what_nobody_works_on_ends_with_what_was_found(
    seen: SessionSeen, state: str, found: str, life: Liveness
) -> None:
    decision = decided(seen, life=life)
    assert decision.state == state
    assert found in decision.found
    assert "ses_1 on epyc6" in decision.found


@pytest.mark.parametrize("state", MAYBE_WORKS)
@pytest.mark.parametrize("life", [Liveness.GONE, Liveness.UNSEEN])
@pytest.mark.parametrize("held_s", [1e9, None])
def test_what_may_work_is_kept_however_old(state: str, life: Liveness, held_s: float | None) -> None:
    decision = decided(SessionSeen(state, why="refused"), life=life, held_s=held_s)
    assert decision.state == "kept"
    assert "ses_1 on epyc6" in decision.found


def test_of_a_claim_that_names_no_session_none_is_named() -> None:
    decision = decided(SessionSeen("unknown", why="the claim names none"), session=None)
    assert decision == Decision("kept", "its session on epyc6 can't be asked (the claim names none)")


@pytest.mark.parametrize("seen", [SessionSeen("gone"), SessionSeen("idle", DONE)])
@pytest.mark.parametrize(
    "why",
    [
        {"life": Liveness.ALIVE},
        {"dispatch": None},
        {"held_s": 3599},
        {"held_s": None},
        {"status": "blocked"},
        {"status": "open"},
    ],
)
def test_what_is_young_or_has_a_dispatcher_or_is_not_under_way_is_kept(
    seen: SessionSeen, why: dict[str, Any]
) -> None:
    """``held_s`` is since the last one who took it in hand, however long ago it was claimed."""
    assert decided(seen, **why).state == "kept"
