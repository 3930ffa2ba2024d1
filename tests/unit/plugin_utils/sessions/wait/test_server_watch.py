# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sessions get the outcome that the server has for them, whatever becomes of their events."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.event_kind import EventKind
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.outcome import State
from ansible_collections.dx.fleet.plugins.plugin_utils.sessions.wait import Target, pace, wait_for

from tests.unit.fake_opencode import FakeOpenCode, lost, not_sent, tool
from tests.unit.virtual_time import VirtualTime

from .watched import DIRECTORY, LONG_S, NO_LIMITS, PATIENCE_S, Watched

NONSENSE: list[Any] = [{"sessionID": "ses_2"}, {}, None, [], "x", {"part": 7}, {"sessionID": ["ses_1"]}]


@pytest.fixture
def event_loop_policy() -> VirtualTime:
    """A busy machine passes no time."""
    return VirtualTime()


async def test_the_end_is_noticed_by_its_event(watched: Watched) -> None:
    await watched.begin()
    watched.finish()
    outcome = await watched.outcome()
    assert (outcome.state, outcome.reason_code) == (State.COMPLETED, "completed")
    assert outcome.message_to_human == "the agent wrote: 3 passed"
    assert (outcome.vm, outcome.repo, outcome.dispatch) == ("epyc6", "affordabot", "d1")
    assert (outcome.session, outcome.message) == ("ses_1", "msg_ses_1")
    assert (outcome.evidence.directory, outcome.evidence.cost) == (DIRECTORY, 0.5)
    assert watched.ends == ["[epyc6] finished, not verified: the agent wrote: 3 passed"]


async def test_a_session_whose_directory_is_known_is_not_asked_for_it(watched: Watched) -> None:
    await watched.begin(directory=DIRECTORY)
    where_it_worked = {"cwd": f"{DIRECTORY}/sub", "root": DIRECTORY}
    watched.session.step("a", finish="stop", text="3 passed", path=where_it_worked)
    watched.fake.idle("ses_1")
    outcome = await watched.outcome()
    assert (outcome.state, outcome.evidence.directory) == (State.COMPLETED, f"{DIRECTORY}/sub")
    assert watched.fake.count("GET", "/session/ses_1$") == 0


@pytest.mark.parametrize("error", [None, {"name": "UnknownError", "data": {"message": "on its way"}}])
async def test_a_session_that_works_elsewhere_than_was_said_is_found(
    watched: Watched, error: dict[str, Any] | None
) -> None:
    watched.session.step("a", error=error, completed=False)
    await watched.begin(directory=f"{DIRECTORY}/wrong")
    await watched.until(lambda: watched.fake.count("GET", "/session/ses_1$") > 0)
    watched.ask()
    watched.fake.tell("permission.asked", {"sessionID": "ses_1"})
    outcome = await watched.outcome()
    assert (outcome.state, outcome.evidence.directory) == (State.NEEDS_INPUT, DIRECTORY)
    assert watched.fake.count("GET", "/session/ses_1$") == 1


async def test_a_session_that_ended_before_the_wait_is_reported_at_once(watched: Watched) -> None:
    watched.finish()
    await watched.begin()
    assert (await watched.outcome()).state is State.COMPLETED


async def test_what_its_stream_says_at_once_is_no_reason_for_a_second_look(watched: Watched) -> None:
    def meanwhile(fake: FakeOpenCode, request: httpx.Request) -> httpx.Response:
        fake.tell("server.connected", {})  # taken in the pause before this is asked again
        return lost()(fake, request)

    watched.fake.add("GET", "/session/ses_1$", meanwhile)
    await watched.begin()
    await asyncio.sleep(0.2)
    assert watched.fake.count("GET", "/session/status") == 1
    await watched.cancel()


async def test_doubled_and_late_events_change_nothing(watched: Watched) -> None:
    await watched.begin()
    for _ in range(3):
        watched.finish()
    watched.fake.tell("session.status", {"sessionID": "ses_1", "status": {"type": "busy"}})
    watched.fake.tell("message.part.updated", {"part": {**tool("c"), "sessionID": "ses_1"}}, times=5)
    assert (await watched.outcome()).state is State.COMPLETED
    assert len(watched.ends) == 1


