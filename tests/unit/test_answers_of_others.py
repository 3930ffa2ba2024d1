# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Gateways, proxies and tailnets answer for a server that goes on working: whatever they answer, to whichever
request, before, after or instead of passing it on, the task runs at most once and nothing untrue is concluded.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.dispatch.preflight import look
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.errors import FleetError
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.outcome import State

from tests.reads_of_looks import READS

from .fake_opencode import Fault, answer, answered_for
from .requests_of_a_dispatch import BEFORE_THE_TASK, READS_OF_A_DISPATCH, WRITES_OF_A_DISPATCH
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
@pytest.mark.parametrize("request_", [name for name in READS_OF_A_DISPATCH if name not in BEFORE_THE_TASK])
def test_an_answer_that_there_is_nothing_ends_no_work_however_often_it_comes(
    request_: str, kind: str
) -> None:
    """The agent works on for longer than any doubt lasts."""

    async def followed() -> None:
        path, after = READS_OF_A_DISPATCH[request_]
        fake = WorkingOpenCode(work_s=150)
        fake.add("GET", path, answer(*KINDS[kind]), times=100_000, after=after)
        seen = await dispatch(fake, timeout_s=100, server_silent_s=60)
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
        seen = await dispatch(fake, timeout_s=15)
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
