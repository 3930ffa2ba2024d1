# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Following sessions to their outcome: any number, over any number of servers, in one event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack

from ...domain.clock import SYSTEM_CLOCK, Clock
from ...domain.outcome import Outcome
from ...domain.progress import Emit, discard
from ...opencode.client import OpenCode
from .follower import Follower, Target
from .limits import Limits
from .requests import NO_ANSWERS, Answering
from .server_watch import ServerWatch

__all__ = ["Answering", "Limits", "Target", "wait_for"]


async def wait_for(
    targets: Mapping[str, Sequence[Target]],
    servers: Mapping[str, OpenCode],
    limits: Limits,
    *,
    answering: Answering = NO_ANSWERS,
    emit: Emit = discard,
    clock: Clock = SYSTEM_CLOCK,
) -> dict[str, list[Outcome]]:
    """Wait until every session has an outcome.

    Args:
        targets: Sessions by the name of their server.
        servers: The servers by name; they are opened and closed here.
        limits: When to stop a session.
        answering: What is done when one waits for a person.
        emit: Called with each change.
        clock: The time.

    Returns:
        The outcomes by the name of the server, in the order of its targets.
    """
    async with AsyncExitStack() as stack:
        for server in servers.values():
            await stack.enter_async_context(server)
        found = await asyncio.gather(
            *(
                _wait_on(servers[name], members, limits, answering, emit, clock)
                for name, members in targets.items()
            )
        )
    return dict(zip(targets, found, strict=True))


async def _wait_on(
    server: OpenCode,
    targets: Sequence[Target],
    limits: Limits,
    answering: Answering,
    emit: Emit,
    clock: Clock,
) -> list[Outcome]:
    began = clock.monotonic()
    watches: list[dict[str, Follower]] = []
    places: list[int] = []
    for target in targets:
        # A watch follows one turn of a session; another turn of the same is for another watch.
        place = next((n for n, watch in enumerate(watches) if target.session not in watch), len(watches))
        if place == len(watches):
            watches.append({})
        watches[place][target.session] = Follower(target, emit, moved_at=began)
        places.append(place)
    found = await asyncio.gather(
        *(ServerWatch(server, watch, limits, answering, clock).run() for watch in watches)
    )
    return [found[place][target.session] for place, target in zip(places, targets, strict=True)]
