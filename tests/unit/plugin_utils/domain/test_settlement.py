# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The outcome of a bead's dispatch: the bead was told, or it is no success."""

from __future__ import annotations

import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.errors import TrackerError
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.outcome import Outcome, State
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.settlement import settled


def told(state: State, **more: str) -> dict[str, object]:
    return Outcome(state, "reason", "words", **more).as_dict()  # type: ignore[arg-type]


@pytest.mark.parametrize("state", State)
def test_a_bead_that_was_not_told_is_no_success(state: State) -> None:
    failure = TrackerError("bd did not end", reason_code="bd_timeout", next_action="see")
    outcome = settled(told(state), "bd-1", failure=failure)
    assert not outcome.state.good
    assert outcome.state is (State.FAILED if state.good else state)
    assert (outcome.reason_code, outcome.next_action) == ("bead_not_ended", "dx-dispatch --bead bd-1")
    assert outcome.message_to_human == "words; but bead bd-1 was not told: bd did not end"


def test_a_claim_that_was_lost_is_said_with_who_has_it() -> None:
    failure = TrackerError("bd-1 is another's", reason_code="claim_lost", next_action="bd show bd-1")
    outcome = settled(told(State.COMPLETED), "bd-1", failure=failure)
    assert (outcome.state, outcome.reason_code, outcome.next_action) == (
        State.FAILED,
        "claim_lost",
        "bd show bd-1",
    )


def test_without_an_outcome_it_is_our_own_fault() -> None:
    outcome = settled({}, "bd-1", ended="held")
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
    outcome = settled(told(state, **({"next_action": given} if given else {})), "bd-1", ended=ended)
    assert (outcome.state, outcome.bead, outcome.next_action) == (state, "bd-1", next_action)
