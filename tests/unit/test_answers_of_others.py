# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Gateways, proxies and tailnets answer for a server that goes on working: whatever they answer, to whichever
request, before, after or instead of passing it on, the task runs at most once and nothing untrue is concluded.

Ten thousand answers drawn at random: DX_RANDOM_ANSWERS=10000 (the default is a tenth of that).
"""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass, replace
from typing import Any

import httpx
import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.dispatch.preflight import look
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.errors import FleetError
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.outcome import State
from hypothesis import HealthCheck, given, note, seed, settings
from hypothesis import strategies as st

from tests.reads_of_looks import READS

from .fake_opencode import FakeOpenCode, Fault, answer, answered_for
from .virtual_time import run
from .working_opencode import (
    REQUEST,
    WorkingOpenCode,
    check_dispatch,
    check_reap,
    dispatch,
    status,
)

HTML = b"<!doctype html><title>Bad Gateway</title>"
KINDS: dict[str, tuple[int, Any, str]] = {
    "202": (202, b"", "text/plain"),
    "301": (301, HTML, "text/html"),
    "400": (400, HTML, "text/html"),
    "404 in JSON": (404, {"message": "no Route matched with those values"}, "application/json"),
    "404 in HTML": (404, HTML, "text/html"),
    "408": (408, b"", "text/plain"),
    "413": (413, HTML, "text/html"),
    "429": (429, {"error": {"code": "rate_limited"}}, "application/json"),
    "500": (500, HTML, "text/html"),
    "502": (502, HTML, "text/html"),
    "503": (503, {"message": "name resolution failed"}, "application/json"),
    "504": (504, HTML, "text/html"),
    "empty 200": (200, b"", "application/json"),
    "HTML 200": (200, HTML, "text/html"),
    "JSON of another shape": (200, {"status": "ok"}, "application/json"),
    "an empty object": (200, {}, "application/json"),
    "an empty list": (200, [], "application/json"),
}
BEFORE = 5  # of these reads come before the task
READS_OF_A_DISPATCH = {
    "health": (r"/global/health$", 0),
    "look for an earlier try": (r"^/session/[^/]+/message/[^/]+$", 0),
    "the projects": (r"^/project$", 0),
    "the home": (r"^/path$", 0),
    "does the directory exist": (r"^/file$", 0),
    "confirm that it is stored": (r"^/session/[^/]+/message/[^/]+$", 1),
    "follow the events": (r"^/global/event$", 0),
    "what works": (r"^/session/status$", 0),
    "what waits for permission": (r"^/permission$", 0),
    "what asks a question": (r"^/question$", 0),
    "read the messages": (r"^/session/[^/]+/message$", 0),
    "its subagents": (r"^/session/[^/]+/children$", 0),
}
WRITES_OF_A_DISPATCH = {
    "create the session": ("POST", r"^/api/session$"),
    "label the session": ("PATCH", r"^/session/[^/]+$"),
    "send the task": ("POST", r"/prompt_async$"),
}
TIMES = (1, 100_000)


async def whole_dispatch(spoil: list[tuple[str, str, Fault, int, int]], **options: Any) -> tuple[str, int]:
    fake = WorkingOpenCode()
    for method, path, fault, times, after in spoil:
        fake.add(method, path, fault, times=times, after=after)
    seen = await dispatch(fake, **options)
    asked = len(fake.requests)
    await check_dispatch(fake, seen)
    return seen.outcome.reason_code, asked


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("request_", READS_OF_A_DISPATCH)
def test_a_read_of_a_dispatch_that_others_answer(request_: str, kind: str) -> None:
    path, after = READS_OF_A_DISPATCH[request_]
    for times in TIMES:
        reason, _ = run(whole_dispatch([("GET", path, answer(*KINDS[kind]), times, after)]))
        if request_ == "follow the events":
            assert reason == "completed", "events decide nothing"


@pytest.mark.parametrize("when", ["instead", "after", "before"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("request_", WRITES_OF_A_DISPATCH)
def test_a_write_of_a_dispatch_that_others_answer(request_: str, kind: str, when: str) -> None:
    for times in TIMES:
        spoil = [(*WRITES_OF_A_DISPATCH[request_], answered_for(*KINDS[kind], when), times, 0)]
        reason, _ = run(whole_dispatch(spoil))
        assert reason in ("completed", "effect_unknown")
        assert reason == "completed" or times == TIMES[-1]


@pytest.mark.parametrize("kind", ["an empty object", "an empty list"])
@pytest.mark.parametrize("request_", [*READS_OF_A_DISPATCH][BEFORE:])
def test_an_answer_that_there_is_nothing_ends_no_work_however_often_it_comes(
    request_: str, kind: str
) -> None:
    """The agent works on for longer than any doubt lasts."""

    async def followed() -> None:
        path, after = READS_OF_A_DISPATCH[request_]
        fake = WorkingOpenCode(work_s=300)
        fake.add("GET", path, answer(*KINDS[kind]), times=100_000, after=after)
        seen = await dispatch(fake, timeout_s=200)
        assert seen.outcome.state in (State.TIMED_OUT, State.UNREACHABLE), seen.outcome
        assert seen.bead == "held" or not fake.at_work

    run(followed())


@pytest.mark.parametrize("kind", ["an empty object", "an empty list"])
@pytest.mark.parametrize("path", [r"^/session/status$", r"^/session/[^/]+/children$", r"^/session/[^/]+$"])
def test_no_second_task_is_sent_into_a_turn_that_seems_to_be_over(path: str, kind: str) -> None:
    async def resumed(times: int) -> None:
        fake = WorkingOpenCode(work_s=1000)
        await dispatch_only(fake)
        fake.add("GET", path, answer(*KINDS[kind]), times=times)
        later = replace(REQUEST, dispatch="d2", resume=REQUEST.session)
        async with fake.client() as server:
            with pytest.raises(FleetError):
                await look(server, later, patience_s=0)
        assert fake.runs == 1

    for times in TIMES:
        run(resumed(times))


@pytest.mark.parametrize("when", ["instead", "after", "before"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_stop_that_others_answer(kind: str, when: str) -> None:
    """The time is over before the work is: the session is stopped, or may work on, and that is what is said."""

    async def stopped(times: int) -> None:
        fake = WorkingOpenCode(work_s=1000)
        fake.add("POST", "/abort$", answered_for(*KINDS[kind], when), times=times)
        seen = await dispatch(fake, timeout_s=60)
        reason = seen.outcome.reason_code
        assert reason == "timeout" if times == 1 or when != "instead" else reason == "timeout_unconfirmed"
        assert seen.bead == ("held" if reason == "timeout_unconfirmed" else "blocked")
        assert fake.at_work is (reason == "timeout_unconfirmed")
        assert fake.runs == 1

    for times in (1, 100_000):
        run(stopped(times))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("path", READS["status"])
def test_a_read_of_a_status_that_others_answer(path: str, kind: str) -> None:
    async def looked(times: int) -> None:
        fake = WorkingOpenCode(work_s=1000)
        assert (await dispatch_only(fake)) == "busy"
        fake.add("GET", path, answer(*KINDS[kind]), times=times)
        assert await status(fake) in ("busy", "unreachable", "refused")

    for times in TIMES:
        run(looked(times))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("path", READS["reap"])
def test_a_read_of_a_reap_that_others_answer(path: str, kind: str) -> None:
    async def reaped(work_s: float, times: int) -> str:
        fake = WorkingOpenCode(work_s=work_s)
        await dispatch_only(fake)
        fake.add("GET", path, answer(*KINDS[kind]), times=times)
        return await check_reap(fake)

    for times in TIMES:
        assert run(reaped(1000, times)) == "kept"
        assert run(reaped(0, times)) in ("kept", "blocked")


async def dispatch_only(fake: WorkingOpenCode) -> str:
    """Place a task without a wait; what the status calls its session then."""
    session = fake.session(REQUEST.session, metadata={"dx_dispatch": REQUEST.dispatch})
    fake._prompt(session, {"messageID": REQUEST.message, "parts": [{"type": "text", "text": REQUEST.task}]})
    if fake.work_s == 0:
        fake._finish(session)
    return await status(fake)


# -- at random --


@dataclass(frozen=True)
class Drawn:
    """One answer of somebody else."""

    status: int
    body: bytes
    content_type: str
    when: str
    delay_s: float

    @property
    def fault(self) -> Fault:
        return answered_for(self.status, self.body, self.content_type, self.when, self.delay_s)


NEARLY = [
    b"",
    HTML,
    b"null",
    b"true1",
    b'"ok"',
    b"{",
    b'{"status": "ok"}',
    b'{"message": "Not Found"}',
    b'{"name": "NotFoundError"}',
    b'{"name": "NotFoundError", "data": "Session not found"}',
    b'{"name": "not found", "data": {"message": "Session not found"}}',
    b'{"data": {"message": "Session not found: ses_1"}}',
    b'{"_tag": 404}',
    b'{"error": {"name": "NotFoundError"}}',
    b'{"data": {"id": "ses_other", "location": {"directory": "/srv"}}}',
]
answers = st.builds(
    Drawn,
    status=st.sampled_from([200, 201, 202, 206, 301, 302, 307, 400, 401, 402, 403, 404, 405, 407, 408, 409])
    | st.sampled_from([410, 413, 414, 421, 425, 429, 431, 451, 500, 501, 502, 503, 504, 511, 520, 524, 599]),
    body=st.sampled_from(NEARLY) | st.binary(max_size=40),
    content_type=st.sampled_from(["application/json", "text/html", "text/plain", "application/problem+json"]),
    when=st.sampled_from(["instead", "after", "before"]),
    delay_s=st.sampled_from([0.01, 0.5, 2.0, 10.0, 60.0]),
)
WANTED = int(os.environ.get("DX_RANDOM_ANSWERS", "1000"))
SEED = int(os.environ.get("DX_RANDOM_SEED", secrets.randbelow(2**32)))
PER_RUN = 10
GIVEN_PER_RUN = 4  # at least, on average: a dispatch that is refused asks for no more
BEFORE_THE_TASK = (
    "health",
    "look for an earlier try",
    "the projects",
    "the home",
    "does the directory exist",
)
FOR_THE_TASK = [
    *WRITES_OF_A_DISPATCH.values(),
    *(("GET", path) for name, (path, _) in READS_OF_A_DISPATCH.items() if name not in BEFORE_THE_TASK),
]
FIRST = [("GET", READS_OF_A_DISPATCH[name][0]) for name in BEFORE_THE_TASK]
# What spoils a look ends the dispatch there: the later requests are worth more answers.
requests = st.sampled_from([*FOR_THE_TASK * 8, *FIRST])
spoilt_requests = st.tuples(requests, answers, st.integers(0, 3), st.integers(1, 6))


def test_answers_drawn_at_random() -> None:
    """Each spoils some requests after letting some pass. A seed draws the same ones again."""
    print(f"again: DX_RANDOM_SEED={SEED} DX_RANDOM_ANSWERS={WANTED}")
    given_answers = 0

    def counted(fault: Fault) -> Fault:
        def count(server: FakeOpenCode, request: httpx.Request) -> httpx.Response:
            nonlocal given_answers
            given_answers += 1
            return fault(server, request)

        return count

    @seed(SEED)
    @settings(
        max_examples=-(-WANTED // GIVEN_PER_RUN),
        deadline=None,
        derandomize=False,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(spoilt_requests, min_size=PER_RUN, max_size=PER_RUN))
    def spoil(drawn: list[tuple[tuple[str, str], Drawn, int, int]]) -> None:
        async def spoiled_dispatch() -> None:
            fake = WorkingOpenCode()
            for (method, path), each, after, times in drawn:
                fake.add(method, path, counted(each.fault), times=times, after=after)
            seen = await dispatch(fake)
            note(f"{seen.outcome.reason_code}, the bead {seen.bead}")
            await check_dispatch(fake, seen)

        run(spoiled_dispatch())

    spoil()
    print(given_answers)
    assert given_answers >= WANTED
