# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What each answer of Slack, and each lack of one, lets us conclude; on real sockets."""

from __future__ import annotations

import asyncio
import email.utils
import logging
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.slack.errors import (
    Ambiguous,
    Held,
    Refused,
    RetryLater,
    SlackError,
    ThreadGone,
)
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.slack.message import (
    EVENT_TYPE,
    SlackMessage,
)
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.slack.port import Found, Posted
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.slack.web_api import WebApi

from tests.unit.plugin_utils.audit.slack_server import Answer, Handler, SlackServer, ok, raw, serving

TOKEN = "xoxb-" + "1234567890abcdef"
MESSAGE = SlackMessage(
    "hello", [{"type": "section"}], {"event_type": EVENT_TYPE, "event_payload": {"thread_key": "d1"}}
)


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def server() -> Iterator[SlackServer]:
    with serving() as slack:
        yield slack


def failing(server: SlackServer, answer: Answer, deadline_s: float = 10.0) -> SlackError:
    server.answer(answer)
    with pytest.raises(SlackError) as caught:
        asyncio.run(WebApi(TOKEN, server.url, deadline_s=deadline_s).post("C1", MESSAGE))
    assert TOKEN not in str(caught.value)
    return caught.value


def error(code: str) -> Answer:
    return raw(200, {"ok": False, "error": code})


def hanging(handler: Handler) -> None:
    handler.slack.released.wait(60)


def dripping(handler: Handler) -> None:
    """A byte now and then, each in time for the client's own timeout."""
    handler.send(200, b"", {}, length=10_000)
    while not handler.slack.released.wait(0.05):
        try:
            handler.wfile.write(b" ")
            handler.wfile.flush()
        except OSError:
            return


def test_a_message_is_posted_so_that_nothing_in_it_is_read_as_markup(server: SlackServer) -> None:
    posted = asyncio.run(WebApi(TOKEN, server.url).post("C1", MESSAGE, "1.2"))
    assert posted == Posted("C1", "1700000000.000001")
    (request,) = server.requests
    assert (request.method, request.token) == ("chat.postMessage", TOKEN)
    assert request.body == {
        "channel": "C1",
        "thread_ts": "1.2",
        "text": "hello",
        "blocks": [{"type": "section"}],
        "metadata": MESSAGE.metadata,
        "parse": "none",
        "link_names": False,
        "mrkdwn": False,
        "unfurl_links": False,
        "unfurl_media": False,
    }


def test_an_update_names_the_message(server: SlackServer) -> None:
    asyncio.run(WebApi(TOKEN, server.url).update("C1", "1.2", SlackMessage("bye", None, None)))
    (request,) = server.requests
    assert request.method == "chat.update"
    assert (request.body["channel"], request.body["ts"], request.body["text"]) == ("C1", "1.2", "bye")
    assert request.body["blocks"] == []


def test_messages_of_ours_are_found_by_their_metadata(server: SlackServer) -> None:
    def message(ts: Any, payload: Any, **more: Any) -> dict[str, Any]:
        return {"ts": ts, "metadata": {"event_type": EVENT_TYPE, "event_payload": payload}, **more}

    messages = [
        message(
            "1.1", {"thread_key": "d1", "headline": "Dispatching <x>"}, text="Dispatching &lt;x&gt; (run)"
        ),
        message("1.2", {"thread_key": "d1", "records": "a b"}, thread_ts="1.1"),
        {"ts": "1.3", "text": "a person"},
        message(None, {"thread_key": "d1"}),
        message("1.4; DROP", {"thread_key": "d1"}),
        {"ts": "1.5", "metadata": {"event_type": "another", "event_payload": {"thread_key": "d1"}}},
        {"ts": "1.6", "metadata": "x"},
        message("1.7", None),
        message("1.8", {"thread_key": "d2", "headline": 5}),
        None,
    ]
    server.answer(ok(messages=messages, response_metadata={"next_cursor": "more"}))
    page = asyncio.run(WebApi(TOKEN, server.url).replies("C1", "1.1", "before"))
    assert page.found == (
        Found("1.1", "d1", (), True, "Dispatching <x>"),
        Found("1.2", "d1", ("a", "b"), False, None, in_thread=True),
        Found("1.8", "d2", (), False, None),
    )
    assert page.cursor == "more"
    (request,) = server.requests
    assert request.method == "conversations.replies"
    assert request.body == {
        "channel": "C1",
        "ts": "1.1",
        "cursor": "before",
        "limit": "200",
        "include_all_metadata": "1",
    }


