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

from tests.unit.fake_opencode import answer, lost, not_sent

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
    await deaf.until(lambda: bool(deaf.ends))
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
