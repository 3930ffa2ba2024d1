# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A session is stopped with its subagents, or it is said that it still works; one that is to come is prevented."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.dispatch.place import place
from ansible_collections.dx.fleet.plugins.plugin_utils.dispatch.preflight import look
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.errors import DispatchError
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.outcome import State
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.request import Request
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.stop import StopMark
from ansible_collections.dx.fleet.plugins.plugin_utils.opencode.errors import OpenCodeError
from ansible_collections.dx.fleet.plugins.plugin_utils.sessions.stop import (
    Stopped,
    Wanted,
    idle_clauses,
    stop,
    stopped_by,
)

from tests.unit.clock import ManualClock
from tests.unit.fake_opencode import FakeOpenCode, answer, not_sent

REQUEST = Request(dispatch="d1", task="Run make test", vm="epyc6", repo="affordabot")
MARK = StopMark("feng", "wrong branch", 1000.0, "d1", None)
BUSY = {"type": "busy"}


@pytest.fixture
def fake() -> FakeOpenCode:
    server = FakeOpenCode()
    session = server.session("ses_1")
    session.user("msg_1", "Do it")
    session.step("a_1")
    session.status = dict(BUSY)
    return server


async def stopped(fake: FakeOpenCode, session: str = "ses_1", **wanted: Any) -> Stopped:
    async with fake.client() as server:
        return await stop(server, Wanted(session, "d1", **wanted), MARK, timeout_s=5, clock=ManualClock())


async def proven(fake: FakeOpenCode, found: Stopped) -> dict[str, bool]:
    async with fake.client() as server:
        clauses, _ = await idle_clauses(server, found, clock=ManualClock())
    return {clause.name: clause.proven for clause in clauses}


async def test_a_session_and_its_subagents_are_stopped_the_subagents_first(fake: FakeOpenCode) -> None:
    for name, parent in (("ses_2", "ses_1"), ("ses_3", "ses_2")):
        fake.session(name, parent=parent).status = dict(BUSY)
    found = await stopped(fake)
    assert (found.state, set(found.family)) == ("stopped", {"ses_1", "ses_2", "ses_3"})
    assert fake.aborted[:3] == ["ses_3", "ses_2", "ses_1"]
    assert await proven(fake, found) == {"no_session_works": True, "nothing_queued": True}


async def test_it_is_idle_since_the_first_of_the_looks_that_show_it(fake: FakeOpenCode) -> None:
    found = await stopped(fake)
    assert found.idle_at == ManualClock().now  # which the pause between the two looks moved on


@pytest.mark.parametrize(
    ("ends", "looks"),
    [("when it is aborted", 2), ("some looks later", 2), ("before anything works", 1)],
)
async def test_its_directory_can_be_looked_at_when_all_is_aborted_and_when_nothing_works(
    fake: FakeOpenCode, ends: str, looks: int
) -> None:
    session = fake.sessions["ses_1"]
    fake.stops_when_aborted = ends == "when it is aborted"
    if ends == "before anything works":
        session.status = None
    told: list[tuple[str, bool, bool]] = []

    class Clock(ManualClock):
        async def sleep(self, seconds: float) -> None:
            await super().sleep(seconds)
            if self.slept_s > 0.2:
                session.status = None

    async with fake.client() as server:
        await stop(
            server,
            Wanted("ses_1", "d1", held=True),
            MARK,
            timeout_s=5,
            may_be_idle=lambda directory, _: told.append(
                (directory, StopMark.read(session.metadata) == MARK, bool(fake.aborted))
            ),
            clock=Clock(),
        )
    when_idle = (session.directory, True, ends != "before anything works")
    assert told == [(session.directory, True, False), when_idle][-looks:]


async def test_who_follows_it_learns_who_stopped_it(fake: FakeOpenCode) -> None:
    await stopped(fake)
    async with fake.client() as server:
        mark = await stopped_by(server, "ses_1", "d1", None)
        assert mark is not None
        assert mark.words() == "stopped by feng: wrong branch"
        assert await stopped_by(server, "ses_1", "d2", "msg_2") is None  # a later task of the same session


async def test_the_note_of_who_stops_it_is_there_before_anything_ends(fake: FakeOpenCode) -> None:
    await stopped(fake)
    writes = [method + path.rpartition("/")[2] for method, path in fake.requests if method != "GET"]
    assert writes[:2] == ["PATCHses_1", "POSTabort"]


async def test_a_server_that_does_not_abort_has_its_directory_disposed_of(fake: FakeOpenCode) -> None:
    fake.stops_when_aborted = False
    found = await stopped(fake)
    assert (found.state, found.disposed) == ("stopped", True)


async def test_what_even_that_does_not_stop_still_works(fake: FakeOpenCode) -> None:
    fake.stops_when_aborted = fake.disposes = False
    found = await stopped(fake)
    assert found.state == "still_works"
    assert await proven(fake, found) == {"no_session_works": False, "nothing_queued": False}


async def test_what_has_ended_is_left_as_it_is(fake: FakeOpenCode) -> None:
    session = fake.sessions["ses_1"]
    session.step("a_2", finish="stop", text="done")
    session.status = None
    found = await stopped(fake)
    assert (found.state, fake.aborted, session.metadata) == ("already_ended", [], {})
    assert {method for method, _ in fake.requests} == {"GET"}


