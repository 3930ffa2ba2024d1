# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A wait is for one turn: what the session does after it is somebody else's."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.event_kind import EventKind
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.outcome import State
from ansible_collections.dx.fleet.plugins.plugin_utils.sessions.wait import Target, pace, wait_for

from tests.unit.fake_opencode import URL, answer, own_error, tool

from .watched import NO_LIMITS, Watched

REJECTED = {"status": "error", "error": "The user rejected permission to use this tool"}


@pytest.fixture
def another(deaf: Watched) -> Watched:
    """Our turn is over; the session works for somebody else."""
    deaf.session.step("a", finish="stop", text="first done")
    deaf.session.user("msg_2", "Something else")
    deaf.session.step("b", tool("c", status="running"), completed=False)
    return deaf


async def test_a_turn_that_was_over_is_told_while_its_session_works_on_another(another: Watched) -> None:
    await another.begin()
    another.clock.leap(pace.LOOK_EVERY_S)
    outcome = await another.outcome()
    assert (outcome.state, outcome.evidence.text) == (State.COMPLETED, "first done")
    assert another.fake.aborted == []


@pytest.mark.parametrize("limit", ["timeout_s", "stall_timeout_s"])
async def test_a_limit_of_one_turn_stops_no_other(
    another: Watched, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    monkeypatch.setattr(pace, "COUNT_EVERY_S", 1000)
    monkeypatch.setattr(pace, "LOOK_EVERY_S", 500)
    await another.begin(replace(NO_LIMITS, **{limit: 100}))
    another.clock.leap(100)
    assert (await another.outcome()).state is State.COMPLETED
    assert another.fake.aborted == []


async def test_what_another_turn_asks_is_not_asked_by_this_one(another: Watched) -> None:
    another.ask()
    await another.begin()
    assert (await another.outcome()).state is State.COMPLETED


async def test_a_turn_that_is_over_just_before_its_limit_is_over(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "LOOK_EVERY_S", 1000)
    await watched.begin(replace(NO_LIMITS, timeout_s=100))
    watched.finish(silently=True)
    watched.clock.leap(100)
    assert (await watched.outcome()).state is State.COMPLETED
    assert watched.fake.aborted == []


async def test_a_turn_that_failed_just_before_its_limit_has_failed(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "LOOK_EVERY_S", 1000)
    await watched.begin(replace(NO_LIMITS, timeout_s=100))
    watched.session.step("a", error={"name": "APIError", "data": {"statusCode": 401}})
    watched.fake.idle("ses_1", silently=True)
    watched.clock.leap(100)
    assert (await watched.outcome()).reason_code == "model_unauthorized"
    assert watched.fake.aborted == []


async def test_a_step_that_ended_badly_does_not_end_a_session_that_works(watched: Watched) -> None:
    """OpenCode can be told to go on after a no."""
    await watched.begin(replace(NO_LIMITS, timeout_s=100))
    watched.session.step("a", tool("c", **REJECTED), finish="tool-calls")
    watched.clock.leap(100)
    assert (await watched.outcome()).state is State.TIMED_OUT
    assert watched.fake.aborted == ["ses_1"]


async def test_the_last_answer_is_an_end_though_it_is_one_step_too_many(deaf: Watched) -> None:
    deaf.session.step("a", finish="tool-calls")
    deaf.session.step("b", finish="stop", text="3 passed")
    await deaf.begin(replace(NO_LIMITS, max_steps=1))
    deaf.clock.leap(11)
    outcome = await deaf.outcome()
    assert (outcome.state, outcome.evidence.steps) == (State.COMPLETED, 2)
    assert deaf.fake.aborted == []


async def test_an_end_that_comes_with_the_abort_is_an_end(watched: Watched) -> None:
    """The turn goes on as it is read, and ends before the abort is there."""
    await watched.begin(replace(NO_LIMITS, timeout_s=100))

    def abort(name: str) -> None:
        watched.fake.aborted.append(name)
        watched.finish(silently=True)

    watched.fake._abort = abort  # type: ignore[method-assign]
    watched.clock.leap(100)
    assert (await watched.outcome()).state is State.COMPLETED
    assert watched.fake.aborted == ["ses_1"]


async def test_two_turns_of_one_session_have_an_outcome_each(deaf: Watched) -> None:
    deaf.session.step("a", finish="stop", text="first done")
    deaf.session.user("msg_2", "Something else")
    deaf.session.step("b", error={"name": "APIError", "data": {"statusCode": 401}})
    deaf.session.status = None
    targets = [Target("epyc6", "ses_1", f"msg_{name}", name) for name in ("ses_1", "2")]
    found = await wait_for({URL: targets}, {URL: deaf.fake.client()}, NO_LIMITS)
    assert [(each.dispatch, each.reason_code) for each in found[URL]] == [
        ("ses_1", "completed"),
        ("2", "model_unauthorized"),
    ]


async def test_a_subagent_that_works_on_keeps_the_session_at_work(deaf: Watched) -> None:
    child = deaf.fake.session("ses_sub", parent="ses_1")
    child.status = {"type": "busy"}
    await deaf.begin()
    deaf.finish(silently=True)
    for _ in range(3):
        await deaf.passes(30)
    assert deaf.waits
    child.status = None
    await deaf.looked()
    assert deaf.waits, "the session is woken by its subagent's end"
    deaf.clock.leap(pace.SETTLE_S)
    assert (await deaf.outcome()).state is State.COMPLETED


async def test_what_a_session_says_after_its_subagent_is_its_answer(deaf: Watched) -> None:
    child = deaf.fake.session("ses_sub", parent="ses_1")
    child.status = {"type": "busy"}
    await deaf.begin()
    deaf.finish(silently=True)
    await deaf.looked()
    child.status = None
    deaf.session.status = {"type": "busy"}
    deaf.session.user("msg_later", "The subagent is done", synthetic=True)
    await deaf.passes(30)
    assert deaf.waits
    deaf.session.step("b", finish="stop", text="with the subagent's result")
    deaf.fake.idle("ses_1", silently=True)
    assert (await deaf.outcome()).evidence.text == "with the subagent's result"


async def test_what_a_subagent_asks_when_its_session_is_idle_is_asked(deaf: Watched) -> None:
    deaf.fake.session("ses_sub", parent="ses_1").status = {"type": "busy"}
    deaf.ask("ses_sub")
    deaf.finish(silently=True)
    await deaf.begin()
    assert (await deaf.outcome()).state is State.NEEDS_INPUT


async def test_a_limit_stops_the_subagents_that_work_on(deaf: Watched) -> None:
    deaf.fake.session("ses_sub", parent="ses_1").status = {"type": "busy"}
    deaf.finish(silently=True)
    await deaf.begin(replace(NO_LIMITS, timeout_s=100))
    await deaf.looked()
    deaf.clock.leap(100)
    outcome = await deaf.outcome()
    assert (outcome.state, outcome.reason_code) == (State.TIMED_OUT, "timeout")
    assert "ses_sub" in deaf.fake.aborted


async def test_the_steps_of_subagents_count(deaf: Watched) -> None:
    deaf.session.step("a", {**tool("c", status="running"), "tool": "task"}, completed=False, cost=0.1)
    deaf.fake.session("ses_sub", parent="ses_1").step("s1", finish="tool-calls", cost=0.3)
    deaf.fake.session("ses_below", parent="ses_sub").step("s2", finish="tool-calls", cost=0.2)
    await deaf.begin(replace(NO_LIMITS, max_cost=0.5))
    deaf.clock.leap(11)
    outcome = await deaf.outcome()
    assert (outcome.state, outcome.reason_code) == (State.ABORTED, "max_cost")
    assert (outcome.evidence.cost, outcome.evidence.steps) == (0.6, 3)


async def test_the_steps_of_subagents_count_by_their_events(watched: Watched) -> None:
    await watched.begin(replace(NO_LIMITS, max_steps=1))
    watched.fake.tell("session.created", {"info": {"id": "ses_sub", "parentID": "ses_1"}})
    for step in ("s1", "s2"):
        info = {"id": step, "sessionID": "ses_sub", "role": "assistant", "cost": 1}
        watched.fake.tell("message.updated", {"info": info})
    watched.fake.tell("session.idle", {"sessionID": "ses_sub"})
    assert (await watched.outcome()).reason_code == "max_steps"


@pytest.mark.parametrize("path", ["/session/ses_2$", "/session/ses_2/message"])
async def test_one_session_that_makes_no_sense_leaves_the_others_alone(deaf: Watched, path: str) -> None:
    deaf.add("ses_2")
    deaf.fake.idle("ses_2", silently=True)
    deaf.fake.add("GET", path, answer(200, {"id": "ses_2"}), times=100_000)
    await deaf.begin(NO_LIMITS, "ses_1", "ses_2")
    await deaf.looked()
    deaf.clock.leap(60)
    await deaf.until(lambda: bool(deaf.ends))
    deaf.finish(silently=True)
    one, other = await deaf.outcomes()
    assert one.state is State.COMPLETED
    assert (other.state, other.reason_code) == (State.UNREACHABLE, "not_opencode")


async def test_a_request_of_a_session_that_cannot_be_read_is_not_ours(deaf: Watched) -> None:
    deaf.fake.session("ses_other")
    deaf.ask("ses_other")
    deaf.fake.add("GET", "/session/ses_other$", own_error(500, "UnknownError"), times=1000)
    await deaf.begin()
    await deaf.looked()
    assert deaf.lines(EventKind.CONNECTION_LOST) == []
    deaf.finish(silently=True)
    assert (await deaf.outcome()).state is State.COMPLETED