async def test_an_idle_event_that_is_not_true_changes_nothing(watched: Watched) -> None:
    await watched.begin()
    seen = watched.fake.count("GET", "/session/status")
    watched.fake.tell("session.idle", {"sessionID": "ses_1"})
    await watched.until(lambda: watched.fake.count("GET", "/session/status") > seen)
    await asyncio.sleep(0.1)
    assert watched.waits
    watched.finish()
    assert (await watched.outcome()).state is State.COMPLETED


async def test_an_end_that_the_server_answers_only_after_its_event_is_noticed_soon(watched: Watched) -> None:
    await watched.begin()
    seen = watched.fake.count("GET", "/session/status")
    watched.fake.tell("session.idle", {"sessionID": "ses_1"})
    await watched.until(lambda: watched.fake.count("GET", "/session/status") > seen)
    watched.finish(silently=True)
    assert (await watched.outcome()).state is State.COMPLETED


async def test_an_end_that_is_stored_only_after_the_session_is_idle_is_noticed_soon(watched: Watched) -> None:
    await watched.begin()
    watched.session.step("a", completed=False)
    watched.fake.idle("ses_1")
    await asyncio.sleep(3 * pace.SOON_S)  # beyond the second look that each such event brings
    assert watched.waits
    watched.finish(silently=True)
    assert (await watched.outcome()).state is State.COMPLETED


async def test_a_doubt_is_not_asked_about_without_end(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "SOON_S", 0.02)
    await watched.begin()
    seen = watched.fake.count("GET", "/session/status")
    watched.session.step("a", completed=False)
    watched.fake.idle("ses_1")
    await asyncio.sleep(0.5)
    assert watched.waits
    assert watched.fake.count("GET", "/session/status") - seen < 30, "a look that finds nothing asks thrice"
    await watched.cancel()


async def test_the_end_is_noticed_without_any_event(deaf: Watched) -> None:
    await deaf.begin()
    deaf.finish(silently=True)
    assert (await deaf.outcome()).state is State.COMPLETED


async def test_an_end_that_came_while_the_stream_was_down_is_noticed_on_its_return(watched: Watched) -> None:
    await watched.begin()
    watched.fake.cut_streams()
    watched.finish(silently=True)
    assert (await watched.outcome()).state is State.COMPLETED


async def test_an_end_that_came_just_before_the_stream_was_up_again_is_noticed(watched: Watched) -> None:
    await watched.begin()
    watched.fake.before_stream = lambda: watched.finish(silently=True)
    watched.fake.cut_streams()
    assert (await watched.outcome()).state is State.COMPLETED


async def test_an_end_that_a_new_stream_does_not_pass_on_yet_is_noticed_soon(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "DEAF_S", LONG_S)
    await watched.begin()
    watched.finish(silently=True)
    assert (await watched.outcome()).state is State.COMPLETED


async def test_a_stream_that_passed_on_an_event_is_relied_upon(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "DEAF_S", LONG_S)
    monkeypatch.setattr(pace, "SOON_S", 0.02)
    monkeypatch.setattr(pace, "DEAF_LOOK_EVERY_S", 0.02)
    await watched.begin()
    await watched.looked()
    watched.fake.tell("session.updated", {"info": {"id": "ses_of_another"}})
    await asyncio.sleep(0.1)  # with the look for what was missed before
    watched.fake.requests.clear()
    await asyncio.sleep(0.2)
    assert watched.waits
    assert watched.fake.requests == []
    await watched.cancel()


async def test_a_new_stream_that_stays_silent_is_not_doubted_for_long(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "DEAF_S", 0.1)
    monkeypatch.setattr(pace, "SOON_S", 0.02)
    monkeypatch.setattr(pace, "DEAF_LOOK_EVERY_S", 0.02)
    await watched.begin()
    await watched.looked()
    await asyncio.sleep(0.2)
    watched.fake.requests.clear()
    await asyncio.sleep(0.2)
    assert watched.fake.requests == []
    await watched.cancel()


