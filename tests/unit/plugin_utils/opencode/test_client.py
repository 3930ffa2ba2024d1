# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the client believes, and what it does not."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.opencode import answers
from ansible_collections.dx.fleet.plugins.plugin_utils.opencode.answers import decode
from ansible_collections.dx.fleet.plugins.plugin_utils.opencode.client import OpenCode
from ansible_collections.dx.fleet.plugins.plugin_utils.opencode.errors import (
    AnswerLost,
    ConfigInvalid,
    NotFound,
    NotOpenCode,
    OpenCodeError,
    OwnError,
    Rejected,
    ServerFault,
    TooLarge,
    Unauthorized,
)
from ansible_collections.dx.fleet.plugins.plugin_utils.sessions.turn import read_turn
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.fake_opencode import HOME, URL, FakeOpenCode

from .answering import HTML, REF, answering, failure


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
        (401, b"", None, NotOpenCode, "answered 401"),
        (401, HTML, "text/html", NotOpenCode, "not OpenCode"),
        (
            401,
            b'{"_tag": "UnauthorizedError", "message": "Authentication required"}',
            "application/json",
            Unauthorized,
            "password is missing or wrong",
        ),
        (400, b'{"_tag": "BadRequest"}', "application/json", Rejected, "answered 400"),
        (403, b"{}", "application/json", NotOpenCode, "answered 403"),
        (403, HTML, "text/html", NotOpenCode, "not OpenCode"),
        (
            404,
            b'{"name": "NotFoundError", "data": {"message": "Session not found: ses_1"}}',
            "application/json",
            NotFound,
            "not found: ses_1",
        ),
        (404, HTML, "text/html", NotOpenCode, "not OpenCode"),
        (404, b'{"message": "no Route matched"}', "application/json", NotOpenCode, "not OpenCode"),
        (404, b'{"name": "NotFoundError"}', "application/json", NotOpenCode, "not OpenCode"),
        (404, b'{"name": "Not Found", "data": {"message": "x"}}', "application/json", NotOpenCode, "404"),
        (404, b'{"_tag": "BadRequest"}', "application/json", NotOpenCode, "not OpenCode"),
        (
            400,
            b'{"_tag": "X", "message": "\\u001b[31mno\\u009bway\\u202e"}',
            "text/plain",
            NotOpenCode,
            "400",
        ),
        (
            400,
            b'{"_tag": "BadRequest", "message": "\\u001b[31mno\\u202e"}',
            "application/json",
            Rejected,
            "[31mno",
        ),
        (404, b"404 page not found", "text/plain", NotOpenCode, "not OpenCode"),
        (
            500,
            json.dumps(REF).encode(),
            "application/json",
            ServerFault,
            "Check logs. (log ref err_30e885de)",
        ),
        (502, HTML, "text/html", NotOpenCode, "a gateway or proxy"),
        (502, json.dumps(REF).encode(), "application/json", NotOpenCode, "a gateway or proxy"),
        (429, b"{}", "application/json", NotOpenCode, "a gateway or proxy"),
        (500, b'{"data": 7, "message": []}', "application/json", NotOpenCode, "a gateway or proxy"),
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
    ("status", "name", "reason"),
    [
        (401, "UnauthorizedError", "unauthorized"),
        (404, "NotFoundError", "not_found"),
        (400, "BadRequest", "request_rejected"),
        (500, "UnknownError", "server_error"),
    ],
)
async def test_what_opencode_itself_refuses_has_a_reason(status: int, name: str, reason: str) -> None:
    for body in ({"_tag": name}, {"name": name, "data": {"message": "no"}}):
        error = await failure(answering(status, json.dumps(body).encode()))
        assert isinstance(error, OwnError)
        assert error.reason_code == reason


async def test_an_empty_401_is_opencodes_own_only_with_its_realm() -> None:
    for realm, kind in (("Secure Area", Unauthorized), ("corporate proxy", NotOpenCode)):
        headers = {"www-authenticate": f'Basic realm="{realm}"'}
        transport = httpx.MockTransport(lambda _, headers=headers: httpx.Response(401, headers=headers))
        assert type(await failure(OpenCode(URL, transport=transport))) is kind


