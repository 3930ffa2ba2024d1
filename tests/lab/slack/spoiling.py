# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The answer to a call of Slack that is spoiled; :mod:`tests.lab.slack.faults` says how it may be."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from aiohttp import web

from ..model_server import reset
from .faults import Fault

__all__ = ["spoiled"]

_PAGE = "<!doctype html><html><head><title>Sign in</title></head><body>Welcome to this network</body></html>"
_FOR_EVER_S = 10 * 365 * 86400.0


async def spoiled(
    request: web.Request, fault: Fault, answer: Callable[[], Awaitable[web.Response]]
) -> web.StreamResponse:
    """What the caller gets instead of what the workspace answers."""
    whole = await answer() if fault.commits else None
    if fault.kind == "hang":
        await asyncio.sleep(_FOR_EVER_S if fault.seconds is None else fault.seconds)
        return whole or await answer()
    if fault.kind in ("reset", "commit_then_drop"):
        reset(request.transport)
        return web.Response()
    if fault.kind in ("drip", "truncated", "short"):
        return await _partly(request, fault, whole or await answer())
    return _instead(fault)


async def _partly(request: web.Request, fault: Fault, whole: web.Response) -> web.StreamResponse:
    body = whole.body
    assert isinstance(body, bytes)
    half = body[: len(body) // 2]
    if fault.kind == "truncated":
        return web.Response(body=half, content_type="application/json")
    response = web.StreamResponse(
        headers={"Content-Length": str(len(body)), "Content-Type": "application/json"}
    )
    await response.prepare(request)
    if fault.kind == "drip":
        for byte in body:
            await response.write(bytes([byte]))
            await asyncio.sleep(fault.pause_s)
    else:
        await response.write(half)
        assert request.transport is not None
        request.transport.close()
    return response


def _instead(fault: Fault) -> web.Response:
    match fault.kind:
        case "ratelimited":
            headers = {} if fault.retry_after is None else {"Retry-After": fault.retry_after}
            return web.json_response({"ok": False, "error": "ratelimited"}, status=429, headers=headers)
        case "http":
            return web.Response(status=fault.status, text=_PAGE, content_type="text/html")
        case "html":
            return web.Response(text=_PAGE, content_type="text/html")
        case "empty":
            return web.Response(content_type="application/json")
        case "text":
            return web.Response(status=fault.status, text="upstream", content_type="text/plain")
        case "list":
            return web.json_response(["ok"])
        case "bad_utf8":
            return web.Response(body=b'{"ok": true, "text": "\xff\xfe"}', content_type="application/json")
        case error:
            return web.json_response({"ok": False, "error": error})
