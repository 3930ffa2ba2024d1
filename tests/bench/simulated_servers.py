# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Simulated OpenCode servers: a stand-in, only for measuring how many sessions can be waited for at once.

Three hundred real sessions would measure OpenCode. This answers just the routes that waiting uses: every
session is busy until the end, then idle with a finished answer, and says something every ten seconds.

    python -m tests.bench.simulated_servers SERVERS SESSIONS SECONDS
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

__all__ = ["main"]


@web.middleware
async def _refuse_two_directories(request: web.Request, handler: Handler) -> web.StreamResponse:
    """As OpenCode does, by which the client knows an empty answer for its own."""
    if len(request.query.getall("directory", [])) > 1:
        data = {"message": "Expected string | undefined", "kind": "Query"}
        return web.json_response({"name": "BadRequest", "data": data}, status=400)
    return await handler(request)


class _Server:
    """One server with its sessions, all in one directory."""

    def __init__(self, number: int, sessions: int, until: float) -> None:
        self.sessions = [f"ses_sim{number}x{index}" for index in range(sessions)]
        self.directory = f"/srv/simulated{number}"
        self.until = until

    def app(self) -> web.Application:
        app = web.Application(middlewares=[_refuse_two_directories])
        app.router.add_get("/session/status", self.status)
        app.router.add_get("/permission", self.nothing)
        app.router.add_get("/question", self.nothing)
        app.router.add_get("/session/{session}", self.session)
        app.router.add_get("/session/{session}/message", self.messages)
        app.router.add_get("/session/{session}/children", self.nothing)
        app.router.add_get("/global/event", self.events)
        return app

    @property
    def done(self) -> bool:
        return time.monotonic() >= self.until

    async def status(self, _: web.Request) -> web.Response:
        busy = {} if self.done else {session: {"type": "busy"} for session in self.sessions}
        return web.json_response(busy)

    async def session(self, request: web.Request) -> web.Response:
        return web.json_response({"id": request.match_info["session"], "directory": self.directory})

    async def nothing(self, _: web.Request) -> web.Response:
        return web.json_response([])

    async def messages(self, request: web.Request) -> web.Response:
        session = request.match_info["session"]
        user = {"id": f"msg_{session}", "sessionID": session, "role": "user", "time": {"created": 1}}
        step = {"id": f"msg_{session}_a", "sessionID": session, "role": "assistant", "time": {"created": 2}}
        if self.done:
            step |= {"finish": "stop", "time": {"created": 2, "completed": 3}}
        part = {"id": "prt_1", "type": "text", "text": "Done."}
        return web.json_response([{"info": user, "parts": [part]}, {"info": step, "parts": [part]}])

    async def events(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        await self._say(response, "server.connected", {})
        pause_s = 10 / len(self.sessions)
        while not self.done:
            for session in self.sessions:
                part = {"sessionID": session, "messageID": f"msg_{session}_a", "delta": "a few words"}
                await self._say(response, "message.part.delta", part)
                await asyncio.sleep(pause_s)
                if self.done:
                    break
            await self._say(response, "server.heartbeat", {})
        for session in self.sessions:
            await self._say(response, "session.idle", {"sessionID": session})
        await asyncio.sleep(60)
        return response

    async def _say(self, response: web.StreamResponse, kind: str, properties: dict[str, Any]) -> None:
        event = {"directory": self.directory, "payload": {"type": kind, "properties": properties}}
        await response.write(f"data: {json.dumps(event)}\n\n".encode())


async def main(servers: int, sessions: int, seconds: float) -> None:
    """Serve, print where as one line of JSON, and end by itself a minute after the sessions did."""
    until = time.monotonic() + seconds
    urls: dict[str, dict[str, Any]] = {}
    runners = []
    for number in range(servers):
        server = _Server(number, sessions // servers, until)
        runner = web.AppRunner(server.app(), access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        runners.append(runner)
        urls[site.name if ":0" not in site.name else f"http://127.0.0.1:{runner.addresses[0][1]}"] = {
            "sessions": server.sessions,
            "directory": server.directory,
        }
    print(json.dumps(urls), flush=True)
    await asyncio.sleep(seconds + 60)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