@pytest.mark.parametrize(
    ("last", "goes_on", "stopped_before", "state"),
    [
        ("in a step", False, True, "already_ended"),
        ("between two steps", False, True, "already_ended"),
        ("in a step that never ended", False, True, "already_ended"),
        ("before its first step", False, True, "already_ended"),
        ("between two steps", False, False, "stopped"),  # nobody knows of a stop: it may be about to go on
        ("between two steps", True, True, "stopped"),
        ("before its first step", True, True, "stopped"),
    ],
)
async def test_what_was_stopped_before_has_ended_wherever_the_abort_met_it(
    last: str, goes_on: bool, stopped_before: bool, state: str
) -> None:
    fake = FakeOpenCode()
    session = fake.session("ses_1")
    session.user("msg_1", "Do it")
    steps: dict[str, dict[str, Any]] = {
        "in a step": {"error": {"name": "MessageAbortedError", "data": {"message": "Aborted"}}},
        "between two steps": {"finish": "tool-calls"},
        "in a step that never ended": {"completed": False},
    }
    if last in steps:
        session.step("a_1", **steps[last])
    earlier = replace(MARK, by="jane", at=900.0)
    session.metadata = earlier.added_to({}) if stopped_before else {}

    class Clock(ManualClock):
        async def sleep(self, seconds: float) -> None:
            await super().sleep(seconds)
            if goes_on and self.slept_s == seconds:
                session.status = dict(BUSY)

    async with fake.client() as server:
        found = await stop(server, Wanted("ses_1", "d1"), MARK, timeout_s=5, clock=Clock())
    assert found.state == state
    if state == "already_ended":
        assert found.why == "aborted: stopped by jane: wrong branch"
        assert {method for method, _ in fake.requests} == {"GET"}
    else:
        assert StopMark.read(session.metadata) == MARK
        assert bool(fake.aborted) == goes_on


async def test_that_nothing_works_is_not_concluded_from_one_empty_answer(fake: FakeOpenCode) -> None:
    """Its turn is over and a subagent works on, of which somebody else who answers once knows nothing."""
    session = fake.sessions["ses_1"]
    session.step("a_2", finish="stop", text="done")
    session.status = None
    fake.session("ses_2", parent="ses_1").status = dict(BUSY)
    fake.add("GET", "/session/ses_1/children", answer(200, []))
    found = await stopped(fake)
    assert (found.state, fake.aborted[:1]) == ("stopped", ["ses_2"])


async def test_what_is_checked_after_its_turn_is_stopped_for_its_claim(fake: FakeOpenCode) -> None:
    session = fake.sessions["ses_1"]
    session.step("a_2", finish="stop", text="done")
    session.status = None
    assert (await stopped(fake, held=True)).state == "stopped"


@pytest.mark.parametrize("made", [False, True], ids=["before its session", "before its task"])
async def test_a_stop_that_comes_first_prevents_the_task(made: bool) -> None:
    fake = FakeOpenCode()
    async with fake.client() as server:
        plan = await look(server, REQUEST, patience_s=0)
        if made:
            await server.create_session(plan.session, plan.directory)
    found = await stopped(fake, plan.session)
    assert found.state == "prevented"
    async with fake.client() as server:
        with pytest.raises(DispatchError, match="stopped by feng: wrong branch") as refused:
            await place(server, REQUEST, plan, clock=ManualClock())
    assert (refused.value.state, refused.value.reason_code) == (State.ABORTED, "stopped")
    assert fake.count("POST", "prompt_async") == 0


async def test_a_stop_of_another_task_prevents_nothing() -> None:
    fake = FakeOpenCode()
    async with fake.client() as server:
        plan = await look(server, REQUEST, patience_s=0)
        await server.create_session(plan.session, plan.directory)
        other = StopMark("feng", "", 1.0, "d0", None)
        await server.update_session(plan.session, {"metadata": other.added_to({})})
        assert await place(server, REQUEST, plan, clock=ManualClock())


async def test_others_that_work_in_the_same_directory_are_named_and_left_alone(fake: FakeOpenCode) -> None:
    fake.session("ses_9").status = dict(BUSY)
    found = await stopped(fake)
    assert (found.state, found.others) == ("stopped", ("ses_9",))
    assert "ses_9" not in fake.aborted


async def test_a_server_that_cannot_be_asked_is_said(fake: FakeOpenCode) -> None:
    found = await stopped(fake)
    fake.add("GET", "/session/", not_sent(), times=99)
    with pytest.raises(OpenCodeError):
        await stopped(fake)
    assert await proven(fake, found) == {"no_session_works": False, "nothing_queued": False}


@pytest.mark.parametrize(
    "kept",
    [
        None,
        "x",
        {},
        {"by": 1, "why": "", "at": 1},
        {"by": "a", "why": "", "at": True},
        {"by": "a", "why": "", "at": float("nan")},
    ],
)
def test_what_is_no_mark_is_none(kept: Any) -> None:
    assert StopMark.read({"dx_stop": kept}) is None
