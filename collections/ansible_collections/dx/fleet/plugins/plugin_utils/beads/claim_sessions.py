# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the sessions of claims are doing, as the servers themselves say."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from ..domain.errors import FleetError
from ..opencode.activity import activity_of_family
from ..opencode.client import OpenCode
from ..opencode.errors import NotFound, OpenCodeError
from ..opencode.reach import check_server
from ..sessions.turn import Verdict, judge, read_turn

__all__ = ["SessionSeen", "look_at_all", "no_dispatch"]

PATIENCE_S = 5.0


@dataclass(frozen=True)
class SessionSeen:
    """``state`` is ``busy``, ``retry``, ``needs_input``, ``idle``, ``gone`` (there is no such session) or
    ``unknown`` (it can't be asked: ``why``). An idle one has a verdict on the claim's task.
    """

    state: str
    verdict: Verdict | None = None
    why: str | None = None

    @property
    def maybe_works(self) -> bool:
        """True unless it is known not to work: what can't be asked counts as alive."""
        return self.state not in ("idle", "gone")


async def look_at_all(
    claims: Sequence[Mapping[str, Any]],
    servers: Mapping[str, OpenCode | FleetError],
    *,
    patience_s: float = PATIENCE_S,
) -> list[SessionSeen]:
    """What the session of each claim is doing.

    Args:
        claims: Each with ``bead``, ``vm``, ``dispatch``, ``session`` and ``message``.
        servers: VM -> its server, or why there is none to ask. They are closed at the end.
        patience_s: How long a silent server is waited for.
    """
    silent: dict[str, FleetError] = {}
    async with AsyncExitStack() as stack:
        for server in servers.values():
            if isinstance(server, OpenCode):
                await stack.enter_async_context(server)
        await asyncio.gather(*(_greet(vm, server, silent, patience_s) for vm, server in servers.items()))
        return list(await asyncio.gather(*(_look(claim, servers, silent) for claim in claims)))


async def _greet(
    vm: str, server: OpenCode | FleetError, silent: dict[str, FleetError], patience_s: float
) -> None:
    if isinstance(server, FleetError):
        silent[vm] = server
        return
    try:
        await check_server(server, vm, patience_s=patience_s)
    except FleetError as error:
        silent[vm] = error


async def _look(
    claim: Mapping[str, Any], servers: Mapping[str, OpenCode | FleetError], silent: Mapping[str, FleetError]
) -> SessionSeen:
    vm, name = str(claim["vm"]), claim["session"]
    server = servers.get(vm)
    if claim["dispatch"] is None:
        return SessionSeen("unknown", why=no_dispatch(claim))
    if vm in silent or not isinstance(server, OpenCode):
        return SessionSeen("unknown", why=silent[vm].message if vm in silent else f"there is no VM {vm}")
    if not isinstance(name, str):
        return SessionSeen(
            "unknown", why=f"the claim names none. Next, where nobody works on it: {_freed(claim)}"
        )
    message = claim["message"] if isinstance(claim["message"], str) else None
    try:
        return await _seen(server, name, message)
    except OpenCodeError as error:
        return SessionSeen("unknown", why=error.message)


def no_dispatch(claim: Mapping[str, Any]) -> str:
    """Why no dispatch holds a bead that is in progress, and what to do."""
    return f"somebody claimed it by hand, or set it so. Next, where nobody works on it: {_freed(claim)}"


def _freed(claim: Mapping[str, Any]) -> str:
    return f"bd update {claim['bead']} -s open -a ''"


async def _seen(server: OpenCode, name: str, message: str | None) -> SessionSeen:
    try:
        session = await server.session(name)
    except NotFound:
        return SessionSeen("gone")
    activity = await activity_of_family(server, session)
    if name in activity.states:
        return SessionSeen(activity.states[name])
    if activity.unreadable:
        return SessionSeen("unknown", why="; ".join(activity.unreadable.values()))
    turn = await read_turn(server, name, message)
    return SessionSeen("idle", verdict=judge(turn.messages))
