# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The workspace inside the keeper: emulator, the front that callers see, and their control."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web

from ..addresses import Addresses
from ..model_server import reset
from ..plan import SlackState
from .binaries import find_emulator, find_node
from .emulator import Emulator
from .faults import Fault, Faults, Limit
from .happenings import events_of_change, events_of_post
from .seed import APP_ID, BOT_USER, CHANNEL, OTHER_CHANNEL, PRIVATE_CHANNEL, Seed
from .socket_control import SocketControl
from .socket_mode import LINK, SocketMode
from .spoiling import spoiled
from .web_api import WebApi

__all__ = ["CONTROL", "SlackServer"]

CONTROL = "/lab/slack"
"""Where the control is, and beside it the Web API without faults, limits and records."""

_MOST_BYTES = 1 << 28


@dataclass(frozen=True)
class _Call:
    method: str
    token: str
    arguments: dict[str, object]


class SlackServer:
    """One workspace: the front listens at a port of its own, its control at the keeper's."""

    def __init__(self, root: Path, lab_id: str, addresses: Addresses) -> None:
        self._addresses = addresses
        self._seed = Seed()
        directory = root / "slack"
        directory.mkdir(mode=0o700)
        self.emulator = Emulator(self._seed, find_node(), find_emulator(), directory, lab_id, addresses)
        self._api = WebApi(self._seed, self.emulator, self._happened)
        self._socket = SocketMode(self._seed)
        self._socket_control = SocketControl(self._socket, self._seed, self._as_jane)
        self._faults = Faults()
        self._limits: dict[str, Limit] = {}
        self._requests: list[dict[str, Any]] = []
        self._changed = asyncio.Condition()
        self._port = 0
        self._site: web.TCPSite | None = None
        application = web.Application(client_max_size=_MOST_BYTES)
        application.router.add_route("*", "/api/{method}", self._front)
        application.router.add_get(LINK, self._socket.connect)
        self._runner = web.AppRunner(
            application, handler_cancellation=True, access_log=None, shutdown_timeout=0.1
        )

    def routes(self) -> list[web.RouteDef]:
        """The control's, for the keeper's application."""
        return [
            web.route("*", f"{CONTROL}/api/{{method}}", self._back),
            web.get(f"{CONTROL}/requests", self._list_requests),
            web.post(f"{CONTROL}/faults", self._add_fault),
            web.post(f"{CONTROL}/limits", self._add_limit),
            web.post(f"{CONTROL}/clear", self._clear),
            web.post(f"{CONTROL}/refuse", self._refuse),
            web.post(f"{CONTROL}/accept", self._accept),
            *self._socket_control.routes(CONTROL),
        ]

    async def start(self, origin: str) -> SlackState:
        """Start everything; ``origin`` is where the control is.

        Raises:
            ServerStartError: the emulator did not start.
        """
        await self.emulator.start()
        await self._invite_bot()
        self._seed.team_id = (await self._as_jane("auth.test", {}))["team_id"]
        channels = await self._channels()
        await self._runner.setup()
        self._port = self._addresses.port()
        await self._open_port()
        return SlackState(
            url=f"http://127.0.0.1:{self._port}/api/",
            control=f"{origin}{CONTROL}",
            bot_token=self._seed.bot.token,
            reader_token=self._seed.reader.token,
            other_token=self._seed.other.token,
            app_token=self._seed.app_token,
            app=APP_ID,
            team=self._seed.team_id,
            channel=channels[CHANNEL],
            private_channel=channels[PRIVATE_CHANNEL],
            other_channel=channels[OTHER_CHANNEL],
        )

    async def stop(self) -> None:
        """End everything."""
        await self._socket_control.stop()
        await self._runner.cleanup()
        await self.emulator.stop()

    async def _invite_bot(self) -> None:
        """Into the channels in which it is to be, and is not."""
        channels = await self._channels()
        for name in (CHANNEL, PRIVATE_CHANNEL):
            where = {"channel": channels[name]}
            if BOT_USER not in (await self._as_jane("conversations.members", where))["members"]:
                await self._as_jane("conversations.invite", {**where, "users": BOT_USER})

    async def _channels(self) -> dict[str, str]:
        wanted = {"types": "public_channel,private_channel", "limit": "1000"}
        listed = await self._as_jane("conversations.list", wanted)
        return {channel["name"]: channel["id"] for channel in listed["channels"]}

    async def _as_jane(self, method: str, arguments: Mapping[str, object]) -> dict[str, Any]:
        answer = await self._api.answer(method, self._seed.reader.token, arguments)
        if not answer.get("ok"):
            raise RuntimeError(f"the Slack emulator answered {method} with {answer}")
        return answer

    async def _front(self, request: web.Request) -> web.StreamResponse:
        call, at = await _read(request), time.monotonic()

        async def answer() -> web.Response:
            if call.method == "apps.connections.open":
                return web.json_response(self._socket.open(call.token, f"127.0.0.1:{self._port}"))
            if call.method == "agents.sessions.setStatus":
                return web.json_response(self._socket_control.set_status(call.arguments))
            return web.json_response(await self._api.answer(call.method, call.token, call.arguments))

        async def recorded() -> web.Response:
            try:
                return await answer()
            finally:  # not before: who waits for a call reads what it has brought about
                await self._record(call, at)

        fault = self._faults.take(call.method, call.arguments) or self._over_limit(call)
        if fault is None:
            return await recorded()
        if fault.commits:
            return await spoiled(request, fault, recorded)
        await self._record(call, at)
        return await spoiled(request, fault, answer)

    async def _back(self, request: web.Request) -> web.Response:
        call = await _read(request)
        return web.json_response(await self._api.answer(call.method, call.token, call.arguments))

    def _happened(self, method: str, answer: Mapping[str, Any]) -> None:
        channel, ts, message = answer["channel"], answer["ts"], answer.get("message", {})
        if method == "chat.postMessage":
            events = events_of_post(channel, self._seed.team_id, message)
        else:
            events = events_of_change(method, channel, ts, f"{time.time():.6f}", message)
        for event in events:
            self._socket_control.deliver(event)

    def _over_limit(self, call: _Call) -> Fault | None:
        limit = self._limits.get(call.method)
        if limit is None:
            return None
        wait_s = limit.take(str(call.arguments.get("channel", "")), time.monotonic())
        return None if wait_s is None else Fault(call.method, "ratelimited", retry_after=str(wait_s))

    async def _record(self, call: _Call, at: float) -> None:
        identity = self._seed.identity(call.token)
        record = {
            "method": call.method,
            "user": None if identity is None else identity.user,
            "arguments": call.arguments,
            "time": at,
        }
        async with self._changed:
            self._requests.append(record)
            self._changed.notify_all()

    async def _list_requests(self, request: web.Request) -> web.Response:
        """Those of ``method``; with ``at_least`` and ``timeout`` (seconds) it waits till there are so many."""
        method, wanted = request.query["method"], int(request.query.get("at_least", "0"))

        def matching() -> list[dict[str, Any]]:
            return [one for one in self._requests if method in ("*", one["method"])]

        async with self._changed:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(float(request.query.get("timeout", "0"))):
                    await self._changed.wait_for(lambda: len(matching()) >= wanted)
        return web.json_response(matching())

    async def _add_fault(self, request: web.Request) -> web.Response:
        self._faults.add(Fault(**await request.json()))
        return web.json_response({})

    async def _add_limit(self, request: web.Request) -> web.Response:
        limit = Limit(**await request.json())
        self._limits[limit.method] = limit
        return web.json_response({})

    async def _clear(self, request: web.Request) -> web.Response:
        self._faults.clear()
        self._limits.clear()
        await self._open_port()
        await self._drop_connections()
        await self._invite_bot()
        await self._api.clear()
        self._socket_control.clear()
        self._requests.clear()
        return web.json_response({})

    async def _refuse(self, request: web.Request) -> web.Response:
        if self._site is not None:
            await self._site.stop()
            self._site = None
        await self._drop_connections()
        return web.json_response({})

    async def _accept(self, request: web.Request) -> web.Response:
        await self._open_port()
        return web.json_response({})

    async def _open_port(self) -> None:
        if self._site is None:
            self._site = web.TCPSite(self._runner, "127.0.0.1", self._port, reuse_address=True)
            await self._site.start()

    async def _drop_connections(self) -> None:
        assert self._runner.server is not None
        for connection in list(self._runner.server.connections):
            reset(connection.transport)


async def _read(request: web.Request) -> _Call:
    """The call, whichever way its arguments came: query, form or JSON."""
    arguments: dict[str, object] = dict(request.query)
    if request.content_type == "application/json":
        with contextlib.suppress(json.JSONDecodeError):
            body = await request.json()
            arguments.update(body if isinstance(body, dict) else {})
    elif request.can_read_body:
        arguments.update(
            {name: value for name, value in (await request.post()).items() if isinstance(value, str)}
        )
    in_body = str(arguments.pop("token", ""))
    token = request.headers.get("Authorization", "").removeprefix("Bearer ").strip() or in_body
    return _Call(request.match_info["method"], token, arguments)
