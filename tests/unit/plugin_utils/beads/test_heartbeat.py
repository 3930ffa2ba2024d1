# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The heartbeat: a dispatcher that lives is never taken for gone, one that is gone soon is."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.beads.dispatcher import Liveness
from ansible_collections.dx.fleet.plugins.plugin_utils.beads.heartbeat import (
    EVERY_S,
    Heartbeat,
    beating,
    liveness_by_heartbeat,
)
from ansible_collections.dx.fleet.plugins.plugin_utils.opencode.errors import OpenCodeError

from tests.unit.clock import ManualClock
from tests.unit.fake_opencode import FakeOpenCode, not_sent

ME = "mac/0123/4/5"


@pytest.fixture
def fake() -> FakeOpenCode:
    server = FakeOpenCode()
    server.session("ses_1").metadata = {"dx_dispatch": "bd-1@1-a"}
    return server


def heartbeat(fake: FakeOpenCode) -> Heartbeat | None:
    return Heartbeat.read(fake.sessions["ses_1"].metadata)


async def begun(fake: FakeOpenCode) -> None:
    while heartbeat(fake) is None:  # noqa: ASYNC110 - the fake has no event for it
        await asyncio.sleep(0)


async def judged(fake: FakeOpenCode, clock: ManualClock, dispatcher: str = ME) -> Liveness:
    async with fake.client() as server:
        return await liveness_by_heartbeat(server, "ses_1", dispatcher, clock=clock)


async def test_while_it_beats_it_lives_and_soon_after_it_is_gone(fake: FakeOpenCode) -> None:
    clock = ManualClock()
    async with beating(fake.client(), "ses_1", ME, clock=clock):
        await begun(fake)
        assert await judged(fake, clock) is Liveness.ALIVE
    slept_s = clock.slept_s
    assert await judged(fake, clock) is Liveness.GONE
    assert clock.slept_s - slept_s <= 3 * EVERY_S
    assert fake.sessions["ses_1"].metadata["dx_dispatch"] == "bd-1@1-a"  # what else is there stays


async def test_a_clock_that_is_wrong_by_hours_makes_no_difference(fake: FakeOpenCode) -> None:
    theirs, ours = ManualClock(0.0), ManualClock(1e9)
    async with beating(fake.client(), "ses_1", ME, clock=theirs):
        await begun(fake)
        assert await judged(fake, ours) is Liveness.ALIVE


async def test_a_long_silence_that_was_announced_is_life_until_it_is_over(fake: FakeOpenCode) -> None:
    clock = ManualClock()
    async with beating(fake.client(), "ses_1", ME, clock=clock) as heart:
        await heart.beat(1800)
    began_s = clock.slept_s
    assert await judged(fake, clock) is Liveness.ALIVE
    assert clock.slept_s == began_s
    await clock.sleep(1900)
    assert await judged(fake, clock) is Liveness.GONE


async def test_the_count_goes_on_where_another_takes_over(fake: FakeOpenCode) -> None:
    clock = ManualClock()
    for dispatcher in (ME, "home/0123/7/8"):
        async with beating(fake.client(), "ses_1", dispatcher, clock=clock) as heart:
            await heart.beat()
    last = heartbeat(fake)
    assert last is not None
    assert (last.dispatcher, last.count >= 2) == ("home/0123/7/8", True)
    assert await judged(fake, clock, ME) is Liveness.UNSEEN  # nothing is known of the first one


@pytest.mark.parametrize(
    "kept",
    [
        None,
        "alive",
        [1],
        {},
        {"dispatcher": 5, "count": 1, "at": 1, "silent_s": 1},
        {"dispatcher": ME, "count": True, "at": 1, "silent_s": 1},
        {"dispatcher": ME, "count": 1, "at": float("nan"), "silent_s": 1},
        {"dispatcher": ME, "count": 1, "at": 1, "silent_s": float("inf")},
        {"dispatcher": ME, "count": 1, "at": "now", "silent_s": 1},
    ],
)
def test_what_is_no_heartbeat_is_none(kept: Any) -> None:
    assert Heartbeat.read({"dx_heartbeat": kept}) is None


async def test_without_a_session_nothing_is_seen(fake: FakeOpenCode) -> None:
    fake.sessions.clear()
    assert await judged(fake, ManualClock()) is Liveness.UNSEEN


async def test_a_server_that_is_away_ends_no_beating(fake: FakeOpenCode) -> None:
    clock = ManualClock()
    fake.add("PATCH", "/session/ses_1", not_sent(), times=2)
    async with beating(fake.client(), "ses_1", ME, clock=clock):
        await begun(fake)
    assert clock.slept_s >= EVERY_S


async def test_a_server_that_cannot_be_asked_is_said(fake: FakeOpenCode) -> None:
    fake.add("GET", "/session/ses_1", not_sent(), times=99)
    with pytest.raises(OpenCodeError):
        await judged(fake, ManualClock())
