# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Slack's Socket Mode: the WebSocket by which an app hears what happens in a workspace.

No emulator that can be had has it; this one is checked by Slack's own client for Node. As Slack does, by its
documentation and by what users report: an address with a ticket for one connection; ``hello``; each envelope to
one of the app's connections, whichever; an event that is not acknowledged in time comes again, in a new envelope
with ``retry_attempt``; a click and a slash command do not. Events that happen while nobody is connected come
later, or never (:attr:`SocketMode.keeps_events`): reports differ.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import WSMsgType, web

from ..model_server import reset
from .seed import APP_ID, Seed

__all__ = ["LINK", "Envelope", "SocketMode"]

LINK = "/link"
"""Where the WebSocket is."""

ACK_S = 3.0
REDELIVERY_S = (0.0, 60.0, 300.0)
"""After how many seconds an event comes again, once, twice, thrice."""

_MOST_CONNECTIONS = 10
_SERVER_PING_S = 10.0


@dataclass
class Envelope:
    """One delivery. ``acked`` is when it was acknowledged, by the monotonic clock, in seconds."""

    kind: str
    payload: Mapping[str, Any]
    envelope_id: str
    retry_attempt: int
    sent: float
    acked: float | None = None
    answer: Any = None
    heard: asyncio.Event = field(default_factory=asyncio.Event, repr=False)