@pytest.mark.parametrize(
    ("answer", "kind", "code"),
    [
        (raw(429, {"ok": False, "error": "ratelimited"}, Retry_After="7"), RetryLater, "ratelimited"),
        (raw(429, "slow down", Retry_After="7"), RetryLater, "ratelimited"),
        (error("ratelimited"), RetryLater, "ratelimited"),
        (error("service_unavailable"), RetryLater, "service_unavailable"),
        (raw(500, "oops"), Ambiguous, "http_500"),
        (raw(502, "<html>bad gateway</html>"), Ambiguous, "http_502"),
        (raw(503, {"ok": False, "error": "service_unavailable"}), Ambiguous, "http_503"),
        (error("internal_error"), Ambiguous, "internal_error"),
        (error("fatal_error"), Ambiguous, "fatal_error"),
        (raw(200, "<html>sign in to this network</html>"), Ambiguous, "http_200_no_json"),
        (raw(200, ""), Ambiguous, "http_200_no_json"),
        (raw(200, '{"ok": true, "ts": "1.'), Ambiguous, "http_200_no_json"),
        (raw(200, "[1]"), Ambiguous, "AttributeError"),
        (raw(200, b'{"ok": true, "\xff": 1}'), Ambiguous, "UnicodeDecodeError"),
        (raw(200, '{"ok": true', length=500), Ambiguous, "ClientPayloadError"),
        (raw(200, {"ok": True}), Ambiguous, "answer_without_ts"),
        (raw(200, {"ok": True, "channel": "C1", "ts": 5}), Ambiguous, "answer_without_ts"),
        (raw(200, {"ok": "yes", "channel": "C1", "ts": "1.1"}), Ambiguous, "answer_is_no_object"),
        (lambda handler: handler.reset(), Ambiguous, "ClientOSError"),
        (error("invalid_auth"), Held, "invalid_auth"),
        (error("not_in_channel"), Held, "not_in_channel"),
        (error("channel_not_found"), Held, "channel_not_found"),
        (error("is_archived"), Held, "is_archived"),
        (error("missing_scope"), Held, "missing_scope"),
        (error("msg_too_long"), Refused, "msg_too_long"),
        (error("msg_blocks_too_long"), Refused, "msg_blocks_too_long"),
        (error("invalid_blocks"), Refused, "invalid_blocks"),
        (error("invalid_metadata_format"), Refused, "invalid_metadata_format"),
        (error("no_text"), Refused, "no_text"),
        (error("an_error_of_tomorrow"), Refused, "an_error_of_tomorrow"),
        (error("cannot_reply_to_message"), ThreadGone, "cannot_reply_to_message"),
        (error("thread_not_found"), ThreadGone, "thread_not_found"),
        (raw(200, {"ok": False, "error": "Evil \x1b[31m words <!channel>"}), Ambiguous, "http_200_no_json"),
        (raw(200, {"ok": False, "error": 5}), Ambiguous, "http_200"),
    ],
)
def test_each_failure_has_its_meaning(
    server: SlackServer, answer: Answer, kind: type[SlackError], code: str
) -> None:
    found = failing(server, answer)
    assert type(found) is kind, found.code
    assert found.code.startswith(code)
    assert len(server.requests) == 1, "the client tried again by itself"


def test_a_refused_connection_sent_nothing() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/api/"
        with pytest.raises(RetryLater) as caught:
            asyncio.run(WebApi(TOKEN, url).post("C1", MESSAGE))
    assert caught.value.code == "ConnectionRefusedError"


def test_a_name_that_nobody_knows_sent_nothing() -> None:
    with pytest.raises(RetryLater):
        asyncio.run(WebApi(TOKEN, "http://slack.invalid/api/").post("C1", MESSAGE))


@pytest.mark.parametrize("answer", [hanging, dripping], ids=["hangs", "drips"])
def test_a_call_ends_at_its_deadline_whatever_the_server_does(server: SlackServer, answer: Answer) -> None:
    found = failing(server, answer, deadline_s=0.3)
    assert type(found) is Ambiguous
    assert found.code == "deadline"
    assert not server.released.is_set(), "the server gave up first"


@pytest.mark.parametrize(
    ("value", "least", "most"),
    [
        ("7", 7, 7),
        ("0", 0, 0),
        ("999999999", 3600, 3600),
        (email.utils.formatdate(time.time() + 100_000, usegmt=True), 3600, 3600),
        (email.utils.formatdate(0, usegmt=True), 0, 0),
    ],
    ids=["seconds", "none", "for ever", "a date to come", "a date gone by"],
)
def test_how_long_slack_wants_silence(server: SlackServer, value: str, least: float, most: float) -> None:
    found = failing(server, raw(429, "", Retry_After=value))
    assert isinstance(found, RetryLater)
    assert found.after_s is not None
    assert least <= found.after_s <= most


@pytest.mark.parametrize("value", ["soon", "-5", "1e9", "nan", ""])
def test_nonsense_about_silence_is_none(server: SlackServer, value: str) -> None:
    found = failing(server, raw(429, "", Retry_After=value))
    assert isinstance(found, RetryLater)
    assert found.after_s is None


def test_neither_text_nor_token_is_logged(server: SlackServer, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        asyncio.run(WebApi(TOKEN, server.url).post("C1", MESSAGE))
    assert "hello" not in caplog.text
    assert TOKEN not in caplog.text
