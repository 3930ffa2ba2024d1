# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the client believes, what it does not, and what each failure lets a caller conclude."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from collections.abc import Callable
from typing import Any

import httpx
import pytest
import trustme
from ansible_collections.dx.fleet.plugins.plugin_utils.opencode import answers
from ansible_collections.dx.fleet.plugins.plugin_utils.opencode.answers import decode
from ansible_collections.dx.fleet.plugins.plugin_utils.opencode.client import OpenCode
from ansible_collections.dx.fleet.plugins.plugin_utils.opencode.errors import (
    AnswerLost,
    BadAnswer,
    NotFound,
    NotOpenCode,
    NotSent,
    OpenCodeError,
    Rejected,
    ServerFault,
    Unauthorized,
)
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.fake_opencode import HOME, URL, FakeOpenCode, answer, lost, not_sent

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


# -- answers --


@pytest.mark.parametrize(
    ("status", "content", "content_type", "kind", "said"),
    [
        (200, HTML, "text/html; charset=utf-8", NotOpenCode, "answered 200 with text/html, not with JSON"),
        (200, b"", None, NotOpenCode, "no content type"),
        (200, b'{"id": "ses_1", "direc', "application/json", NotOpenCode, "broken JSON"),
        (200, b"", "application/json", NotOpenCode, "broken JSON"),
        (200, b"\xff\xfe", "application/json", NotOpenCode, "broken JSON"),
        (200, b"[" * 100_000, "application/json", NotOpenCode, "broken JSON"),
        (200, b'{"id": ' + b"1" * 5000 + b"}", "application/json", NotOpenCode, "broken JSON"),
        (200, b"null", "application/json", NotOpenCode, "another shape (the answer)"),
        (200, b'{"id": "ses_1"}', "application/json", NotOpenCode, "another shape (directory)"),
        (
            200,
            b'{"id": "ses_1", "directory": 7}',
            "application/json",
            NotOpenCode,
            "another shape (directory)",
        ),
        (201, b'{"id": "ses_1", "directory": "/"}', "application/json", NotOpenCode, "answered 201"),
        (204, b"", None, NotOpenCode, "answered 204"),
        (302, b"", None, NotOpenCode, "answered 302"),
        (401, b"", None, Unauthorized, "password is missing or wrong"),
        (400, b'{"_tag": "BadRequest"}', "application/json", Rejected, "answered 400"),
        (403, b"{}", "application/json", Rejected, "answered 403"),
        (403, HTML, "text/html", NotOpenCode, "not OpenCode"),
        (
            404,
            b'{"data": {"message": "Session not found: ses_1"}}',
            "application/json",
            NotFound,
            "not found: ses_1",
        ),
        (404, HTML, "text/html", NotOpenCode, "not OpenCode"),
        (400, b'{"message": "\\u001b[31mno\\u009bway\\u202e"}', "application/json", Rejected, "[31mno"),
        (404, b"404 page not found", "text/plain", NotOpenCode, "not OpenCode"),
        (
            500,
            json.dumps(REF).encode(),
            "application/json",
            ServerFault,
            "Check logs. (log ref err_30e885de)",
        ),
        (502, HTML, "text/html", ServerFault, "answered 502"),
        (500, b'{"data": 7, "message": []}', "application/json", ServerFault, "answered 500"),
    ],
)
async def test_an_answer_is_believed_only_with_the_right_status_content_type_and_shape(
    status: int, content: bytes, content_type: str | None, kind: type[OpenCodeError], said: str
) -> None:
    error = await failure(answering(status, content, content_type))
    assert type(error) is kind
    assert said in error.message


async def test_a_server_fault_leads_to_the_servers_log() -> None:
    error = await failure(answering(500, json.dumps(REF).encode()))
    assert isinstance(error, ServerFault)
    assert (error.log_ref, error.reason_code) == ("err_30e885de", "server_error")


