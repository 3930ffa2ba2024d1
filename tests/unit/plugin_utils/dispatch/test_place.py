# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A dispatch is placed once, whichever answer gets lost."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import httpx
import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.dispatch import place as submit
from ansible_collections.dx.fleet.plugins.plugin_utils.dispatch.at_most_once import TRIES
from ansible_collections.dx.fleet.plugins.plugin_utils.dispatch.preflight import Plan, look
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.errors import DispatchError
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.outcome import State
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.progress import ProgressEvent
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.progress_wording import line_of
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.request import Request

from tests.unit.clock import ManualClock
from tests.unit.fake_opencode import (
    HOME,
    FakeOpenCode,
    answer,
    answered_for,
    lost,
    not_sent,
    own_error,
    unauthorized,
)

REQUEST = Request(dispatch="d1", task="Run make test", vm="epyc6", repo="affordabot")
REF = {"name": "UnknownError", "data": {"message": "no", "ref": "err_1"}}

CREATE = ("POST", "/api/session$")
LABEL = ("PATCH", "/session/")
PROMPT = ("POST", "/prompt_async$")
CONFIRM = ("GET", "/message/msg_dx")
STEPS = [CREATE, LABEL, PROMPT, CONFIRM]


async def plan_of(fake: FakeOpenCode, request: Request = REQUEST) -> Plan:
    async with fake.client() as server:
        plan = await look(server, request, patience_s=0)
    fake.requests.clear()
    return plan


async def place(fake: FakeOpenCode, request: Request = REQUEST) -> tuple[bool, list[str]]:
    told: list[ProgressEvent] = []
    plan = await plan_of(fake, request)
    async with fake.client() as server:
        sent = await submit.place(server, request, plan, emit=told.append, clock=ManualClock())
    return sent, [line_of(event) for event in told]


async def failure(fake: FakeOpenCode, request: Request = REQUEST) -> DispatchError:
    with pytest.raises(DispatchError) as caught:
        await place(fake, request)
    error = caught.value
    assert "\n" not in error.message
    assert error.next_action
    return error


def texts(fake: FakeOpenCode) -> list[str]:
    return fake.stored(REQUEST.session, REQUEST.message)


async def test_a_dispatch_makes_one_labelled_session_and_sends_one_prompt() -> None:
    fake = FakeOpenCode()
    request = replace(
        REQUEST,
        agent="plan",
        model="scripted/main",
        title="Tests",
        permission=({"permission": "question", "pattern": "*", "action": "deny"},),
    )
    sent, told = await place(fake, request)
    assert sent
    session = fake.sessions[request.session]
    assert session.directory == f"{HOME}/affordabot"
    assert (session.title, session.metadata) == ("Tests", {"dx_dispatch": "d1", "dx_repo": "affordabot"})
    assert session.permission == [{"permission": "question", "pattern": "*", "action": "deny"}]
    assert fake.bodies == [
        {
            "messageID": request.message,
            "parts": [{"id": request.part, "type": "text", "text": "Run make test"}],
            "agent": "plan",
            "model": {"providerID": "scripted", "modelID": "main"},
        }
    ]
    assert told == [f"[epyc6] Session created: {request.session}", "[epyc6] Task sent: Run make test"]


async def test_a_model_name_may_have_slashes() -> None:
    fake = FakeOpenCode()
    fake.models = {"openrouter": ["anthropic/opus"]}
    await place(fake, replace(REQUEST, model="openrouter/anthropic/opus"))
    assert fake.bodies[0]["model"] == {"providerID": "openrouter", "modelID": "anthropic/opus"}


async def test_a_replay_sends_nothing_at_all() -> None:
    fake = FakeOpenCode()
    assert (await place(fake))[0]
    fake.requests.clear()
    assert await place(fake) == (False, [])
    assert fake.requests == []
    assert texts(fake) == ["Run make test"]


@pytest.mark.parametrize("step", STEPS, ids=["create", "label", "prompt", "confirm"])
@pytest.mark.parametrize(
    "fault", [lost(), lost(httpx.ReadTimeout), not_sent()], ids=["lost", "silent", "not sent"]
)
@pytest.mark.parametrize("times", [1, 2, 3])
async def test_one_prompt_is_stored_whatever_is_lost(step: tuple[str, str], fault: Any, times: int) -> None:
    fake = FakeOpenCode()
    plan = await plan_of(fake)
    fake.add(*step, fault, times=times)
    async with fake.client() as server:
        assert await submit.place(server, REQUEST, plan, clock=ManualClock())
    assert texts(fake) == ["Run make test"]
    assert list(fake.sessions) == [REQUEST.session]
    assert fake.sessions[REQUEST.session].metadata == {"dx_dispatch": "d1", "dx_repo": "affordabot"}


