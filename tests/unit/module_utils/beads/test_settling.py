# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a claim ends: every outcome, sent or not, begun by this run or gone on with."""

from __future__ import annotations

import pytest
from ansible_collections.dx.fleet.plugins.module_utils.beads.settling import REASON_LIMIT, end_of
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.outcome import State

SENT = {
    State.VERIFIED: "closed",
    State.COMPLETED: "closed",
    State.NO_OP: "blocked",
    State.FAILED: "blocked",
    State.LOST: "blocked",
    State.ABORTED: "blocked",
    State.STALLED: "blocked",
    State.TIMED_OUT: "blocked",
    State.NEEDS_INPUT: "held",
    State.RUNNING: "held",
    State.PLANNED: "held",
    State.REFUSED: "held",
    State.UNREACHABLE: "held",
}
SURELY_NOT_SENT = (State.FAILED, State.REFUSED, State.UNREACHABLE)


def test_the_table_has_every_state() -> None:
    assert set(SENT) == set(State)


@pytest.mark.parametrize("begun_now", [True, False])
@pytest.mark.parametrize("state", State)
def test_what_was_sent_ends_as_its_session_did(state: State, begun_now: bool) -> None:
    assert (
        end_of({"state": state.value, "reason_code": "x"}, sent=True, begun_now=begun_now).state
        == SENT[state]
    )


@pytest.mark.parametrize("state", State)
def test_what_was_not_sent_is_given_back_only_where_this_run_claimed_it(state: State) -> None:
    outcome = {"state": state.value, "reason_code": "x"}
    wanted = "released" if state in SURELY_NOT_SENT else "held"
    assert end_of(outcome, sent=False, begun_now=True).state == wanted
    assert end_of(outcome, sent=False, begun_now=False).state == "held"


def test_what_may_have_been_sent_is_never_given_back() -> None:
    outcome = {"state": "unreachable", "reason_code": "effect_unknown"}
    assert end_of(outcome, sent=False, begun_now=True).state == "held"


@pytest.mark.parametrize("state", ["timed_out", "stalled", "aborted"])
def test_an_abort_that_is_not_confirmed_leaves_the_claim(state: str) -> None:
    outcome = {"state": state, "reason_code": "timeout_unconfirmed"}
    assert end_of(outcome, sent=True, begun_now=True).state == "held"


@pytest.mark.parametrize("sent", [True, False])
@pytest.mark.parametrize(
    "outcome", [{}, {"state": None}, {"state": 7}, {"state": ["completed"]}, {"state": ""}]
)
def test_an_outcome_that_says_nothing_changes_nothing(outcome: dict[str, object], sent: bool) -> None:
    assert end_of(outcome, sent=sent, begun_now=True).state == "held"


def test_the_reason_is_one_line_of_bounded_length_without_nul() -> None:
    words = "a\nb\0c \t d " + "x" * 5000
    reason = end_of({"state": "failed", "message_to_human": words}, sent=True, begun_now=True).reason
    assert reason.startswith("failed: a b c d xxx")
    assert len(reason) == REASON_LIMIT
