# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server that is gone, silent or at fault: what is given up, and when."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.event_kind import EventKind
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.outcome import State

from tests.unit.fake_opencode import answer, lost, not_sent, own_error

from .watched import NO_LIMITS, Watched


async def test_a_server_that_is_gone_for_good_has_lost_its_sessions(watched: Watched) -> None:
    await watched.begin()
    watched.fake.add("*", ".", not_sent(), times=10_000)
    watched.fake.cut_streams()
    await watched.until(lambda: bool(watched.lines(EventKind.CONNECTION_LOST)))
    assert watched.waits
    watched.clock.leap(20)
    outcome = await watched.outcome()
    assert (outcome.state, outcome.reason_code) == (State.LOST, "server_gone")
    assert len(watched.lines(EventKind.CONNECTION_LOST)) == 1


async def test_a_server_that_never_answers_is_unreachable(watched: Watched) -> None:
    await watched.begin()
    watched.fake.add("*", ".", lost(httpx.ReadTimeout), times=10_000)
    watched.fake.cut_streams()
    await watched.until(lambda: bool(watched.lines(EventKind.CONNECTION_LOST)))
    await watched.passes(30)
    assert watched.waits
    watched.clock.leap(30)
    outcome = await watched.outcome()
    assert (outcome.state, outcome.reason_code) == (State.UNREACHABLE, "server_silent")


async def test_a_server_that_comes_back_in_time_goes_on(watched: Watched) -> None:
    await watched.begin()
    watched.fake.add("*", ".", not_sent(), times=10_000)
    watched.fake.cut_streams()
    await watched.until(lambda: bool(watched.lines(EventKind.CONNECTION_LOST)))
    watched.fake.mend()
    watched.finish()
    assert (await watched.outcome()).state is State.COMPLETED
    assert len(watched.lines(EventKind.CONNECTION_LOST)) == 1


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (own_error(404, "NotFoundError", "Session not found"), "session_gone"),
        (own_error(400, "BadRequest", "Expected OutputFormatJsonSchema"), "session_unreadable"),
        (own_error(500, "UnknownError", ref="err_1"), "session_unreadable"),
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
    await deaf.until(lambda: bool(deaf.ends))
    await deaf.passes(100)
    assert deaf.waits
    deaf.finish("ses_2", silently=True)
    one, other = await deaf.outcomes()
    assert (one.state, one.reason_code) == (State.FAILED, reason)
    assert other.state is State.COMPLETED


@pytest.mark.parametrize(("status", "reason"), [(404, "not_opencode"), (502, "gateway_error")])
async def test_a_session_that_somebody_else_answers_for_is_not_known_and_the_others_go_on(
    deaf: Watched, status: int, reason: str
) -> None:
    deaf.add("ses_2")
    deaf.session.status = None
    deaf.session.step("a", finish="stop", text="done")
    fault = answer(status, {"message": "no Route matched"})
    deaf.fake.add("GET", "/session/ses_1/message", fault, times=10_000)
    await deaf.begin(NO_LIMITS, "ses_1", "ses_2")
    await deaf.looked()  # from now on the session is in trouble
    await deaf.passes(30)
    assert deaf.ends == []
    deaf.clock.leap(30)
    await deaf.until(lambda: bool(deaf.ends))
    await deaf.passes(100)
    assert deaf.waits
    deaf.finish("ses_2", silently=True)
    one, other = await deaf.outcomes()
    assert (one.state, one.reason_code) == (State.UNREACHABLE, reason)
    assert other.state is State.COMPLETED


@pytest.mark.parametrize(
    ("fault", "state", "reason"),
    [
        (own_error(500, "UnknownError"), State.FAILED, "session_unreadable"),
        (answer(502, b"<html>", "text/html"), State.UNREACHABLE, "gateway_error"),
        (lost(httpx.ReadTimeout), State.UNREACHABLE, "server_silent"),
    ],
)
async def test_one_bad_directory_leaves_the_others_alone(
    deaf: Watched, fault: Any, state: State, reason: str
) -> None:
    deaf.add("ses_2", "/srv/2")
    deaf.fake.faults_in("/srv/2", fault)
    await deaf.begin(NO_LIMITS, "ses_1", "ses_2")
    await deaf.looked()
    deaf.clock.leap(60)
    await deaf.until(lambda: bool(deaf.ends))
    await deaf.passes(100)
    assert deaf.waits
    deaf.finish(silently=True)
    one, other = await deaf.outcomes()
    assert one.state is State.COMPLETED
    assert (other.state, other.reason_code) == (state, reason)


async def test_a_project_that_breaks_while_it_is_waited_for_ends_its_own_session_alone(deaf: Watched) -> None:
    deaf.add("ses_2", "/srv/2")
    await deaf.begin(NO_LIMITS, "ses_1", "ses_2")
    deaf.fake.broken["/srv/2"] = [{"path": ["provider"], "message": "Expected object, got 7"}]
    await deaf.looked(4)
    assert deaf.ends == [], "it may be mended at once"
    deaf.clock.leap(20)
    await deaf.until(lambda: bool(deaf.ends))
    deaf.finish(silently=True)
    one, other = await deaf.outcomes()
    assert one.state is State.COMPLETED
    assert (other.state, other.reason_code) == (State.FAILED, "config_invalid")
    assert "/srv/2/opencode.json: provider: Expected object, got 7" in other.message_to_human


async def test_a_session_that_works_is_not_over_because_it_cannot_be_read(deaf: Watched) -> None:
    await deaf.begin()
    deaf.fake.add("GET", "/session/ses_1/message", own_error(500, "UnknownError"), times=10_000)
    for _ in range(5):
        await deaf.passes(60)
    assert deaf.waits
    deaf.fake.mend()
    deaf.finish(silently=True)
    assert (await deaf.outcome()).state is State.COMPLETED


async def test_a_fault_of_the_server_that_passes_is_waited_for(deaf: Watched) -> None:
    deaf.fake.add("GET", "/session/ses_1/message", own_error(500, "UnknownError"), times=3)
    await deaf.begin()
    deaf.finish(silently=True)
    assert (await deaf.outcome()).state is State.COMPLETED