@pytest.mark.parametrize(
    ("status", "reason"),
    [(401, "unauthorized"), (404, "not_found"), (400, "request_rejected"), (500, "server_error")],
)
async def test_a_refusal_is_a_bad_answer_with_a_reason(status: int, reason: str) -> None:
    error = await failure(answering(status, b"{}"))
    assert isinstance(error, BadAnswer)
    assert error.reason_code == reason


async def test_a_redirect_is_not_followed() -> None:
    """It would carry the password to another server."""
    asked: list[str] = []

    def handle(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        return httpx.Response(307, headers={"location": "http://elsewhere:1/"})

    error = await failure(OpenCode(URL, password="secret", transport=httpx.MockTransport(handle)))
    assert isinstance(error, NotOpenCode)
    assert asked == [f"{URL}/session/ses_1"]


async def test_an_answer_without_end_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "MAX_ANSWER_BYTES", 1000)
    error = await failure(answering(200, b" " * 1001))
    assert isinstance(error, NotOpenCode)
    assert error.reason_code == "too_large"


async def test_lone_surrogates_become_text_that_can_be_printed() -> None:
    title = rb"\ud83d!\uDe00 \ud83d\ude00"
    body = rb'{"id": "ses_1", "directory": "/a", "metadata": {"\udc00": 1}, "title": "' + title + b'"}'
    async with answering(200, body) as server:
        session = await server.session("ses_1")
    assert session.title == "\N{REPLACEMENT CHARACTER}!\N{REPLACEMENT CHARACTER} 😀"
    session.model_dump_json()


@given(st.text(st.characters(exclude_categories=())))
def test_any_string_of_an_answer_can_be_printed(text: str) -> None:
    found = decode(json.dumps([text, {text: text}]).encode())
    json.dumps(found, ensure_ascii=False).encode("utf-8")
    assert found[0] == text or not text.isprintable()


async def test_the_message_that_is_not_there_is_none() -> None:
    fake = FakeOpenCode()
    fake.session("ses_1")
    async with fake.client() as server:
        assert await server.message("ses_1", "msg_1") is None
        assert await server.message("ses_2", "msg_1") is None


async def test_a_created_session_must_have_the_id_that_was_asked_for() -> None:
    async with answering(200, b'{"data": {"id": "ses_other"}}') as server:
        with pytest.raises(NotOpenCode, match="ses_other"):
            await server.create_session("ses_1", "/srv")


@pytest.mark.parametrize("status", [200, 202])
async def test_a_prompt_is_taken_only_by_204(status: int) -> None:
    async with answering(status, b"true") as server:
        with pytest.raises(NotOpenCode):
            await server.prompt("ses_1", {"parts": []})


async def test_a_directory_that_is_not_there_is_a_server_fault() -> None:
    async with FakeOpenCode().client() as server:
        assert await server.directory_exists(HOME)
        assert not await server.directory_exists(f"{HOME}/none")


async def test_an_id_is_one_segment_of_the_path_whatever_is_in_it() -> None:
    fake = FakeOpenCode()
    async with fake.client() as server:
        with pytest.raises(OpenCodeError):
            await server.session("ses_../../global/health?x#y")
    assert fake.requests == [("GET", "/session/ses_../../global/health?x#y")]


async def test_the_provider_keys_that_opencode_tells_are_not_kept() -> None:
    fake = FakeOpenCode()
    async with fake.client() as server:
        assert await server.model_names("/srv") == ["scripted/main", "scripted/small"]


# -- the way there --


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
        (chained(httpx.ConnectError, OSError(113, "No route to host")), NotSent, "connect_failed"),
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


async def test_tls_to_a_server_without_it_is_a_tls_error() -> None:
    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(take, "127.0.0.1", 0) as stranger:
        port = stranger.sockets[0].getsockname()[1]
        async with OpenCode(f"https://127.0.0.1:{port}") as server:
            with pytest.raises(NotSent) as caught:
                await server.health(30.0)
    assert caught.value.reason_code == "tls_error"


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


# -- events --


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
        (answer(401), Unauthorized),
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