class SocketMode:
    """The connections of the app, and what goes to them."""

    def __init__(self, seed: Seed) -> None:
        self._seed = seed
        self._tickets: set[str] = set()
        self._connections: dict[web.WebSocketResponse, asyncio.Transport] = {}
        self._deaf: set[web.WebSocketResponse] = set()
        self._turn = itertools.count()
        self._changed = asyncio.Condition()
        self._deliveries: set[asyncio.Task[bool]] = set()
        self.envelopes: list[Envelope] = []
        self.reset()

    def reset(self) -> None:
        """As at first: what was delivered is forgotten, nothing more is delivered, the connections stay."""
        self.ack_s = ACK_S
        self.redelivery_s: tuple[float, ...] = REDELIVERY_S
        self.keeps_events = True
        for delivery in self._deliveries:
            delivery.cancel()
        self.envelopes.clear()

    @property
    def connected(self) -> int:
        """How many connections there are, less those that no longer reach the app."""
        return len(self._connections.keys() - self._deaf)

    @property
    def changed(self) -> asyncio.Condition:
        """Notified when a connection comes or goes, and when an envelope is sent or acknowledged."""
        return self._changed

    def open(self, token: str, address: str) -> dict[str, Any]:
        """What ``apps.connections.open`` answers; ``address`` is ``HOST:PORT`` of the front."""
        if token != self._seed.app_token:
            known = self._seed.identity(token) is not None
            return {"ok": False, "error": "not_allowed_token_type" if known else "invalid_auth"}
        ticket = secrets.token_hex(8)
        self._tickets.add(ticket)
        return {"ok": True, "url": f"ws://{address}{LINK}?ticket={ticket}&app_id={APP_ID}"}

    async def connect(self, request: web.Request) -> web.StreamResponse:
        """The handler of :data:`LINK`."""
        ticket = request.query.get("ticket", "")
        if ticket not in self._tickets:
            return web.Response(status=401, text="invalid ticket")
        self._tickets.remove(ticket)
        if len(self._connections) >= _MOST_CONNECTIONS:
            return web.Response(status=429, text="too_many_websockets")
        socket = web.WebSocketResponse(heartbeat=None, max_msg_size=0)
        await socket.prepare(request)
        assert isinstance(request.transport, asyncio.Transport)
        self._connections[socket] = request.transport
        pings = asyncio.create_task(self._ping(socket))
        try:
            await socket.send_json(self._hello())
            await self._notify()
            await self._listen(socket)
        except (ConnectionError, aiohttp.ClientError):
            pass  # the app has gone, as apps do
        finally:
            pings.cancel()
            await self._forget(socket)
        return socket

    async def event(self, event: Mapping[str, Any], **beside: Any) -> bool:
        """Deliver an event of the Events API; whether it was acknowledged at last."""
        return await self._tracked(
            "events_api",
            {
                "token": "verification",
                "team_id": self._seed.team_id,
                "api_app_id": APP_ID,
                "type": "event_callback",
                "event_id": f"Ev{secrets.token_hex(5).upper()}",
                "event_time": int(time.time()),
                "event": event,
                **beside,
            },
            (0.0, *self.redelivery_s),
        )

    async def once(self, kind: str, payload: Mapping[str, Any]) -> bool:
        """Deliver a click or a slash command: once. Whether it was acknowledged in time; else the person sees an
        error."""
        return await self._tracked(kind, payload, (0.0,))

    async def end(self, how: str) -> None:
        """End or spoil every connection: ``fin``, ``rst``, ``close``, ``blackhole``, or ``disconnect``, by which
        Slack asks the app to connect anew."""
        for socket in list(self._connections):
            await self._end(socket, how)

    async def stop(self) -> None:
        """End everything."""
        for delivery in self._deliveries:
            delivery.cancel()
        await self.end("close")

    async def _end(self, socket: web.WebSocketResponse, how: str) -> None:
        transport = self._connections[socket]
        match how:
            case "close":
                await socket.close(code=1001, drain=False)
            case "disconnect":
                await socket.send_json(
                    {"type": "disconnect", "reason": "refresh_requested", "debug_info": {}}
                )
            case "blackhole":
                self._deaf.add(socket)
                transport.pause_reading()
                asyncio.get_running_loop().call_later(self.ack_s, transport.abort)
            case "fin":
                transport.close()
            case "rst":
                reset(transport)
            case _:
                raise ValueError(how)

    def _hello(self) -> dict[str, Any]:
        return {
            "type": "hello",
            "num_connections": len(self._connections),
            "debug_info": {"host": "lab", "build_number": 1, "approximate_connection_time": 18060},
            "connection_info": {"app_id": APP_ID},
        }

    async def _ping(self, socket: web.WebSocketResponse) -> None:
        while socket not in self._deaf and not socket.closed:
            await socket.ping(b"Ping from lab")
            await asyncio.sleep(_SERVER_PING_S)

    async def _listen(self, socket: web.WebSocketResponse) -> None:
        async for message in socket:
            if message.type is not WSMsgType.TEXT:
                continue
            try:
                answer = message.json()
            except ValueError:
                continue
            if isinstance(answer, dict):
                await self._acknowledge(answer)

    async def _acknowledge(self, answer: Mapping[str, Any]) -> None:
        for envelope in self.envelopes:
            if envelope.envelope_id == answer.get("envelope_id") and envelope.acked is None:
                envelope.acked, envelope.answer = time.monotonic(), answer.get("payload")
                envelope.heard.set()
                await self._notify()

    async def _forget(self, socket: web.WebSocketResponse) -> None:
        del self._connections[socket]
        self._deaf.discard(socket)
        await self._notify()

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _tracked(self, kind: str, payload: Mapping[str, Any], pauses_s: tuple[float, ...]) -> bool:
        delivery = asyncio.create_task(self._deliver(kind, payload, pauses_s))
        self._deliveries.add(delivery)
        delivery.add_done_callback(self._deliveries.discard)
        return await delivery

    async def _deliver(self, kind: str, payload: Mapping[str, Any], pauses_s: tuple[float, ...]) -> bool:
        for attempt, pause_s in enumerate(pauses_s):
            await asyncio.sleep(pause_s)
            if not await self._reachable(kind):
                return False
            if await self._send(kind, payload, attempt):
                return True
        return False

    async def _reachable(self, kind: str) -> bool:
        """Whether somebody is connected; an event that is kept waits for that."""
        if kind == "events_api" and self.keeps_events:
            async with self._changed:
                await self._changed.wait_for(lambda: bool(self._connections))
        return bool(self._connections)

    async def _send(self, kind: str, payload: Mapping[str, Any], attempt: int) -> bool:
        envelope = Envelope(kind, payload, secrets.token_hex(8), attempt, time.monotonic())
        again = {"retry_attempt": attempt, "retry_reason": "timeout" if attempt else ""}
        body = {
            "envelope_id": envelope.envelope_id,
            "type": kind,
            "payload": payload,
            "accepts_response_payload": kind != "events_api",
            **(again if kind == "events_api" else {}),
        }
        self.envelopes.append(envelope)
        socket = list(self._connections)[next(self._turn) % len(self._connections)]
        await self._notify()
        try:
            async with asyncio.timeout(self.ack_s):
                await socket.send_json(body)
                await envelope.heard.wait()
        except (TimeoutError, ConnectionError, aiohttp.ClientError):
            return False
        return True
