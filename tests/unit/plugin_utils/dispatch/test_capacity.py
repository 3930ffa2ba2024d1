# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A VM's limit holds, whoever dispatches at the same moment, and whatever is in the way."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace

import httpx
import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.dispatch.place import place
from ansible_collections.dx.fleet.plugins.plugin_utils.dispatch.preflight import Plan, look
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.errors import FleetError
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.outcome import State
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.request import Request
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.stop import StopMark
from ansible_collections.dx.fleet.plugins.plugin_utils.opencode.client import OpenCode

from tests.unit.fake_opencode import URL, FakeOpenCode, FakeSession, answer, lost
from tests.unit.virtual_time import LoopClock, run

ONE = Request(dispatch="d1", task="Run make test", vm="epyc6", repo="affordabot", max_concurrent=1)
MINE = ONE.session
HOUR_MS = 3_600_000.0
NOW_MS = 1_800_000_000_000.0


class Slow(httpx.AsyncBaseTransport):
    """A network before the server: each request, and each answer, takes another while."""

    def __init__(self, fake: FakeOpenCode, chance: random.Random) -> None:
        self.fake = fake
        self.chance = chance

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(self.chance.random())
        response = await self.fake.handle(request)
        await asyncio.sleep(self.chance.random())
        return response


async def dispatched(server: OpenCode, request: Request) -> str:
    """``sent``, or the reason why not."""
    try:
        async with server:
            plan = await look(server, request, patience_s=5)
            await place(server, request, plan, clock=LoopClock())
    except FleetError as error:
        return error.reason_code if error.state is State.REFUSED else f"{error.state}: {error}"
    return "sent"


def placed(fake: FakeOpenCode, request: Request = ONE) -> str:
    """What becomes of a dispatch whose look found room."""

    async def run_it() -> str:
        async with fake.client() as server:
            plan = Plan(request.session, request.message, "/srv/repos/affordabot", "1.18.33", replay=False)
            try:
                await place(server, request, plan, clock=LoopClock())
            except FleetError as error:
                return error.reason_code
            return "sent"

    return run(run_it())


@pytest.mark.parametrize("limit", [1, 2])
@pytest.mark.parametrize("resumed", [(), (1,), (0, 1, 2)], ids=["new", "one resumes", "all resume"])
@pytest.mark.parametrize("draw", range(8))
def test_of_dispatches_at_once_as_many_are_sent_as_there_is_room(
    limit: int, resumed: tuple[int, ...], draw: int
) -> None:
    async def race() -> tuple[list[str], FakeOpenCode]:
        fake = FakeOpenCode()
        chance = random.Random(f"{limit} {resumed} {draw}")
        requests = [replace(ONE, dispatch=f"d{number}", max_concurrent=limit) for number in range(3)]
        for number in resumed:
            fake.session(f"ses_old{number}")
            requests[number] = replace(requests[number], resume=f"ses_old{number}")
        clients = [OpenCode(URL, transport=Slow(fake, chance)) for _ in requests]
        return await asyncio.gather(*map(dispatched, clients, requests)), fake

    seen, fake = run(race())
    assert seen.count("sent") == limit
    assert seen.count("at_capacity") == len(seen) - limit
    assert len(fake.bodies) == limit
    left = [session.id for session in fake.sessions.values() if not session.messages]
    assert set(left) <= {f"ses_old{number}" for number in resumed}, "who withdraws leaves no session"


@pytest.mark.parametrize("sessions", [0, 99, 100, 1500])
def test_a_session_at_work_counts_however_many_are_newer(sessions: int) -> None:
    fake = FakeOpenCode()
    fake.session("ses_old", "/srv/old", updated=NOW_MS - HOUR_MS).status = {"type": "busy"}
    for number in range(sessions):
        fake.session(f"ses_{number}", updated=NOW_MS - number)

    async def looked() -> str:
        return await dispatched(fake.client(), ONE)

    assert run(looked()) == "at_capacity"
    assert not fake.bodies
    assert MINE not in fake.sessions


