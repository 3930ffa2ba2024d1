# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A reverse proxy that spoils chosen requests and streams, between a client and a server that both work.

For example, the server gets the prompt, but its answer is lost::

    with FaultProxy(vm.url) as proxy:
        proxy.add("POST", r"/prompt_async$", drop_response())
        dispatch_to(proxy.url)
    assert proxy.requests.count(("POST", "/session/ses_1/prompt_async")) == 2
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import threading
from collections.abc import Callable, Collection, Coroutine
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

import aiohttp
import yarl
from aiohttp import web
from multidict import CIMultiDict

from .model_server import reset as _reset

__all__ = [
    "Fault",
    "FaultProxy",
    "answers_for",
    "delay",
    "drop_request",
    "drop_response",
    "empty_401",
    "hang",
    "html",
    "status",
    "truncate_json",
]

_T = TypeVar("_T")
_MAX_BODY_BYTES = 1 << 30
_HOP_BY_HOP = frozenset(
    {
        "connection",
        "content-length",
        "host",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)


@dataclass(frozen=True)
class Fault:
    """What happens to a request.

    ``forward``: whether the server gets it; ``late_s``: so many seconds after the client got its answer.
    """

    kind: Literal["reset", "hang", "answer", "truncate", "delay"]
    forward: bool = False
    status: int = 200
    body: bytes = b""
    content_type: str | None = None
    www_authenticate: str | None = None
    location: str | None = None
    seconds: float = 0.0
    late_s: float | None = None


def drop_response() -> Fault:
    """The server gets the request and answers; the client's connection is reset instead."""
    return Fault("reset", forward=True)


def drop_request() -> Fault:
    """The client's connection is reset; the server gets nothing."""
    return Fault("reset")


def hang(forward: bool = False) -> Fault:
    """The client never gets an answer; with ``forward`` the server gets the request."""
    return Fault("hang", forward=forward)


def html() -> Fault:
    """200 with a web page, as OpenCode answers for routes that it does not know; the server gets nothing."""
    page = b"<!doctype html><html><head><title>Some service</title></head><body></body></html>"
    return Fault("answer", body=page, content_type="text/html")


def status(code: int, json_body: object = None) -> Fault:
    """That status with a JSON body; the server gets nothing."""
    return Fault("answer", status=code, body=json.dumps(json_body).encode(), content_type="application/json")


def answers_for(
    code: int,
    body: bytes = b"",
    content_type: str | None = None,
    *,
    when: Literal["instead", "after", "before"] = "instead",
    late_s: float = 0.3,
) -> Fault:
    """Something else answers for the server, as gateways do.

    Args:
        code: Its status; with 301 and the like it redirects to itself.
        body: Its body.
        content_type: Its content type.
        when: ``instead`` of passing the request on, ``after`` the server had done it, or ``before``: the server
            gets the request some time later.
        late_s: How many seconds later that is.
    """
    return Fault(
        "answer",
        forward=when == "after",
        status=code,
        body=body,
        content_type=content_type,
        location="/elsewhere" if 300 <= code < 400 else None,
        late_s=late_s if when == "before" else None,
    )


def empty_401() -> Fault:
    """401 without a body, as OpenCode answers without a password."""
    return Fault("answer", status=401, www_authenticate='Basic realm="Secure Area"')


def truncate_json() -> Fault:
    """The server gets the request; the client gets half of the answer's body as if it were whole."""
    return Fault("truncate", forward=True)


def delay(seconds: float) -> Fault:
    """The server gets the request that much later."""
    return Fault("delay", forward=True, seconds=seconds)


@dataclass
class _Rule:
    method: str
    path: re.Pattern[str]
    fault: Fault
    times: int | None
    after: int

    def takes(self, method: str, path: str) -> bool:
        if self.method not in ("*", method) or not self.path.search(path):
            return False
        if self.after > 0:
            self.after -= 1
            return False
        if self.times is not None:
            if self.times == 0:
                return False
            self.times -= 1
        return True


@dataclass(eq=False)
class _Stream:
    """An event stream to a client that is under way."""

    request: web.Request
    frozen: bool = False


class FaultProxy:
    """Forwards all requests to ``upstream_url`` but for the faults that were added.

    A context manager; it runs in a thread with a loop of its own, so synchronous tests can use it.
    """

    def __init__(self, upstream_url: str) -> None:
        self.requests: list[tuple[str, str]] = []
        """Method and path (without query) of every request that arrived, oldest first."""
        self._upstream = upstream_url.rstrip("/")
        self._rules: list[_Rule] = []
        self._lock = threading.Lock()
        self._streams: set[_Stream] = set()
        self._late: set[asyncio.Task[None]] = set()
        self._swallowed: frozenset[str] = frozenset()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault-proxy", daemon=True)
        self._port = 0

    @property
    def url(self) -> str:
        """Where the proxy listens."""
        return f"http://127.0.0.1:{self._port}"

    def add(
        self,
        method: str,
        path_regex: str,
        fault: Fault | Callable[[], Fault],
        times: int | None = 1,
        *,
        after: int = 0,
    ) -> None:
        """Spoil requests.

        Args:
            method: ``*`` for any.
            path_regex: searched in the path, without query.
            fault: the first added rule that fits wins.
            times: for so many requests; None for all.
            after: let so many fitting requests pass first.
        """
        found = fault if isinstance(fault, Fault) else fault()
        with self._lock:
            self._rules.append(_Rule(method.upper(), re.compile(path_regex), found, times, after))

    def clear(self) -> None:
        """Forget all rules, event filters and recorded requests."""
        with self._lock:
            self._rules.clear()
        self._swallowed = frozenset()
        self.requests.clear()

    def cut_streams(self) -> int:
        """Reset all event streams that are under way, frozen ones too; returns how many."""
        return self._call(self._cut_streams())

    def freeze_streams(self) -> int:
        """Keep the event streams that are under way open, but let nothing through; returns how many."""
        return self._call(self._freeze_streams())

    def filter_events(self, types: Collection[str]) -> None:
        """Swallow events with these ``type``s (of ``payload``, where there is one); none: let all through."""
        self._swallowed = frozenset(types)

    def refuse(self) -> None:
        """Stop listening and reset all connections, as when the host has no such service."""
        self._call(self._close_port())

    def accept(self) -> None:
        """Listen again at the same port."""
        self._call(self._open_port())

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            self._call(self._start())
        except BaseException:
            self._end_thread()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._call(self._finish())
        finally:
            self._end_thread()

    def _call(self, work: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=30)

    def _end_thread(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _start(self) -> None:
        # Connections to the server are not kept: one that it closes just now would look like a fault of ours.
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
        self._http = aiohttp.ClientSession(
            connector=connector,
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(total=None, connect=30),
            skip_auto_headers=("User-Agent", "Content-Type", "Accept", "Accept-Encoding"),
        )
        self._site: web.TCPSite | None = None
        application = web.Application(client_max_size=_MAX_BODY_BYTES)
        application.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(
            application, handler_cancellation=True, access_log=None, shutdown_timeout=0.1
        )
        await self._runner.setup()
        await self._open_port()

    async def _open_port(self) -> None:
        if self._site is None:
            self._site = web.TCPSite(self._runner, "127.0.0.1", self._port, reuse_address=True)
            await self._site.start()
            self._port = self._runner.addresses[0][1]

    async def _close_port(self) -> None:
        if self._site is not None:
            await self._site.stop()
            self._site = None
        assert self._runner.server is not None
        for connection in list(self._runner.server.connections):
            _reset(connection.transport)

    async def _finish(self) -> None:
        for late in self._late:
            late.cancel()
        await self._close_port()
        await self._runner.cleanup()
        await self._http.close()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append((request.method, request.path))
        fault = self._fault_for(request)
        if fault is None:
            return await self._forward(request)
        if fault.kind == "delay":
            await asyncio.sleep(fault.seconds)
            return await self._forward(request)
        whole = await self._fetch(request) if fault.forward else None
        if fault.kind == "hang":
            await asyncio.Event().wait()
        if fault.kind == "truncate" and whole is not None:
            assert isinstance(whole.body, bytes)
            return web.Response(
                status=whole.status, headers=whole.headers, body=whole.body[: len(whole.body) // 2]
            )
        if fault.kind == "reset":
            _reset(request.transport)
        if fault.late_s is not None:
            late = asyncio.create_task(self._forward_late(request, await request.read(), fault.late_s))
            self._late.add(late)
            late.add_done_callback(self._late.discard)
        return _answer(fault)

    async def _forward_late(self, request: web.Request, body: bytes, seconds: float) -> None:
        """Nobody hears what the server answers, nor that it could not be reached."""
        await asyncio.sleep(seconds)
        with contextlib.suppress(aiohttp.ClientError, OSError):
            async with self._send_upstream(request, body) as answer:
                await answer.read()

    def _fault_for(self, request: web.Request) -> Fault | None:
        with self._lock:
            for rule in self._rules:
                if rule.takes(request.method, request.path):
                    return rule.fault
        return None

    def _send_upstream(
        self, request: web.Request, body: bytes
    ) -> aiohttp.client._BaseRequestContextManager[Any]:
        headers = _end_to_end(request.headers)
        return self._http.request(
            request.method,
            yarl.URL(f"{self._upstream}{request.raw_path}", encoded=True),
            headers=headers,
            data=body or None,
            allow_redirects=False,
        )

    async def _fetch(self, request: web.Request) -> web.Response:
        async with self._send_upstream(request, await request.read()) as answer:
            return web.Response(
                status=answer.status, headers=_end_to_end(answer.headers), body=await answer.read()
            )

    async def _forward(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        try:
            async with self._send_upstream(request, body) as answer:
                if answer.content_type == "text/event-stream":
                    return await self._relay_events(request, answer)
                content = await answer.read()
                return web.Response(status=answer.status, headers=_end_to_end(answer.headers), body=content)
        except (aiohttp.ClientError, OSError):
            # What happens to the server happens to the client.
            _reset(request.transport)
            return web.Response(status=502)

    async def _relay_events(self, request: web.Request, answer: aiohttp.ClientResponse) -> web.StreamResponse:
        response = web.StreamResponse(status=answer.status, headers=_end_to_end(answer.headers))
        await response.prepare(request)
        stream = _Stream(request)
        self._streams.add(stream)
        try:
            rest = b""
            async for data in answer.content.iter_any():
                *events, rest = (rest + data).split(b"\n\n")
                for event in events:
                    if not stream.frozen and not self._is_swallowed(event):
                        await response.write(event + b"\n\n")
            if stream.frozen:
                await asyncio.Event().wait()
            await response.write_eof()
        except (aiohttp.ClientError, OSError):
            if stream.frozen:
                await asyncio.Event().wait()
            _reset(request.transport)
        finally:
            self._streams.discard(stream)
        return response

    def _is_swallowed(self, event: bytes) -> bool:
        if not self._swallowed:
            return False
        data = b"".join(line[5:] for line in event.split(b"\n") if line.startswith(b"data:"))
        try:
            found = json.loads(data)
            return found.get("payload", found).get("type") in self._swallowed
        except (ValueError, AttributeError):
            return False

    async def _cut_streams(self) -> int:
        streams = list(self._streams)
        for stream in streams:
            _reset(stream.request.transport)
        return len(streams)

    async def _freeze_streams(self) -> int:
        for stream in self._streams:
            stream.frozen = True
        return len(self._streams)


def _answer(fault: Fault) -> web.Response:
    headers = {}
    if fault.content_type is not None:
        headers["Content-Type"] = fault.content_type
    if fault.www_authenticate is not None:
        headers["WWW-Authenticate"] = fault.www_authenticate
    if fault.location is not None:
        headers["Location"] = fault.location
    return web.Response(status=fault.status, headers=headers, body=fault.body)


def _end_to_end(headers: Any) -> CIMultiDict[str]:
    """The headers that are meant for the other end, not for the next hop."""
    return CIMultiDict((name, value) for name, value in headers.items() if name.lower() not in _HOP_BY_HOP)
