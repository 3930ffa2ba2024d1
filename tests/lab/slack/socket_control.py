# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The control of Socket Mode inside the keeper: what happened, what people do beside writing, and faults."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiohttp import web

from .happenings import clicked, native_stop, slash_command
from .seed import Seed
from .socket_mode import Envelope, SocketMode

__all__ = ["SocketControl"]

_STATUSES = ("processing", "active", "suspended", "closed")

Ask = Callable[[str, Mapping[str, object]], Awaitable[dict[str, Any]]]


class SocketControl:
    """Routes for tests, and what the front does about agents' sessions.

    Args:
        socket: The app's connections.
        seed: Who is who.
        ask: Calls a method of the Web API as a person.
    """

    def __init__(self, socket: SocketMode, seed: Seed, ask: Ask) -> None:
        self._socket = socket
        self._seed = seed
        self._ask = ask
        self._events: set[asyncio.Task[bool]] = set()
        self.clear()

    def clear(self) -> None:
        """As at first."""
        self._is_agent = False
        self._sessions: dict[tuple[str, str], str] = {}
        self._socket.reset()

    async def stop(self) -> None:
        """End everything."""
        await self._socket.stop()

    def routes(self, prefix: str) -> list[web.RouteDef]:
        """For the keeper's application."""
        return [
            web.get(f"{prefix}/socket", self._state),
            web.get(f"{prefix}/envelopes", self._envelopes),
            web.post(f"{prefix}/socket/settings", self._set),
            web.post(f"{prefix}/socket/end", self._end),
            web.post(f"{prefix}/socket/event", self._event),
            web.post(f"{prefix}/socket/click", self._click),
            web.post(f"{prefix}/socket/slash", self._slash),
            web.post(f"{prefix}/socket/native_stop", self._native_stop),
        ]

    def deliver(self, event: Mapping[str, Any], **beside: Any) -> None:
        """Something happened: the app hears of it, sooner or later."""
        task = asyncio.create_task(self._socket.event(event, **beside))
        self._events.add(task)
        task.add_done_callback(self._events.discard)

    def set_status(self, arguments: Mapping[str, object]) -> dict[str, Any]:
        """What ``agents.sessions.setStatus`` answers; only an app that is declared an agent may."""
        if not self._is_agent:
            return {"ok": False, "error": "not_authorized"}
        status = str(arguments.get("status", ""))
        if status not in _STATUSES:
            return {"ok": False, "error": "invalid_arguments"}
        self._sessions[str(arguments.get("channel_id")), str(arguments.get("thread_ts"))] = status
        return {"ok": True}

    async def _state(self, request: web.Request) -> web.Response:
        """How many connections there are; with ``connected`` and ``timeout`` it waits till there are so many."""
        wanted = request.query.get("connected")
        if wanted is not None:
            await self._wait(request, lambda: self._socket.connected == int(wanted))
        sessions = [[*where, status] for where, status in self._sessions.items()]
        return web.json_response({"connected": self._socket.connected, "sessions": sessions})

    async def _envelopes(self, request: web.Request) -> web.Response:
        """Those sent; with ``acked`` (how many) and ``timeout`` it waits till so many are acknowledged."""
        wanted = int(request.query.get("acked", "0"))
        await self._wait(
            request, lambda: sum(one.acked is not None for one in self._socket.envelopes) >= wanted
        )
        return web.json_response([_shown(one) for one in self._socket.envelopes])

    async def _wait(self, request: web.Request, until: Callable[[], bool]) -> None:
        async with self._socket.changed:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(float(request.query.get("timeout", "0"))):
                    await self._socket.changed.wait_for(until)

    async def _set(self, request: web.Request) -> web.Response:
        wanted = await request.json()
        self._socket.ack_s = wanted["ack_s"]
        self._socket.redelivery_s = tuple(wanted["redelivery_s"])
        self._socket.keeps_events = wanted["keeps_events"]
        self._is_agent = wanted["is_agent"]
        return web.json_response({})

    async def _end(self, request: web.Request) -> web.Response:
        await self._socket.end((await request.json())["how"])
        return web.json_response({})

    async def _event(self, request: web.Request) -> web.Response:
        wanted = await request.json()
        self.deliver(wanted["event"], **wanted["beside"])
        return web.json_response({})

    async def _click(self, request: web.Request) -> web.Response:
        wanted = await request.json()
        channel, ts = wanted["channel"], wanted["message_ts"]
        thread = wanted["thread_ts"] or ts
        message = wanted["message"]
        if message is None:
            asked = {"channel": channel, "ts": thread, "limit": 1000}
            found = await self._ask("conversations.replies", asked)
            message = next(one for one in found["messages"] if one["ts"] == ts)
        try:
            payload = clicked(
                channel,
                self._seed.team_id,
                message,
                wanted["action_id"],
                wanted["user"],
                _now(),
                wanted["team"],
                wanted["value"],
            )
        except LookupError as error:
            return web.json_response({"acked": False, "error": str(error)})
        return web.json_response({"acked": await self._socket.once("interactive", payload)})

    async def _slash(self, request: web.Request) -> web.Response:
        wanted = await request.json()
        payload = slash_command(
            wanted["channel"], self._seed.team_id, wanted["command"], wanted["text"], wanted["user"]
        )
        return web.json_response({"acked": await self._socket.once("slash_commands", payload)})

    async def _native_stop(self, request: web.Request) -> web.Response:
        """Slack shows it in a thread whose agent is at work, and in no other."""
        wanted = await request.json()
        where = (wanted["channel"], wanted["thread_ts"])
        shown = self._sessions.get(where) == "processing"
        if shown:
            self.deliver(native_stop(*where, wanted["user"], _now()))
        return web.json_response({"shown": shown})


def _now() -> str:
    return f"{time.time():.6f}"


def _shown(envelope: Envelope) -> dict[str, Any]:
    return {name: value for name, value in vars(envelope).items() if name != "heard"}