@pytest.mark.parametrize(("one", "other"), list(itertools.combinations(STEPS, 2)))
async def test_one_prompt_is_stored_if_two_answers_are_lost(
    one: tuple[str, str], other: tuple[str, str]
) -> None:
    fake = FakeOpenCode()
    plan = await plan_of(fake)
    fake.add(*one, lost())
    fake.add(*other, lost())
    async with fake.client() as server:
        assert await submit.place(server, REQUEST, plan, clock=ManualClock())
    assert texts(fake) == ["Run make test"]


async def test_a_lost_answer_to_the_prompt_is_looked_after_and_not_answered_by_a_second_prompt() -> None:
    fake = FakeOpenCode()
    plan = await plan_of(fake)
    fake.add(*PROMPT, lost())
    async with fake.client() as server:
        await submit.place(server, REQUEST, plan, clock=ManualClock())
    assert fake.count(*PROMPT) == 1


async def test_a_prompt_that_is_sent_twice_is_stored_once() -> None:
    """Two controllers may send the same dispatch at the same moment."""
    fake = FakeOpenCode()
    plan = await plan_of(fake)
    for _ in range(2):
        async with fake.client() as server:
            await submit.place(server, REQUEST, plan, clock=ManualClock())
    assert fake.count(*PROMPT) == 2
    assert texts(fake) == ["Run make test"]


async def test_a_crash_at_any_request_is_made_good_by_a_replay() -> None:
    """The controller dies after so many requests; the same dispatch again ends in one prompt."""
    for allowed in range(12):
        fake = FakeOpenCode()
        plan = await plan_of(fake)
        fake.add("*", ".", lost(Crash), times=1, after=allowed)
        async with fake.client() as server:
            try:
                await submit.place(server, REQUEST, plan, clock=ManualClock())
            except Crash:
                crashed = True
            else:
                crashed = False
        fake.mend()
        await place(fake)
        assert texts(fake) == ["Run make test"], allowed
        assert fake.sessions[REQUEST.session].metadata == {"dx_dispatch": "d1", "dx_repo": "affordabot"}
        if not crashed:
            return
    raise AssertionError("it never got through")


class Crash(BaseException):
    """The end of this process, as far as the code can tell."""


async def test_if_it_cannot_be_told_whether_the_prompt_arrived_that_is_said() -> None:
    clock = ManualClock()
    fake = FakeOpenCode()
    plan = await plan_of(fake)
    fake.add(*PROMPT, lost(), times=100)
    fake.add(*CONFIRM, lost(), times=1000)
    async with fake.client() as server:
        with pytest.raises(DispatchError) as caught:
            await submit.place(server, REQUEST, plan, clock=clock)
    assert (caught.value.state, caught.value.reason_code) == (State.UNREACHABLE, "effect_unknown")
    assert "--id d1" in (caught.value.next_action or "")
    assert fake.sessions, "what may be at work is not deleted"
    assert clock.slept_s < 60


@pytest.mark.parametrize("step", [CREATE, LABEL, PROMPT])
async def test_a_server_that_is_gone_is_given_up_after_some_tries(step: tuple[str, str]) -> None:
    fake = FakeOpenCode()
    fake.add(*step, not_sent(), times=100)
    error = await failure(fake)
    assert (error.state, error.reason_code) == (State.UNREACHABLE, "connection_refused")
    assert fake.count(*step) == TRIES


@pytest.mark.parametrize("step", [LABEL, PROMPT])
@pytest.mark.parametrize("fault", [answer(500, REF), unauthorized(), own_error(400, "BadRequest")])
async def test_a_session_that_was_made_for_nothing_is_deleted(step: tuple[str, str], fault: Any) -> None:
    fake = FakeOpenCode()
    fake.add(*step, fault)
    error = await failure(fake)
    assert error.state is State.REFUSED
    assert fake.sessions == {}


