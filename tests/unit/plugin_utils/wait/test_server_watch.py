# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sessions get the outcome that the server has for them, whatever becomes of their events."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx
import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils import wait
from ansible_collections.dx.fleet.plugins.plugin_utils.outcome import Outcome, State
from ansible_collections.dx.fleet.plugins.plugin_utils.progress import Progress
from ansible_collections.dx.fleet.plugins.plugin_utils.wait import Limits, Target, server_watch, wait_for

from tests.unit.clock import Leaps
from tests.unit.fake_opencode import HOME, URL, FakeOpenCode, FakeSession, answer, lost, not_sent, tool

DIRECTORY = f"{HOME}/affordabot"
NO_LIMITS = Limits(timeout_s=None, stall_timeout_s=None, max_steps=None, server_gone_s=20, server_silent_s=60)
LONG_S = 60.0
PATIENCE_S = 30.0
NONSENSE: list[Any] = [{"sessionID": "ses_2"}, {}, None, [], "x", {"part": 7}, {"sessionID": ["ses_1"]}]


class Watched:
    """A server with one busy session, and the wait for it."""

    def __init__(self) -> None:
        self.fake = FakeOpenCode()
        self.clock = Leaps()
        self.session = self.add("ses_1")
        self.told: list[Progress] = []
        self._wait: asyncio.Task[dict[str, list[Outcome]]] | None = None

    def add(self, name: str, directory: str = DIRECTORY) -> FakeSession:
        session = self.fake.session(name, directory)
        session.user(f"msg_{name}", "Run make test")
        session.status = {"type": "busy"}
        return session

    async def begin(self, limits: Limits = NO_LIMITS, *names: str) -> None:
        """Begin to wait, and go on once the stream is up and the sessions were looked at."""
        targets = [Target("epyc6", name, f"msg_{name}", "d1", "affordabot") for name in names or ("ses_1",)]
        waiting = wait_for({URL: targets}, {URL: self.fake.client()}, limits, emit=self.told.append)
        self._wait = asyncio.create_task(waiting)
        if self.fake.accepts_streams:
            await asyncio.wait_for(self.fake.connected.wait(), PATIENCE_S)
        await self.until(lambda: self.fake.count("GET", "/session/status") > 0)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Let the event loop run until the condition holds."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                if condition():
                    return
                await asyncio.sleep(0.001)

    async def outcomes(self) -> list[Outcome]:
        assert self._wait is not None
        found = await asyncio.wait_for(self._wait, PATIENCE_S)
        return [outcome for members in found.values() for outcome in members]

    async def outcome(self) -> Outcome:
        (found,) = await self.outcomes()
        return found

    async def cancel(self) -> None:
        assert self._wait is not None
        self._wait.cancel()
        await asyncio.gather(self._wait, return_exceptions=True)

    async def looked(self, times: int = 2) -> None:
        """Go on after so many more looks at the statuses, of which the last may not be over."""
        seen = self.fake.count("GET", "/session/status")
        await self.until(lambda: self.fake.count("GET", "/session/status") >= seen + times)

    async def passes(self, seconds: float) -> None:
        """So much time passes, and there is a look after it."""
        self.clock.leap(seconds)
        await self.looked()

    @property
    def waits(self) -> bool:
        return self._wait is not None and not self._wait.done()

    def lines(self, kind: str) -> list[str]:
        return [progress.line() for progress in self.told if progress.kind == kind]

    def finish(self, name: str = "ses_1", *, silently: bool = False) -> None:
        """The agent is done."""
        self.fake.sessions[name].step(f"a_{name}", finish="stop", text="3 passed", cost=0.5)
        self.fake.idle(name, silently=silently)

    def ask(self, session: str = "ses_1", **more: Any) -> dict[str, Any]:
        """A permission is pending."""
        known = {"id": "per_1", "sessionID": session, "permission": "bash", "patterns": ["rm *"]}
        request = {**known, **more}
        self.fake.permissions.append(request)
        return request


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    """Looks are far apart, so that only events bring them about; the other times are short."""
    monkeypatch.setattr(server_watch, "LOOK_EVERY_S", LONG_S)
    monkeypatch.setattr(server_watch, "COUNT_EVERY_S", 0.02)
    monkeypatch.setattr(server_watch, "COUNTS_PER_SECOND", 100)
    monkeypatch.setattr(server_watch, "LOOKS_PER_SECOND", 1000)
    monkeypatch.setattr(server_watch, "ABORT_S", 0.3)
    watched = Watched()
    watched.clock.rule(monkeypatch, wait, server_watch)
    return watched