BROKEN = {
    "path": "/srv/a/opencode.json",
    "issues": [{"path": ["provider"], "message": "Expected object, got 7"}],
}
NO_JSON = {
    "path": "/srv/a/opencode.json",
    "message": "\n--- JSONC Input ---\n{\n--- Errors ---\nValueExpected at line 1, column 2\n   Line 1\n--- End ---",
}


@pytest.mark.parametrize(
    ("name", "data", "issue"),
    [
        ("ConfigInvalidError", BROKEN, "provider: Expected object, got 7"),
        ("ConfigJsonError", NO_JSON, "ValueExpected at line 1, column 2"),
    ],
)
async def test_a_broken_project_is_told_with_its_file_and_what_is_wrong(
    name: str, data: dict[str, Any], issue: str
) -> None:
    error = await failure(answering(400, json.dumps({"name": name, "data": data}).encode()))
    assert isinstance(error, ConfigInvalid)
    assert (error.reason_code, error.file, error.issues) == (
        "config_invalid",
        "/srv/a/opencode.json",
        (issue,),
    )


async def test_a_redirect_is_not_followed() -> None:
    """It would carry the password to another server."""
    asked: list[str] = []

    def handle(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        return httpx.Response(307, headers={"location": "http://elsewhere:1/"})

    error = await failure(OpenCode(URL, password="secret", transport=httpx.MockTransport(handle)))
    assert isinstance(error, NotOpenCode)
    assert error.reason_code == "redirected"
    assert "a redirect to http://elsewhere:1/" in error.message
    assert asked == [f"{URL}/session/ses_1"]


async def test_an_answer_without_end_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "MAX_ANSWER_BYTES", 1000)
    error = await failure(answering(200, b" " * 1001))
    assert isinstance(error, NotOpenCode)
    assert error.reason_code == "too_large"


@pytest.mark.parametrize(("fits", "asked"), [(12, [50, 12]), (3, [50, 12, 3]), (1, [50, 12, 3, 1])])
async def test_a_page_of_messages_that_is_too_large_is_asked_for_in_smaller_pieces(
    monkeypatch: pytest.MonkeyPatch, fits: int, asked: list[int]
) -> None:
    monkeypatch.setattr(answers, "MAX_ANSWER_BYTES", 2000 * fits)
    fake = FakeOpenCode()
    session = fake.session("ses_1")
    session.user("msg_0", "Run")
    for number in range(30):
        session.step(f"msg_a{number}", text="x" * 1200, finish="stop")
    limits: list[int] = []
    do = fake.do

    def noted(request: httpx.Request) -> httpx.Response:
        limits.append(int(request.url.params["limit"]))
        return do(request)

    monkeypatch.setattr(fake, "do", noted)
    async with fake.client() as server:
        turn = await read_turn(server, "ses_1", "msg_0")
    assert len(turn.messages) == 31
    assert limits[: len(asked)] == asked
    assert set(limits[len(asked) :]) <= {fits}, "what fits is remembered"


async def test_a_message_that_is_too_large_by_itself_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "MAX_ANSWER_BYTES", 100)
    fake = FakeOpenCode()
    fake.session("ses_1").user("msg_0", "x" * 200)
    async with fake.client() as server:
        with pytest.raises(TooLarge):
            await server.messages("ses_1", limit=50)


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
    made = b'{"data": {"id": "ses_other", "location": {"directory": "/srv"}}}'
    async with answering(200, made) as server:
        with pytest.raises(AnswerLost, match="ses_other"):
            await server.create_session("ses_1", "/srv")


@pytest.mark.parametrize("status", [200, 202])
async def test_a_prompt_is_taken_only_by_204(status: int) -> None:
    async with answering(status, b"true") as server:
        with pytest.raises(AnswerLost):
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
