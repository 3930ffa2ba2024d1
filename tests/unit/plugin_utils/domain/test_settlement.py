# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a claim ends, by every outcome; and the outcome of its dispatch, which is no success without the bead."""

from __future__ import annotations

import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.errors import TrackerError
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.outcome import Outcome, State
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.settlement import (
    REASON_LIMIT,
    end_of,
    settled,
)


def told(state: State, **more: str) -> dict[str, object]:
    return Outcome(state, "reason", "words", **more).as_dict()  # type: ignore[arg-type]


@pytest.mark.parametrize("state", State)
def test_a_bead_that_was_not_told_is_no_success(state: State) -> None:
    failure = TrackerError("bd did not end", reason_code="bd_timeout", next_action="see")
    outcome = settled(told(state), "bd-1", {}, failure=failure)
    assert not outcome.state.good
    assert outcome.state is (State.FAILED if state.good else state)
    assert (outcome.reason_code, outcome.next_action) == ("bead_not_ended", "dx-dispatch --bead bd-1")
    assert outcome.message_to_human == "words; but bead bd-1 is not updated: bd did not end"


def test_a_claim_that_was_lost_is_said_with_who_has_it() -> None:
    failure = TrackerError("bd-1 is another's", reason_code="claim_lost", next_action="bd show bd-1")
    outcome = settled(told(State.COMPLETED), "bd-1", {}, failure=failure)
    assert (outcome.state, outcome.reason_code, outcome.next_action) == (
        State.FAILED,
        "claim_lost",
        "bd show bd-1",
    )


def test_without_an_outcome_it_is_our_own_fault() -> None:
    outcome = settled({}, "bd-1", {}, ended="held")
    assert (outcome.state, outcome.reason_code) == (State.FAILED, "own_fault")
    assert outcome.next_action == "dx-dispatch --bead bd-1"


@pytest.mark.parametrize(
    ("state", "ended", "given", "next_action"),
    [
        (State.COMPLETED, "closed", None, None),
        (State.FAILED, "blocked", "fix it", "dx-dispatch --retry bd-1"),
        (State.FAILED, "released", "fix it", "fix it"),
        (State.UNREACHABLE, "held", "start it", "dx-dispatch --bead bd-1"),
        (State.NEEDS_INPUT, "held", "answer it", "answer it"),
        (State.NEEDS_INPUT, "held", None, "dx-dispatch --bead bd-1"),
        (State.RUNNING, "held", "join it", "join it"),
    ],
)
def test_the_next_action_goes_on_with_what_became_of_the_bead(
    state: State, ended: str, given: str | None, next_action: str | None
) -> None:
    outcome = settled(told(state, **({"next_action": given} if given else {})), "bd-1", {}, ended=ended)
    assert (outcome.state, outcome.bead, outcome.next_action) == (state, "bd-1", next_action)


SENT = {
    State.VERIFIED: "closed",
    State.COMPLETED: "blocked",
    State.UNVERIFIED: "blocked",
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


@pytest.mark.parametrize(
    ("state", "close_on", "ended"),
    [
        (State.VERIFIED, "verified", "closed"),
        (State.VERIFIED, "completed", "closed"),
        (State.COMPLETED, "completed", "closed"),
        (State.COMPLETED, "verified", "blocked"),
        (State.UNVERIFIED, "completed", "blocked"),
        (State.NO_OP, "completed", "blocked"),
        (State.FAILED, "completed", "blocked"),
    ],
)
def test_only_the_policy_of_the_repo_lets_the_agents_word_close_a_bead(
    state: State, close_on: str, ended: str
) -> None:
    outcome = {"state": state.value, "reason_code": "x", "message_to_human": "all done"}
    end = end_of(outcome, sent=True, begun_now=True, close_on=close_on)
    assert end.state == ended
    if state is State.COMPLETED and ended == "blocked":
        assert end.reason == "finished, not verified: all done"


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