@pytest.fixture
def deaf(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> Watched:
    """There is no event stream at all; looks are close together."""
    monkeypatch.setattr(server_watch, "LOOK_EVERY_S", 0.02)
    watched.fake.accepts_streams = False
    return watched


# -- ends --


async def test_the_end_is_noticed_by_its_event(watched: Watched) -> None:
    await watched.begin()
    watched.finish()
    outcome = await watched.outcome()
    assert (outcome.state, outcome.reason_code) == (State.COMPLETED, "completed")
    assert outcome.message_to_human == "epyc6: the agent finished: 3 passed"
    assert (outcome.vm, outcome.repo, outcome.dispatch) == ("epyc6", "affordabot", "d1")
    assert (outcome.session, outcome.message) == ("ses_1", "msg_ses_1")
    assert (outcome.evidence.directory, outcome.evidence.cost) == (DIRECTORY, 0.5)
    assert watched.lines("outcome") == ["[epyc6] completed: the agent finished: 3 passed"]


async def test_a_session_that_ended_before_the_wait_is_reported_at_once(watched: Watched) -> None:
    watched.finish()
    await watched.begin()
    assert (await watched.outcome()).state is State.COMPLETED


async def test_doubled_and_late_events_change_nothing(watched: Watched) -> None:
    await watched.begin()
    for _ in range(3):
        watched.finish()
    watched.fake.tell("session.status", {"sessionID": "ses_1", "status": {"type": "busy"}})
    watched.fake.tell("message.part.updated", {"part": {**tool("c"), "sessionID": "ses_1"}}, times=5)
    assert (await watched.outcome()).state is State.COMPLETED
    assert len(watched.lines("outcome")) == 1


async def test_an_idle_event_that_is_not_true_changes_nothing(watched: Watched) -> None:
    await watched.begin()
    seen = watched.fake.count("GET", "/session/status")
    watched.fake.tell("session.idle", {"sessionID": "ses_1"})
    await watched.until(lambda: watched.fake.count("GET", "/session/status") > seen)
    await asyncio.sleep(0.1)
    assert watched.waits
    watched.finish()
    assert (await watched.outcome()).state is State.COMPLETED


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
    deaf.clock.leap(server_watch.SETTLE_S)
    outcome = await deaf.outcome()
    assert (outcome.state, outcome.reason_code) == (State.FAILED, "ended_early")


async def test_a_prompt_that_is_stored_late_is_waited_for(deaf: Watched) -> None:
    """The server is loaded: neither status nor message are there yet."""
    deaf.session.messages.clear()
    deaf.session.status = None
    await deaf.begin()
    await deaf.passes(server_watch.START_S / 2)
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
    deaf.clock.leap(server_watch.START_S)
    outcome = await deaf.outcome()
    assert (outcome.state, outcome.reason_code) == (State.FAILED, reason)


async def test_the_servers_reason_for_never_beginning_is_told(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_watch, "LOOK_EVERY_S", 0.02)
    await watched.begin()
    watched.session.status = None
    error = {"name": "UnknownError", "data": {"message": 'Agent not found: "nosuch".'}}
    watched.fake.tell("session.error", {"sessionID": "ses_1", "error": error}, times=2)
    await watched.looked()
    watched.clock.leap(server_watch.SETTLE_S)
    outcome = await watched.outcome()
    assert outcome.reason_code == "no_answer"
    assert outcome.message_to_human == 'epyc6: the agent never began: Agent not found: "nosuch".'


async def test_a_restarted_server_has_lost_the_session(deaf: Watched) -> None:
    await deaf.begin()
    deaf.session.step("a", tool("c", status="running"), completed=False)
    deaf.session.status = None
    await deaf.looked()
    assert deaf.waits
    deaf.clock.leap(server_watch.SETTLE_S)
    outcome = await deaf.outcome()
    assert (outcome.state, outcome.reason_code) == (State.LOST, "server_restarted")
    assert [run.status for run in outcome.evidence.tools or ()] == ["running"]


# -- what a person must answer --


async def test_a_pending_permission_ends_the_wait_by_its_event(watched: Watched) -> None:
    await watched.begin()
    watched.fake.tell("permission.asked", watched.ask())
    outcome = await watched.outcome()
    assert (outcome.state, outcome.reason_code) == (State.NEEDS_INPUT, "permission_pending")
    assert outcome.message_to_human == "epyc6: the agent waits for permission bash: rm *"
    assert outcome.evidence.request == {
        "id": "per_1",
        "session": "ses_1",
        "permission": "bash",
        "patterns": ["rm *"],
        "metadata": {},
    }
    assert watched.fake.aborted == []


async def test_a_pending_question_ends_the_wait_by_its_event(watched: Watched) -> None:
    await watched.begin()
    asked = {"id": "que_1", "sessionID": "ses_1", "questions": [{"question": "Where?", "options": []}]}
    watched.fake.questions.append(asked)
    watched.fake.tell("question.asked", asked)
    outcome = await watched.outcome()
    assert (outcome.state, outcome.reason_code) == (State.NEEDS_INPUT, "question_pending")
    assert "Where?" in outcome.message_to_human


async def test_without_its_event_it_is_found_by_the_next_look(deaf: Watched) -> None:
    await deaf.begin()
    deaf.ask()
    assert (await deaf.outcome()).state is State.NEEDS_INPUT


def test_the_next_look_comes_within_two_seconds() -> None:
    assert server_watch.LOOK_EVERY_S <= 1.5


async def test_the_permission_of_a_subagent_is_that_of_its_session(watched: Watched) -> None:
    await watched.begin()
    watched.fake.session("ses_sub", DIRECTORY, parent="ses_1").status = {"type": "busy"}
    watched.fake.tell("session.created", {"info": {"id": "ses_sub", "parentID": "ses_1"}})
    watched.fake.tell("permission.asked", watched.ask("ses_sub"))
    outcome = await watched.outcome()
    assert (outcome.state, outcome.session) == (State.NEEDS_INPUT, "ses_1")


async def test_the_permission_of_a_subagent_is_found_though_nothing_was_heard_of_it(deaf: Watched) -> None:
    await deaf.begin()
    deaf.fake.session("ses_sub", DIRECTORY, parent="ses_1").status = {"type": "busy"}
    deaf.fake.session("ses_sub_sub", DIRECTORY, parent="ses_sub").status = {"type": "busy"}
    deaf.ask("ses_sub_sub")
    assert (await deaf.outcome()).state is State.NEEDS_INPUT


async def test_the_request_of_another_session_is_not_ours(deaf: Watched) -> None:
    deaf.fake.session("ses_2", DIRECTORY).status = {"type": "busy"}
    deaf.ask("ses_2")
    await deaf.begin()
    await deaf.until(lambda: deaf.fake.count("GET", "/permission") > 3)
    assert deaf.waits
    deaf.finish(silently=True)
    assert (await deaf.outcome()).state is State.COMPLETED


async def test_a_left_over_request_of_an_aborted_turn_is_not_pending(deaf: Watched) -> None:
    """OpenCode 1.18 lists it for ever, also while the session works on its next task."""
    deaf.session.messages.clear()
    deaf.session.user("msg_0", "Before")
    deaf.session.step("a_0", tool("c", status="error"), error={"name": "MessageAbortedError", "data": {}})
    deaf.ask(tool={"messageID": "a_0", "callID": "c"})
    deaf.session.user("msg_ses_1", "Run")
    deaf.session.step("a_1", completed=False)
    await deaf.begin()
    await deaf.until(lambda: deaf.fake.count("GET", "/permission") > 3)
    assert deaf.waits
    deaf.finish(silently=True)
    assert (await deaf.outcome()).state is State.COMPLETED


async def test_the_request_of_the_step_that_waits_is_pending_beside_a_left_over(deaf: Watched) -> None:
    deaf.session.step("a_0", error={"name": "MessageAbortedError", "data": {}})
    deaf.session.step("a_1", completed=False)
    deaf.ask(id="per_1", tool={"messageID": "a_1", "callID": "c"})
    deaf.ask(id="per_0", tool={"messageID": "a_0", "callID": "c"})
    await deaf.begin()
    outcome = await deaf.outcome()
    assert outcome.evidence.request is not None
    assert outcome.evidence.request["id"] == "per_1"


async def test_a_left_over_request_of_a_subagent_is_not_pending(deaf: Watched) -> None:
    deaf.fake.session("ses_sub", DIRECTORY, parent="ses_1")
    deaf.ask("ses_sub", tool={"messageID": "a_0", "callID": "c"})
    await deaf.begin()
    await deaf.until(lambda: deaf.fake.count("GET", "/permission") > 3)
    assert deaf.waits
    await deaf.cancel()


# -- our limits --


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
    assert outcome.message_to_human == "epyc6: not finished after 100 s"
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
    monkeypatch.setattr(server_watch, "LOOK_EVERY_S", 0.02)
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
    assert watched.lines("limit") == ["[epyc6] Stopping: more than 3 steps"]


async def test_an_endless_loop_is_stopped_though_nothing_was_heard_of_it(deaf: Watched) -> None:
    for number in range(4):
        deaf.session.step(f"a{number}", finish="unknown")
    outcome = await limited(deaf, server_watch.COUNT_EVERY_S, limits(max_steps=3))
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
    outcome = await limited(deaf, server_watch.COUNT_EVERY_S, limits(max_cost=0.5))
    assert (outcome.state, outcome.reason_code) == (State.ABORTED, "max_cost")
    assert "cost 0.6, more than 0.5" in outcome.message_to_human


async def test_a_stop_that_is_not_confirmed_is_said(watched: Watched) -> None:
    """OpenCode answers an abort with true, whatever came of it."""
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


# -- trouble with the server --


async def test_a_server_that_is_gone_for_good_has_lost_its_sessions(watched: Watched) -> None:
    await watched.begin()
    watched.fake.add("*", ".", not_sent(), times=10_000)
    watched.fake.cut_streams()
    await watched.until(lambda: bool(watched.lines("connection")))
    assert watched.waits
    watched.clock.leap(20)
    outcome = await watched.outcome()
    assert (outcome.state, outcome.reason_code) == (State.LOST, "server_gone")
    assert len(watched.lines("connection")) == 1


async def test_a_server_that_never_answers_is_unreachable(watched: Watched) -> None:
    await watched.begin()
    watched.fake.add("*", ".", lost(httpx.ReadTimeout), times=10_000)
    watched.fake.cut_streams()
    await watched.until(lambda: bool(watched.lines("connection")))
    await watched.passes(30)
    assert watched.waits
    watched.clock.leap(30)
    outcome = await watched.outcome()
    assert (outcome.state, outcome.reason_code) == (State.UNREACHABLE, "server_silent")


async def test_a_server_that_comes_back_in_time_goes_on(watched: Watched) -> None:
    await watched.begin()
    watched.fake.add("*", ".", not_sent(), times=10_000)
    watched.fake.cut_streams()
    await watched.until(lambda: bool(watched.lines("connection")))
    watched.fake.mend()
    watched.finish()
    assert (await watched.outcome()).state is State.COMPLETED
    assert len(watched.lines("connection")) == 1


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (answer(404, {"data": {"message": "Session not found"}}), "session_gone"),
        (answer(400, {"data": {"message": "Expected OutputFormatJsonSchema"}}), "session_unreadable"),
        (answer(500, {"data": {"message": "no", "ref": "err_1"}}), "session_unreadable"),
    ],
)
async def test_a_session_that_cannot_be_read_ends_alone(deaf: Watched, fault: Any, reason: str) -> None:
    """It was deleted, or OpenCode can't tell its messages; the server and its other sessions are well."""
    deaf.add("ses_2")
    deaf.session.status = None
    deaf.fake.add("GET", "/session/ses_1/message", fault, times=10_000)
    await deaf.begin(NO_LIMITS, "ses_1", "ses_2")
    await deaf.looked()
    deaf.clock.leap(20)
    await deaf.until(lambda: bool(deaf.lines("outcome")))
    await deaf.passes(100)
    assert deaf.waits
    deaf.finish("ses_2", silently=True)
    one, other = await deaf.outcomes()
    assert (one.state, one.reason_code) == (State.FAILED, reason)
    assert other.state is State.COMPLETED


async def test_a_fault_of_the_server_that_passes_is_waited_for(deaf: Watched) -> None:
    deaf.fake.add("GET", "/session/ses_1/message", answer(500, {}), times=3)
    await deaf.begin()
    deaf.finish(silently=True)
    assert (await deaf.outcome()).state is State.COMPLETED


# -- several sessions --


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
    monkeypatch.setattr(server_watch, "LOOK_EVERY_S", 0.1)
    monkeypatch.setattr(server_watch, "COUNT_EVERY_S", LONG_S)
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
    assert len(watched.fake.requests) < 10


async def test_a_wait_that_is_cancelled_leaves_nothing_behind(watched: Watched) -> None:
    await watched.begin()
    await watched.cancel()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    assert others == set()
    assert watched.fake.aborted == [], "the remote work goes on"