@pytest.mark.parametrize("step", [CREATE, LABEL, PROMPT])
@pytest.mark.parametrize("status", [202, 301, 400, 404, 413, 500, 502])
async def test_what_somebody_else_answers_to_a_write_is_no_answer(step: tuple[str, str], status: int) -> None:
    """The server took it, or did not; both are looked for."""
    for after in (False, True):
        fake = FakeOpenCode()
        fake.add(*step, answered_for(status, b"<html>", "text/html", "after" if after else "instead"))
        plan = await plan_of(fake)
        async with fake.client() as server:
            assert await submit.place(server, REQUEST, plan, clock=ManualClock())
        assert texts(fake) == ["Run make test"]
        assert fake.count(*step) == (1 if after else 2)


@pytest.mark.parametrize("step", [CREATE, LABEL, PROMPT])
async def test_what_is_only_ever_answered_by_somebody_else_is_unknown(step: tuple[str, str]) -> None:
    fake = FakeOpenCode()
    fake.add(*step, answer(502, b"<html>", "text/html"), times=100)
    error = await failure(fake)
    assert (error.state, error.reason_code) == (State.UNREACHABLE, "effect_unknown")
    assert ("the task was not sent" in error.message) is (step is not PROMPT)
    assert fake.count(*step) == TRIES


async def test_a_no_after_a_lost_answer_is_not_the_end_of_it() -> None:
    """The first prompt may still be under way, in a gateway say."""
    fake = FakeOpenCode()
    fake.add(*PROMPT, answer(504))
    fake.add(*PROMPT, own_error(400, "BadRequest"))
    error = await failure(fake)
    assert error.reason_code == "effect_unknown"
    assert fake.sessions


async def test_a_project_that_breaks_meanwhile_is_refused_with_its_file() -> None:
    fake = FakeOpenCode()
    plan = await plan_of(fake)
    fake.broken[plan.directory] = [{"path": ["provider"], "message": "Expected object, got 7"}]
    async with fake.client() as server:
        with pytest.raises(DispatchError) as caught:
            await submit.place(server, REQUEST, plan, clock=ManualClock())
    error = caught.value
    assert (error.state, error.reason_code) == (State.REFUSED, "config_invalid")
    assert f"{plan.directory}/opencode.json is broken: provider: Expected object, got 7" in error.message
    assert error.next_action == f"mend {plan.directory}/opencode.json on epyc6"
    assert fake.bodies == []


async def test_a_session_with_a_message_in_it_is_never_deleted() -> None:
    fake = FakeOpenCode()
    plan = await plan_of(fake)
    fake.session(REQUEST.session).user("msg_of_someone", "Wait")
    fake.add(*PROMPT, answer(500, REF))
    async with fake.client() as server:
        with pytest.raises(DispatchError):
            await submit.place(server, REQUEST, plan, clock=ManualClock())
    assert REQUEST.session in fake.sessions


async def test_a_resumed_session_is_neither_made_nor_labelled_nor_deleted() -> None:
    fake = FakeOpenCode()
    fake.session("ses_old", title="Mine")
    request = replace(REQUEST, repo=None, resume="ses_old")
    sent, told = await place(fake, request)
    assert sent
    assert told == ["[epyc6] Task sent: Run make test"]
    assert (fake.count(*CREATE), fake.count(*LABEL)) == (0, 0)
    assert fake.sessions["ses_old"].title == "Mine"

    fake = FakeOpenCode()
    fake.session("ses_old")
    fake.add(*PROMPT, answer(500, REF))
    await failure(fake, request)
    assert "ses_old" in fake.sessions


async def test_a_session_of_that_id_in_another_directory_stops_the_dispatch() -> None:
    fake = FakeOpenCode()
    fake.session(REQUEST.session, "/srv/repos/affordabot")
    error = await failure(fake)
    assert error.reason_code == "wrong_directory"
    assert fake.count(*PROMPT) == 0
    assert REQUEST.session in fake.sessions, "it is not ours to delete"


async def test_a_server_that_keeps_no_mark_gets_no_prompt() -> None:
    fake = FakeOpenCode()
    session = fake.session(REQUEST.session)
    fake.add(*LABEL, answer(200, session.as_dict()))
    error = await failure(fake)
    assert error.reason_code == "session_not_labelled"
    assert fake.count(*PROMPT) == 0


async def test_a_prompt_that_is_accepted_and_not_stored_is_an_error() -> None:
    """So ends a default agent that does not exist (OpenCode 1.18)."""
    fake = FakeOpenCode()
    fake.add(*PROMPT, answer(204), times=100)
    error = await failure(fake)
    assert (error.state, error.reason_code) == (State.FAILED, "prompt_not_stored")
