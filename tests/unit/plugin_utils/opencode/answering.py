# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Clients to which everything is answered in one way."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.opencode.client import OpenCode
from ansible_collections.dx.fleet.plugins.plugin_utils.opencode.errors import (
    OpenCodeError,
)

from tests.unit.fake_opencode import URL

__all__ = ["HTML", "REF", "answering", "failure", "raising"]

HTML = b"<!doctype html><title>OpenCode</title>"
REF = {
    "name": "UnknownError",
    "data": {"message": "Unexpected server error.\nCheck logs.", "ref": "err_30e885de"},
}


def answering(status: int, content: bytes = b"", content_type: str | None = "application/json") -> OpenCode:
    """A client to which every request is answered so."""

    def handle(request: httpx.Request) -> httpx.Response:
        headers = {} if content_type is None else {"content-type": content_type}
        return httpx.Response(status, headers=headers, content=content)

    return OpenCode(URL, transport=httpx.MockTransport(handle))


def raising(make: Callable[[httpx.Request], Exception]) -> OpenCode:
    """A client whose every request ends so."""

    def handle(request: httpx.Request) -> httpx.Response:
        raise make(request)

    return OpenCode(URL, transport=httpx.MockTransport(handle))


async def failure(server: OpenCode) -> OpenCodeError:
    async with server:
        with pytest.raises(OpenCodeError) as caught:
            await server.session("ses_1")
    assert caught.value.message.isprintable()
    assert f"GET {URL}/session/ses_1" in caught.value.message
    return caught.value