@pytest.mark.parametrize(
    ("age_ms", "seen"), [(23 * HOUR_MS, "at_capacity"), (25 * HOUR_MS, "sent")], ids=["a day", "longer"]
)
def test_what_took_no_step_for_a_day_is_no_load(age_ms: float, seen: str) -> None:
    fake = FakeOpenCode()
    fake.session("ses_old", "/srv/old", updated=NOW_MS - age_ms).status = {"type": "busy"}
    for number in range(100):
        fake.session(f"ses_{number}", created=NOW_MS, updated=NOW_MS)
    assert placed(fake) == seen


def queued(fake: FakeOpenCode, name: str, *, ms: float) -> FakeSession:
    """Another dispatch's session, so much older (or younger) than ours, which is there from an earlier try."""
    fake.session(MINE, "/srv/repos/affordabot", created=NOW_MS, updated=NOW_MS)
    return fake.session(name, created=NOW_MS + ms, updated=NOW_MS + ms)


@pytest.mark.parametrize(
    ("name", "ms", "seen"),
    [
        pytest.param("ses_dx-other", -1000, "at_capacity", id="an earlier one goes first"),
        pytest.param("ses_dx-other", 1000, "sent", id="a later one does not"),
        pytest.param("ses_dx-a", 0, "at_capacity", id="of one moment: by id"),
        pytest.param("ses_dx-z", 0, "sent", id="of one moment: by id, the other way round"),
        pytest.param("ses_dx-other", -121_000, "sent", id="one whose dispatcher died"),
        pytest.param("ses_dx-other", 121_000, "at_capacity", id="one that took ours for dead"),
        pytest.param("ses_by_hand", -1000, "sent", id="a person's empty session"),
    ],
)
def test_who_queues_before_us(name: str, ms: float, seen: str) -> None:
    fake = FakeOpenCode()
    queued(fake, name, ms=ms)
    assert placed(fake) == seen
    assert (MINE in fake.sessions) is (seen == "sent")


@pytest.mark.parametrize(
    ("finished", "seen"), [(None, "at_capacity"), (False, "at_capacity"), (True, "sent")]
)
def test_who_has_just_sent_its_task_counts_until_it_is_over(finished: bool | None, seen: str) -> None:
    fake = FakeOpenCode()
    other = queued(fake, "ses_dx-other", ms=-1000)
    other.user("msg_1", "work")
    if finished is not None:
        other.step("msg_2", finish="stop" if finished else None, completed=finished)
    assert placed(fake) == seen


def test_a_session_that_was_stopped_before_its_task_does_not_queue() -> None:
    fake = FakeOpenCode()
    queued(fake, "ses_dx-other", ms=-1000).metadata = StopMark("fe", "no", 1.0, "other", None).added_to({})
    assert placed(fake) == "sent"


def test_a_list_without_our_own_session_is_not_the_server_s() -> None:
    fake = FakeOpenCode()
    fake.session("ses_other")
    fake.add("GET", "/experimental/session$", answer(200, [fake.sessions["ses_other"].as_dict()]))
    assert placed(fake) == "not_opencode"
    assert not fake.bodies


def test_a_session_that_could_not_be_taken_away_is_named() -> None:
    fake = FakeOpenCode()
    queued(fake, "ses_dx-other", ms=-1000)
    fake.add("DELETE", f"/session/{MINE}$", answer(502, b"<html>", "text/html"))

    async def withdrawn() -> str:
        async with fake.client() as server:
            plan = Plan(MINE, ONE.message, "/srv/repos/affordabot", "1.18.33", replay=False)
            with pytest.raises(FleetError) as caught:
                await place(server, ONE, plan, clock=LoopClock())
        return caught.value.message

    assert f"its session {MINE} is left, and empty" in run(withdrawn())


@pytest.mark.parametrize("path", ["/api/session$", f"/session/{MINE}$"])
def test_a_task_for_an_old_session_queues_though_an_answer_is_lost(path: str) -> None:
    fake = FakeOpenCode()
    fake.session("ses_old", "/srv/repos/affordabot")
    fake.add("*", path, lost())
    assert placed(fake, replace(ONE, resume="ses_old")) == "sent"
    assert list(fake.sessions) == ["ses_old"]


def test_without_a_limit_nobody_queues() -> None:
    fake = FakeOpenCode()
    queued(fake, "ses_dx-other", ms=-1000)
    assert placed(fake, replace(ONE, max_concurrent=None)) == "sent"
    assert not fake.count("GET", "/experimental/session$")
