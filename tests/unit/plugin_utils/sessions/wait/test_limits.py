# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Our own limits stop a session, and no other one, and say so."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.event_kind import EventKind
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.outcome import Outcome, State
from ansible_collections.dx.fleet.plugins.plugin_utils.sessions.wait import Limits, pace

from tests.unit.fake_opencode import tool

from .watched import NO_LIMITS, Watched


def limits(**given_: Any) -> Limits:
    """These limits and no other."""
    return replace(NO_LIMITS, **given_)


async def limited(watched: Watched, after_s: float, limits: Limits) -> Outcome:
    """The outcome once so much time has passed."""
    await watched.begin(limits)
    assert watched.waits
    watched.clock.leap(after_s)
    return await watched.outcome()


async def test_a_session_that_takes_too_long_is_stopped_and_what_was_learned_is_kept(deaf: Watched) -> None:
    deaf.session.step("a", tool("c", exit=1), finish="tool-calls", cost=0.5)
    outcome = await limited(deaf, 100, limits(timeout_s=100))
    assert (outcome.state, outcome.reason_code) == (State.TIMED_OUT, "timeout")
    assert outcome.message_to_human == "not finished after 100 s"
    assert deaf.fake.aborted == ["ses_1"]
    assert (outcome.evidence.cost, outcome.evidence.tool_count) == (0.5, 1)


async def test_the_limit_of_time_needs_no_look_to_be_due(watched: Watched) -> None:
    await watched.begin(limits(timeout_s=0.1))
    assert (await watched.outcome()).state is State.TIMED_OUT


async def test_a_session_of_which_nothing_moves_is_stopped(deaf: Watched) -> None:
    await deaf.begin(limits(stall_timeout_s=60))
    for _ in range(5):
        await deaf.passes(11)
    assert deaf.waits
    deaf.clock.leap(6)
    outcome = await deaf.outcome()
    assert (outcome.state, outcome.reason_code) == (State.STALLED, "stall_timeout")
    assert deaf.fake.aborted == ["ses_1"]


async def moving(watched: Watched, monkeypatch: pytest.MonkeyPatch, move: Callable[[int], None]) -> bool:
    """Whether a session that moves so every 25 s is still waited for after two minutes."""
    monkeypatch.setattr(pace, "LOOK_EVERY_S", 0.02)
    await watched.begin(limits(stall_timeout_s=60))
    for number in range(6):
        move(number)
        await asyncio.sleep(0.05)
        if not watched.waits:
            return False
        watched.clock.leap(25)
        await asyncio.sleep(0.05)
    await watched.cancel()
    return True


@pytest.mark.parametrize("kind", ["server.heartbeat", "session.status", "session.updated"])
async def test_heartbeats_and_the_like_are_no_sign_of_life(
    watched: Watched, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    properties = {"sessionID": "ses_1", "status": {"type": "busy"}}
    assert not await moving(watched, monkeypatch, lambda _: watched.fake.tell(kind, properties))
    assert (await watched.outcome()).state is State.STALLED


async def test_a_session_that_moves_is_not_stalled(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    delta = {"sessionID": "ses_1", "delta": "x"}
    assert await moving(watched, monkeypatch, lambda _: watched.fake.tell("message.part.delta", delta))


async def test_a_session_that_moves_unheard_is_not_stalled(
    deaf: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    def move(number: int) -> None:
        deaf.session.step(f"a{number}", finish="tool-calls")

    assert await moving(deaf, monkeypatch, move)


async def test_an_endless_loop_is_stopped_by_its_steps(watched: Watched) -> None:
    await watched.begin(limits(max_steps=3))
    for number in range(4):
        watched.session.step(f"a{number}", finish="unknown", cost=0.1)
        info = watched.session.messages[-1]["info"]
        watched.fake.tell("message.updated", {"sessionID": "ses_1", "info": info}, times=2)
    watched.fake.tell("session.idle", {"sessionID": "ses_1"})
    outcome = await watched.outcome()
    assert (outcome.state, outcome.reason_code) == (State.ABORTED, "max_steps")
    assert watched.fake.aborted == ["ses_1"]
    assert watched.lines(EventKind.ABORTING) == ["[epyc6] Stopping: more than 3 steps"]


async def test_an_endless_loop_is_stopped_though_nothing_was_heard_of_it(deaf: Watched) -> None:
    for number in range(4):
        deaf.session.step(f"a{number}", finish="unknown")
    outcome = await limited(deaf, pace.COUNT_EVERY_S, limits(max_steps=3))
    assert (outcome.state, outcome.reason_code) == (State.ABORTED, "max_steps")


async def test_as_many_steps_as_are_allowed_are_allowed(deaf: Watched) -> None:
    for number in range(3):
        deaf.session.step(f"a{number}", finish="unknown")
    await deaf.begin(limits(max_steps=3))
    await deaf.until(lambda: deaf.fake.count("GET", "/session/ses_1/message") > 3)
    assert deaf.waits
    await deaf.cancel()


async def test_a_session_that_costs_too_much_is_stopped(deaf: Watched) -> None:
    deaf.session.step("a", finish="tool-calls", cost=0.3)
    deaf.session.step("b", finish="tool-calls", cost=0.3)
    outcome = await limited(deaf, pace.COUNT_EVERY_S, limits(max_cost=0.5))
    assert (outcome.state, outcome.reason_code) == (State.ABORTED, "max_cost")
    assert "cost 0.6, more than 0.5" in outcome.message_to_human


async def test_a_stop_that_is_not_confirmed_is_said(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenCode answers an abort with true, whatever came of it."""
    monkeypatch.setattr(pace, "ABORT_S", 0.5)
    watched.fake.stops_when_aborted = False
    await watched.begin(limits(timeout_s=0.1))
    outcome = await watched.outcome()
    assert (outcome.state, outcome.reason_code) == (State.TIMED_OUT, "timeout_unconfirmed")
    assert "the abort is not confirmed" in outcome.message_to_human
    assert len(watched.fake.aborted) > 1


async def test_a_limit_takes_its_own_session_and_no_other(deaf: Watched) -> None:
    deaf.add("ses_2", "/srv/2")
    for number in range(4):
        deaf.session.step(f"a{number}", finish="unknown")
    await deaf.begin(limits(max_steps=3), "ses_1", "ses_2")
    await deaf.until(lambda: deaf.fake.aborted == ["ses_1"])
    deaf.finish("ses_2", silently=True)
    assert [outcome.state for outcome in await deaf.outcomes()] == [State.ABORTED, State.COMPLETED]
    assert deaf.fake.aborted == ["ses_1"]
