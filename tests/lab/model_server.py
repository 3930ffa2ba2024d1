# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The scripted model's HTTP side: ``/v1/chat/completions`` as an OpenAI-compatible provider serves it."""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
import struct
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from typing import Any

from aiohttp import web

from .conversation import Conversation, Reply, tool_call_payload
from .directives import DirectiveError, Gate, Usage

__all__ = ["API_KEY_PREFIX", "ModelServer", "reset"]

API_KEY_PREFIX = "lab-"
"""A VM calls with the API key ``lab-<its name>``; that is how the model knows who calls."""

_KEPT_CALLS = 5000
_SSE_HEADERS = {"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache"}


class ModelServer:
    """Answers model calls and records them. Runs inside one event loop."""

    def __init__(self) -> None:
        self._calls: deque[dict[str, Any]] = deque(maxlen=_KEPT_CALLS)
        self._used_gates: Counter[tuple[str, str, str, int, int]] = Counter()
        self._numbers = itertools.count(1)
        self._changed = asyncio.Condition()

    def routes(self) -> list[web.RouteDef]:
        """What to add to an application."""
        return [
            web.post("/v1/chat/completions", self._completions),
            web.get("/v1/models", self._models),
            web.get("/lab/calls", self._list_calls),
            web.post("/lab/calls/clear", self._clear),
        ]

    async def _models(self, request: web.Request) -> web.Response:
        names = ("main", "small")
        return web.json_response({"object": "list", "data": [{"id": n, "object": "model"} for n in names]})

    async def _completions(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        talk = Conversation(body["messages"])
        call = await self._record(request, body, talk)
        try:
            reply = talk.reply()
        except DirectiveError as error:
            return self._error(call, 400, str(error))
        gate = self._next_gate(call, talk, reply)
        try:
            answer = await self._answer(request, body, call, reply, gate)
        except (asyncio.CancelledError, ConnectionError):
            call["answered"] = f"{call['answered'] or 'answer'}, client went away"
            raise
        call["answered"] = call["answered"] or "ok"
        return answer

    async def _answer(
        self,
        request: web.Request,
        body: dict[str, Any],
        call: dict[str, Any],
        reply: Reply,
        gate: Gate | None,
    ) -> web.StreamResponse:
        if gate is not None and gate.kind == "silent":
            call["answered"] = "silent"
            await asyncio.sleep(gate.seconds if gate.seconds is not None else _FOR_EVER_S)
            call["answered"] = ""
        if gate is not None and gate.kind == "status":
            return self._error(call, gate.status, f"scripted status {gate.status}", gate.retry_after)
        if not body.get("stream"):
            return web.json_response(_whole(reply, body.get("model", "main"), call["number"]))
        response = web.StreamResponse(headers=_SSE_HEADERS)
        await response.prepare(request)
        if gate is not None and gate.kind in ("drop", "badjson"):
            await self._spoil(request, response, call, gate)
            return response
        first = True
        for chunk in _chunks(reply, body.get("model", "main"), call["number"]):
            if not first and reply.pace is not None and "content" in _delta(chunk):
                await asyncio.sleep(reply.pace.pause_s)
            first = False
            await response.write(_event(chunk))
        if reply.finish is None:
            call["answered"] = "no finish"
        else:
            await response.write(b"data: [DONE]\n\n")
        await response.write_eof()
        return response

    async def _spoil(
        self, request: web.Request, response: web.StreamResponse, call: dict[str, Any], gate: Gate
    ) -> None:
        call["answered"] = gate.kind
        partial = Reply("A partial answer", (), None, Usage())
        for chunk in _chunks(partial, "main", call["number"]):
            await response.write(_event(chunk))
        if gate.kind == "badjson":
            await response.write(b'data: {"id": "chatcmpl-1", "choices": [{"delta": {"content": \n\n')
            await response.write(b"data: [DONE]\n\n")
            await response.write_eof()
        else:
            # The client shall see the text before the reset, which throws away what is still buffered.
            await asyncio.sleep(0.05)
            reset(request.transport)

    def _error(
        self, call: dict[str, Any], status: int, text: str, retry_after: str | None = None
    ) -> web.Response:
        call["answered"] = f"status {status}"
        headers = {} if retry_after is None else {"Retry-After": retry_after}
        error = {"message": text, "type": _ERROR_TYPES.get(status, "api_error"), "code": str(status)}
        return web.json_response({"error": error}, status=status, headers=headers)

    def _next_gate(self, call: dict[str, Any], talk: Conversation, reply: Reply) -> Gate | None:
        for place, gate in enumerate(reply.gates):
            key = (call["vm"], call["session"] or "", talk.last_user_text, reply.step, place)
            self._used_gates[key] += 1
            if gate.times is None or self._used_gates[key] <= gate.times:
                return gate
        return None

    async def _record(self, request: web.Request, body: dict[str, Any], talk: Conversation) -> dict[str, Any]:
        key = request.headers.get("Authorization", "").removeprefix("Bearer ")
        title = talk.is_title_request
        call = {
            "number": next(self._numbers),
            "time": time.time(),
            "vm": key.removeprefix(API_KEY_PREFIX),
            "session": request.headers.get("x-session-id") or request.headers.get("x-session-affinity"),
            "model": body.get("model", ""),
            "kind": "title" if title else "turn",
            "starts_turn": not title and talk.turns_since_prompt == 0,
            "last_user_text": talk.last_user_text,
            "messages": body["messages"],
            "tools": [tool.get("function", {}).get("name") for tool in body.get("tools") or ()],
            "answered": "",
        }
        async with self._changed:
            self._calls.append(call)
            self._changed.notify_all()
        return call

    async def _list_calls(self, request: web.Request) -> web.Response:
        """The recorded calls; with ``at_least`` and ``timeout`` (seconds) it waits till there are so many."""
        query = request.query
        wanted = int(query.get("at_least", "0"))

        def enough() -> bool:
            return len(self._matching(query)) >= wanted

        async with self._changed:
            try:
                async with asyncio.timeout(float(query.get("timeout", "0"))):
                    await self._changed.wait_for(enough)
            except TimeoutError:
                pass
        return web.json_response(self._matching(query))

    def _matching(self, query: Any) -> list[dict[str, Any]]:
        contains, vm, prompts = query.get("contains", ""), query.get("vm"), query.get("prompts") == "1"
        return [
            call
            for call in self._calls
            if contains in call["last_user_text"]
            and vm in (None, call["vm"])
            and (call["starts_turn"] or not prompts)
        ]

    async def _clear(self, request: web.Request) -> web.Response:
        self._calls.clear()
        self._used_gates.clear()
        return web.json_response({})


def reset(transport: asyncio.BaseTransport | None) -> None:
    """Drop a connection with a TCP reset, as a broken network path or a dying process does."""
    if not isinstance(transport, asyncio.WriteTransport):
        return
    connection = transport.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


_FOR_EVER_S = 10 * 365 * 86400.0
_ERROR_TYPES = {401: "authentication_error", 429: "rate_limit_error"}


def _whole(reply: Reply, model: str, number: int) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": reply.text or None}
    if reply.tools:
        message["tool_calls"] = tool_call_payload(reply.tools, str(number))
    choice = {"index": 0, "message": message, "finish_reason": reply.finish}
    return {**_head("chat.completion", model, number), "choices": [choice], "usage": _usage(reply)}


def _chunks(reply: Reply, model: str, number: int) -> Iterator[dict[str, Any]]:
    head = _head("chat.completion.chunk", model, number)

    def chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        return {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}

    yield chunk({"role": "assistant"})
    for part in _parts(reply):
        yield chunk({"content": part})
    if reply.tools:
        yield chunk({"tool_calls": tool_call_payload(reply.tools, str(number))})
    if reply.finish is not None:
        yield chunk({}, reply.finish)
        yield {**head, "choices": [], "usage": _usage(reply)}


def _parts(reply: Reply) -> Sequence[str]:
    """The text as it is streamed: in the number of chunks asked for, else in two."""
    if not reply.text:
        return ()
    wanted = reply.pace.chunks if reply.pace else 2
    text = reply.text if len(reply.text) >= wanted else reply.text + " ." * wanted
    size = -(-len(text) // wanted)
    return [text[start : start + size] for start in range(0, len(text), size)]


def _head(kind: str, model: str, number: int) -> dict[str, Any]:
    return {"id": f"chatcmpl-{number}", "object": kind, "created": int(time.time()), "model": model}


def _usage(reply: Reply) -> dict[str, int]:
    usage = reply.usage
    return {
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.input + usage.output,
    }


def _delta(chunk: dict[str, Any]) -> dict[str, Any]:
    return chunk["choices"][0]["delta"] if chunk["choices"] else {}


def _event(data: dict[str, Any]) -> bytes:
    # U+2028 and U+0085 go over the wire as they are: in SSE only CR and LF end a line.
    return b"data: " + json.dumps(data, ensure_ascii=False).encode() + b"\n\n"
