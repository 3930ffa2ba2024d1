# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stream of events, and any bytes at all."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.opencode.client import OpenCode
from ansible_collections.dx.fleet.plugins.plugin_utils.opencode.errors import (
    AnswerLost,
    NotOpenCode,
    OpenCodeError,
    ServerFault,
    Unauthorized,
)
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.fake_opencode import URL, FakeOpenCode, answer, unauthorized

from .answering import HTML, REF, answering


async def test_events_are_decoded_and_what_is_no_object_is_passed_over() -> None:
    fake = FakeOpenCode()
    async with fake.client() as server, server.events(5.0) as events:
        assert (await anext(events))["payload"]["type"] == "server.connected"
        for line in ("{broken", "[]", '"text"', "7", "[" * 100_000):
            fake.tell_raw(line)
        fake.tell("session.idle", {"sessionID": "ses_\u2028\ud83d"})
        event = await anext(events)
        assert event["payload"]["properties"] == {"sessionID": "ses_\u2028\N{REPLACEMENT CHARACTER}"}
        fake.cut_streams()
        assert [each async for each in events] == []


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (answer(200, HTML, "text/html"), NotOpenCode),
        (unauthorized(), Unauthorized),
        (answer(500, REF), ServerFault),
        (answer(204), NotOpenCode),
    ],
)
async def test_a_stream_is_believed_only_with_its_content_type(fault: Any, kind: type[OpenCodeError]) -> None:
    fake = FakeOpenCode()
    fake.add("GET", "/global/event", fault)
    async with fake.client() as server:
        with pytest.raises(OpenCodeError) as caught:
            async with server.events(5.0):
                pass
    assert isinstance(caught.value, kind)


async def test_a_stream_that_breaks_is_an_error_and_no_end() -> None:
    class Broken(httpx.AsyncByteStream):
        async def __aiter__(self) -> Any:
            yield b'data: {"payload": {}}\n\n'
            raise httpx.RemoteProtocolError("incomplete chunked read")

    def handle(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, stream=Broken())

    async with OpenCode(URL, transport=httpx.MockTransport(handle)) as server:
        with pytest.raises(AnswerLost):
            await _read_all(server)


async def _read_all(server: OpenCode) -> None:
    async with server.events(5.0) as events:
        async for _ in events:
            pass


@given(st.binary(max_size=300))
async def test_any_bytes_are_an_answer_or_an_error_of_ours(content: bytes) -> None:
    async with answering(200, content) as server:
        try:
            await server.session("ses_1")
        except OpenCodeError as error:
            said = error.message
        else:
            said = ""
    assert "\n" not in said
