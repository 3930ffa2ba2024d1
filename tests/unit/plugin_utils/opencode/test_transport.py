# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a failure on the way lets a caller conclude, and what the way gives away."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import Callable
from typing import Any

import httpx
import pytest
import trustme
from ansible_collections.dx.fleet.plugins.plugin_utils.opencode.client import OpenCode
from ansible_collections.dx.fleet.plugins.plugin_utils.opencode.errors import (
    AnswerLost,
    NotOpenCode,
    NotSent,
    OpenCodeError,
)

from tests.unit.fake_opencode import HOME, URL, FakeOpenCode, answer, lost, not_sent

from .answering import HTML, failure, raising


def chained(kind: type[httpx.TransportError], cause: Exception) -> Callable[[httpx.Request], Exception]:
    def make(request: httpx.Request) -> Exception:
        error = kind(str(cause), request=request)
        error.__cause__ = cause
        return error

    return make


@pytest.mark.parametrize(
    ("make", "kind", "reason"),
    [
        (chained(httpx.ConnectError, socket.gaierror(-2, "Name unknown")), NotSent, "dns_failure"),
        (chained(httpx.ConnectError, ConnectionRefusedError(111, "refused")), NotSent, "connection_refused"),
        (
            chained(httpx.ConnectError, OSError("All connection attempts failed")),
            NotSent,
            "connection_refused",
        ),
        (chained(httpx.ConnectError, ssl.SSLCertVerificationError("self-signed")), NotSent, "tls_error"),
        (chained(httpx.ConnectError, OSError(113, "No route to host")), NotSent, "no_route"),
        (chained(httpx.ConnectError, OSError(13, "Permission denied")), NotSent, "connect_failed"),
        (chained(httpx.ConnectTimeout, TimeoutError()), NotSent, "connect_timeout"),
        (chained(httpx.PoolTimeout, TimeoutError()), NotSent, "connect_timeout"),
        (chained(httpx.ReadTimeout, TimeoutError()), AnswerLost, "answer_timeout"),
        (chained(httpx.WriteTimeout, TimeoutError()), AnswerLost, "answer_timeout"),
        (chained(httpx.ReadError, ConnectionResetError(104, "reset")), AnswerLost, "connection_lost"),
        (chained(httpx.WriteError, BrokenPipeError()), AnswerLost, "connection_lost"),
        (chained(httpx.RemoteProtocolError, OSError("peer closed")), AnswerLost, "connection_lost"),
        (
            chained(httpx.RemoteProtocolError, OSError("illegal status line: SSH-2.0")),
            NotOpenCode,
            "not_opencode",
        ),
        (chained(httpx.UnsupportedProtocol, OSError("no http")), NotSent, "bad_url"),
    ],
)
async def test_a_failure_says_whether_the_request_may_have_taken_effect(
    make: Callable[[httpx.Request], Exception], kind: type[OpenCodeError], reason: str
) -> None:
    error = await failure(raising(make))
    assert type(error) is kind
    assert error.reason_code == reason
    assert not re.search(r"errno|_ssl\.c|\[.*\]", error.message, re.IGNORECASE), "no word of a programmer's"


@pytest.mark.parametrize("scheme", ["https", "HTTPS"])
async def test_a_certificate_that_nobody_vouches_for_is_refused_before_anything_is_sent(scheme: str) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    got: list[bytes] = []

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.append(await reader.read(100))
        writer.close()

    async with await asyncio.start_server(take, "127.0.0.1", 0, ssl=context) as stranger:
        port = stranger.sockets[0].getsockname()[1]
        async with OpenCode(f"{scheme}://127.0.0.1:{port}", password="secret") as server:
            with pytest.raises(NotSent) as caught:
                await server.health(30.0)
    assert caught.value.reason_code == "tls_error"
    assert got == []


async def test_tls_to_a_server_without_it_is_a_mismatch() -> None:
    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(take, "127.0.0.1", 0) as stranger:
        port = stranger.sockets[0].getsockname()[1]
        async with OpenCode(f"https://127.0.0.1:{port}") as server:
            with pytest.raises(NotSent) as caught:
                await server.health(30.0)
    assert caught.value.reason_code == "tls_mismatch"
    assert "speaks plain HTTP" in caught.value.message


@pytest.mark.parametrize("kind", [httpx.ReadError, httpx.RemoteProtocolError, httpx.WriteError])
async def test_a_get_whose_connection_broke_is_asked_again(kind: type[httpx.TransportError]) -> None:
    fake = FakeOpenCode()
    fake.session("ses_1")
    fake.add("GET", "/session/ses_1$", lost(kind), times=2)
    async with fake.client() as server:
        assert (await server.session("ses_1")).id == "ses_1"
    assert fake.count("GET", "/session/ses_1$") == 3


async def test_a_get_is_not_asked_again_for_ever() -> None:
    fake = FakeOpenCode()
    fake.add("GET", "/session/ses_1$", lost(), times=100)
    async with fake.client() as server:
        with pytest.raises(AnswerLost):
            await server.session("ses_1")
    assert len(fake.requests) == 3


@pytest.mark.parametrize(
    "fault", [lost(httpx.ReadTimeout), not_sent(), answer(500), answer(200, HTML, "text/html")]
)
async def test_a_get_that_failed_in_another_way_is_not_asked_again(fault: Any) -> None:
    fake = FakeOpenCode()
    fake.add("GET", "/session/ses_1$", fault, times=100)
    async with fake.client() as server:
        with pytest.raises(OpenCodeError):
            await server.session("ses_1")
    assert len(fake.requests) == 1


async def test_what_changes_something_is_never_asked_again() -> None:
    fake = FakeOpenCode()
    fake.session("ses_1")
    fake.add("*", ".", lost(), times=100)
    async with fake.client() as server:
        for change in (
            lambda: server.create_session("ses_1", HOME),
            lambda: server.update_session("ses_1", {"title": "x"}),
            lambda: server.prompt("ses_1", {"messageID": "msg_1", "parts": [{"type": "text", "text": "x"}]}),
            lambda: server.abort("ses_1"),
            lambda: server.delete_session("ses_1"),
        ):
            fake.requests.clear()
            with pytest.raises(AnswerLost):
                await change()
            assert len(fake.requests) == 1


async def test_an_answer_that_breaks_off_is_lost() -> None:
    class Broken(httpx.AsyncByteStream):
        async def __aiter__(self) -> Any:
            yield b'{"id":'
            raise httpx.ReadError("gone")

    def handle(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers={"content-type": "application/json"}, stream=Broken())

    assert isinstance(await failure(OpenCode(URL, transport=httpx.MockTransport(handle))), AnswerLost)


@pytest.mark.parametrize(
    "url", ["http://[::1", "http://epyc6:99999", "http://\u2603\u0000", "http://-\u00e9-.x:1"]
)
def test_what_httpx_takes_for_no_url_is_a_value_error(url: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        OpenCode(url)


async def test_the_password_goes_into_the_header_and_nowhere_else() -> None:
    seen: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(401)

    error = await failure(OpenCode(URL, password="secret", transport=httpx.MockTransport(handle)))
    assert seen[0].headers["authorization"] == httpx.BasicAuth("opencode", "secret")._auth_header
    assert "secret" not in str(seen[0].url)
    assert "secret" not in error.message


async def test_no_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    async with OpenCode("http://127.0.0.1:1") as server:
        with pytest.raises(NotSent, match=r"GET http://127\.0\.0\.1:1/"):
            await server.health()
        assert server._http._mounts == {}