async def test_what_the_first_event_of_a_new_stream_came_too_late_for_is_noticed(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "DEAF_S", LONG_S)
    monkeypatch.setattr(pace, "SOON_S", LONG_S)
    monkeypatch.setattr(pace, "DEAF_LOOK_EVERY_S", LONG_S)
    await watched.begin()
    watched.finish(silently=True)
    watched.fake.tell("server.heartbeat", {})
    assert (await watched.outcome()).state is State.COMPLETED


async def test_events_of_others_and_nonsense_are_passed_over(watched: Watched) -> None:
    await watched.begin()
    for kind in ("session.idle", "message.part.updated", "permission.asked"):
        for properties in NONSENSE:
            watched.fake.tell(kind, properties)
    for line in ('{"payload": null}', '{"payload": {"type": null}}', "[]", "{"):
        watched.fake.tell_raw(line)
    watched.finish()
    assert (await watched.outcome()).state is State.COMPLETED


async def test_an_aborted_session_is_aborted(watched: Watched) -> None:
    await watched.begin()
    watched.session.step("a", error={"name": "MessageAbortedError", "data": {"message": "Aborted"}})
    watched.fake.idle("ses_1")
    assert (await watched.outcome()).state is State.ABORTED


async def test_a_session_between_two_steps_is_not_done(watched: Watched) -> None:
    """Its status was absent for a moment."""
    await watched.begin()
    watched.session.step("a", tool("c"), finish="tool-calls")
    watched.fake.idle("ses_1")
    watched.session.status = {"type": "busy"}
    await asyncio.sleep(0.1)
    assert watched.waits
    watched.finish()
    assert (await watched.outcome()).state is State.COMPLETED


async def test_a_session_that_stays_between_two_steps_ended_early(deaf: Watched) -> None:
    await deaf.begin()
    deaf.session.step("a", finish="unknown")
    deaf.fake.idle("ses_1")
    await deaf.looked()
    assert deaf.waits
    deaf.clock.leap(pace.SETTLE_S)
    outcome = await deaf.outcome()
    assert (outcome.state, outcome.reason_code) == (State.FAILED, "ended_early")


async def test_a_prompt_that_is_stored_late_is_waited_for(deaf: Watched) -> None:
    """The server is loaded: neither status nor message are there yet."""
    deaf.session.messages.clear()
    deaf.session.status = None
    await deaf.begin()
    await deaf.passes(pace.START_S / 2)
    assert deaf.waits
    deaf.session.user("msg_ses_1", "Run")
    deaf.finish(silently=True)
    assert (await deaf.outcome()).state is State.COMPLETED


@pytest.mark.parametrize(("stored", "reason"), [(False, "prompt_not_stored"), (True, "no_answer")])
async def test_an_agent_that_never_begins_is_a_failure(deaf: Watched, stored: bool, reason: str) -> None:
    if not stored:
        deaf.session.messages.clear()
    deaf.session.status = None
    await deaf.begin()
    await deaf.looked()
    assert deaf.waits
    deaf.clock.leap(pace.START_S)
    outcome = await deaf.outcome()
    assert (outcome.state, outcome.reason_code) == (State.FAILED, reason)


async def test_the_servers_reason_for_never_beginning_is_told(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "LOOK_EVERY_S", 0.02)
    await watched.begin()
    watched.session.status = None
    error = {"name": "UnknownError", "data": {"message": 'Agent not found: "nosuch".'}}
    watched.fake.tell("session.error", {"sessionID": "ses_1", "error": error}, times=2)
    await watched.looked()
    watched.clock.leap(pace.SETTLE_S)
    outcome = await watched.outcome()
    assert outcome.reason_code == "no_answer"
    assert outcome.message_to_human == 'the agent never began: Agent not found: "nosuch".'


async def test_a_restarted_server_has_lost_the_session(deaf: Watched) -> None:
    await deaf.begin()
    deaf.session.step("a", tool("c", status="running"), completed=False)
    deaf.session.status = None
    await deaf.looked()
    assert deaf.waits
    deaf.clock.leap(pace.START_S)
    outcome = await deaf.outcome()
    assert (outcome.state, outcome.reason_code) == (State.LOST, "server_restarted")
    assert [run.status for run in outcome.evidence.tools or ()] == ["running"]


async def test_a_server_that_was_seen_to_go_away_has_lost_the_session_sooner(
    deaf: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "START_S", LONG_S)
    await deaf.begin()
    deaf.session.step("a", completed=False)
    deaf.session.status = None
    deaf.fake.add("GET", "/session/status", not_sent(), times=3)
    await deaf.until(lambda: bool(deaf.lines(EventKind.CONNECTION_LOST)))
    await deaf.looked()
    assert deaf.waits
    deaf.clock.leap(pace.SETTLE_S)
    assert (await deaf.outcome()).reason_code == "server_restarted"


async def test_an_error_that_is_stored_late_is_not_a_restart(deaf: Watched) -> None:
    """The server is loaded: the session is idle, and its message does not say yet how it ended."""
    await deaf.begin()
    deaf.session.step("a", completed=False)
    deaf.session.status = None
    await deaf.looked()
    await deaf.passes(pace.START_S / 2)
    assert deaf.waits
    deaf.session.step("a", error={"name": "APIError", "data": {"statusCode": 404, "message": "gone"}})
    outcome = await deaf.outcome()
    assert (outcome.state, outcome.reason_code) == (State.FAILED, "model_error")


async def test_each_session_gets_its_own_outcome_in_the_order_asked_for(watched: Watched) -> None:
    names = [f"ses_{number}" for number in range(2, 8)]
    for number, name in enumerate(names):
        watched.add(name, f"/srv/{number % 3}")
    await watched.begin(NO_LIMITS, *names)
    for name in reversed(names[1:]):
        watched.finish(name)
    watched.fake.sessions[names[0]].step("x", error={"name": "APIError", "data": {"statusCode": 401}})
    watched.fake.idle(names[0])
    outcomes = await watched.outcomes()
    assert [outcome.session for outcome in outcomes] == names
    assert [outcome.state for outcome in outcomes] == [State.FAILED] + 5 * [State.COMPLETED]


async def test_sessions_of_two_servers_are_followed_at_once() -> None:
    here, there = Watched(), Watched()
    targets = {name: [Target(name, "ses_1", "msg_ses_1")] for name in ("a", "b")}
    servers = {"a": here.fake.client(), "b": there.fake.client()}
    waiting = asyncio.create_task(wait_for(targets, servers, NO_LIMITS))
    await asyncio.wait_for(here.fake.connected.wait(), PATIENCE_S)
    await asyncio.wait_for(there.fake.connected.wait(), PATIENCE_S)
    there.finish()
    here.finish()
    outcomes = await asyncio.wait_for(waiting, PATIENCE_S)
    assert {name: [outcome.state for outcome in members] for name, members in outcomes.items()} == {
        "a": [State.COMPLETED],
        "b": [State.COMPLETED],
    }


async def test_while_nothing_happens_hardly_anything_is_asked(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "LOOK_EVERY_S", 0.1)
    monkeypatch.setattr(pace, "COUNT_EVERY_S", LONG_S)
    await watched.begin()
    watched.fake.requests.clear()
    await asyncio.sleep(0.5)
    assert watched.waits
    assert watched.fake.count("GET", "/session/status") <= 6
    assert len(watched.fake.requests) <= 18
    await watched.cancel()


async def test_a_busy_session_with_many_events_is_not_looked_at_for_each(watched: Watched) -> None:
    await watched.begin()
    watched.fake.requests.clear()
    for number in range(500):
        watched.fake.tell("message.part.delta", {"sessionID": "ses_1", "delta": str(number)})
    watched.finish()
    await watched.outcome()
    assert len(watched.fake.requests) < 20


async def test_a_wait_that_is_cancelled_leaves_nothing_behind(watched: Watched) -> None:
    await watched.begin()
    await watched.cancel()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    assert others == set()
    assert watched.fake.aborted == [], "the remote work goes on"
