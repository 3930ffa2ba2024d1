# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The faults of the Slack workspace do to Slack's own client what Slack and the net do."""

from __future__ import annotations

import http.client
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.error import URLError

import pytest
from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError

from tests.lab.slack import SlackWorkspace

POST = "chat.postMessage"


class Post:
    """Posts, and says how that went."""

    def __init__(self, slack: SlackWorkspace) -> None:
        self._slack = slack

    def __call__(self, text: str = "x", *, timeout_s: int = 10, channel: str | None = None) -> Any:
        client = self._slack.client(timeout_s=timeout_s)
        return client.chat_postMessage(channel=channel or self._slack.channel, text=text)

    def refused(self, text: str = "x", **options: Any) -> Any:
        """The answer by which a post was refused."""
        with pytest.raises(SlackApiError) as refused:
            self(text, **options)
        return refused.value.response

    @property
    def written(self) -> list[str]:
        """The texts that are in the channel."""
        return [thread.root.text for thread in self._slack.threads()]


@pytest.fixture
def post(slack: SlackWorkspace) -> Post:
    return Post(slack)


def test_nobody_listens(slack: SlackWorkspace, post: Post) -> None:
    slack.refuse()
    with pytest.raises(URLError, match="refused"):
        post()
    assert slack.calls() == 0
    slack.accept()
    post("after")
    assert post.written == ["after"]


def test_clear_ends_a_refusal(slack: SlackWorkspace, post: Post) -> None:
    slack.refuse()
    slack.clear()
    assert post()["ok"]


@pytest.mark.parametrize(("commit", "written"), [(False, []), (True, ["x"])])
def test_hang(slack: SlackWorkspace, post: Post, commit: bool, written: list[str]) -> None:
    slack.fault(POST, "hang", commit=commit)
    with pytest.raises(TimeoutError):
        post(timeout_s=1)
    assert slack.calls(POST) == 1
    assert post.written == written


def test_a_hang_that_ends(slack: SlackWorkspace, post: Post) -> None:
    slack.fault(POST, "hang", seconds=0.2)
    assert post()["ok"]
    assert post.written == ["x"]


def test_clear_ends_a_hang(slack: SlackWorkspace, post: Post) -> None:
    slack.fault(POST, "hang")
    with ThreadPoolExecutor(1) as pool:
        hanging = pool.submit(post, timeout_s=60)
        slack.wait_for_calls(POST)
        slack.clear()
        assert isinstance(hanging.exception(), (ConnectionError, URLError))
    assert post.written == []


def test_what_is_done_is_there_as_soon_as_the_call_is_counted(slack: SlackWorkspace, post: Post) -> None:
    slack.fault(POST, "hang", commit=True)
    with ThreadPoolExecutor(1) as pool:
        hanging = pool.submit(post, timeout_s=60)
        slack.wait_for_calls(POST)
        assert post.written == ["x"]
        slack.clear()
        assert hanging.exception() is not None


def test_a_drip_outlasts_the_timeout_of_the_client(slack: SlackWorkspace, post: Post) -> None:
    whole = post()
    slack.fault(POST, "drip", pause_s=6 / len(json.dumps(whole.data)))
    assert post("dripped", timeout_s=3)["message"]["text"] == "dripped"
    assert post.written == ["x", "dripped"]


def test_a_drip_slower_than_the_timeout_of_the_client(slack: SlackWorkspace, post: Post) -> None:
    slack.fault(POST, "drip", pause_s=60)
    with pytest.raises(TimeoutError):
        post(timeout_s=1)
    assert post.written == ["x"]


@pytest.mark.parametrize("retry_after", ["7", "Wed, 25 Nov 2026 12:00:00 GMT", None])
def test_ratelimited(slack: SlackWorkspace, post: Post, retry_after: str | None) -> None:
    slack.fault(POST, "ratelimited", retry_after=retry_after)
    refused = post.refused()
    assert (refused.status_code, refused["error"]) == (429, "ratelimited")
    assert refused.headers.get("Retry-After") == retry_after
    assert post.written == []


@pytest.mark.parametrize("status", [500, 502, 503, 429])
def test_a_status_with_a_web_page(slack: SlackWorkspace, post: Post, status: int) -> None:
    slack.fault(POST, "http", status=status)
    refused = post.refused()
    assert refused.status_code == status
    assert "non-JSON format" in refused["error"]
    assert post.written == []


def test_a_status_with_a_word_in_plain_text(slack: SlackWorkspace, post: Post) -> None:
    slack.fault(POST, "text", status=502)
    assert post.refused().status_code == 502
    assert post.written == []


@pytest.mark.parametrize("kind", ["html", "empty"])
def test_200_without_json(slack: SlackWorkspace, post: Post, kind: str) -> None:
    slack.fault(POST, kind)
    refused = post.refused()
    assert refused.status_code == 200
    assert "non-JSON format" in refused["error"]
    assert post.written == []


@pytest.mark.parametrize(
    ("kind", "error", "written"),
    [
        ("short", http.client.IncompleteRead, ["x"]),
        ("list", AttributeError, []),
        ("bad_utf8", UnicodeDecodeError, []),
    ],
)
def test_200_with_a_strange_body(
    slack: SlackWorkspace, post: Post, kind: str, error: type[Exception], written: list[str]
) -> None:
    slack.fault(POST, kind)
    with pytest.raises(error):
        post()
    assert slack.calls(POST) == 1
    assert post.written == written


def test_truncated_json_looks_like_a_refusal_and_was_done(slack: SlackWorkspace, post: Post) -> None:
    slack.fault(POST, "truncated")
    refused = post.refused()
    assert refused.status_code == 200
    assert "non-JSON format" in refused["error"]
    assert post.written == ["x"]


def test_truncated_json_is_another_error_with_the_client_s_own_retries(
    slack: SlackWorkspace, post: Post
) -> None:
    slack.fault(POST, "truncated")
    with pytest.raises(json.JSONDecodeError):
        WebClient(slack.bot_token, base_url=slack.url).chat_postMessage(channel=slack.channel, text="x")
    assert slack.calls(POST) == 1
    assert post.written == ["x"]


@pytest.mark.parametrize(("kind", "written"), [("reset", []), ("commit_then_drop", ["x"])])
def test_a_reset(slack: SlackWorkspace, post: Post, kind: str, written: list[str]) -> None:
    slack.fault(POST, kind)
    with pytest.raises(ConnectionResetError):
        post()
    assert slack.calls(POST) == 1
    assert post.written == written


def test_a_client_that_repeats_after_a_lost_answer_writes_twice(slack: SlackWorkspace, post: Post) -> None:
    slack.fault(POST, "commit_then_drop")
    WebClient(slack.bot_token, base_url=slack.url).chat_postMessage(channel=slack.channel, text="x")
    assert post.written == ["x", "x"]


@pytest.mark.parametrize(
    "error",
    ["invalid_auth", "not_in_channel", "channel_not_found", "msg_too_long", "invalid_blocks", "is_archived"],
)
def test_an_error_by_name(slack: SlackWorkspace, post: Post, error: str) -> None:
    slack.fault(POST, error)
    assert post.refused()["error"] == error
    assert post.written == []
    assert post()["ok"]


def test_an_error_although_it_was_done(slack: SlackWorkspace, post: Post) -> None:
    slack.fault(POST, "internal_error", commit=True)
    assert post.refused()["error"] == "internal_error"
    assert post.written == ["x"]


def test_which_calls_are_spoiled(slack: SlackWorkspace, post: Post) -> None:
    slack.fault(POST, "fatal_error", times=2, after=1)
    assert post("1")["ok"]
    assert [post.refused()["error"] for _ in range(2)] == ["fatal_error"] * 2
    assert post("4")["ok"]
    assert post.written == ["1", "4"]


def test_a_fault_without_end_ends_with_clear(slack: SlackWorkspace, post: Post) -> None:
    slack.fault("*", "invalid_auth", times=None)
    assert {post.refused()["error"] for _ in range(5)} == {"invalid_auth"}
    slack.clear()
    assert post()["ok"]


def test_a_fault_of_one_message_is_of_that_one(slack: SlackWorkspace, post: Post) -> None:
    slack.fault(POST, "invalid_blocks", times=None, contains="poison")
    assert post("good")["ok"]
    assert post.refused("a poison message")["error"] == "invalid_blocks"
    assert post("good")["ok"]


def test_a_fault_of_one_method_is_of_that_one(slack: SlackWorkspace, post: Post) -> None:
    slack.fault("chat.update", "fatal_error", times=None)
    ts = post()["ts"]
    with pytest.raises(SlackApiError, match="fatal_error"):
        slack.client().chat_update(channel=slack.channel, ts=ts, text="y")
    assert post.written == ["x"]


def test_reading_back_is_neither_spoiled_nor_counted(slack: SlackWorkspace, post: Post) -> None:
    post()
    slack.fault("*", "invalid_auth", times=None)
    assert post.written == ["x"]
    assert slack.calls() == slack.calls(POST) == 1
    with pytest.raises(SlackApiError, match="invalid_auth"):
        slack.client().conversations_history(channel=slack.channel)


def test_a_limit_is_of_each_channel(slack: SlackWorkspace, post: Post) -> None:
    slack.limit(per_second=0.001, burst=2)
    assert all(post()["ok"] for _ in range(2))
    refused = post.refused()
    assert (refused.status_code, refused["error"]) == (429, "ratelimited")
    assert 990 <= int(refused.headers["Retry-After"]) <= 1000
    assert post(channel=slack.private_channel)["ok"]
    assert slack.client().conversations_history(channel=slack.channel)["ok"]
    slack.clear()
    assert post()["ok"]


def test_who_waits_as_long_as_a_limit_says_may_go_on(slack: SlackWorkspace, post: Post) -> None:
    slack.limit(per_second=1)
    post("1")
    wait_s = int(post.refused().headers["Retry-After"])
    slack.fault("auth.test", "hang", seconds=wait_s)
    slack.client().auth_test()
    assert post("2")["ok"]
    assert post.written == ["1", "2"]


def test_calls_are_recorded_spoiled_or_not(slack: SlackWorkspace, post: Post) -> None:
    slack.fault(POST, "http", status=503)
    post.refused("lost")
    post("kept")
    first, second = slack.requests(POST)
    assert [first.arguments["text"], second.arguments["text"]] == ["lost", "kept"]
    assert first.time < second.time
    assert (first.method, first.user) == (POST, slack.client().auth_test()["user_id"])
    assert slack.bot_token not in json.dumps([dict(one.arguments) for one in slack.requests()])
    with pytest.raises(TimeoutError, match="2 calls"):
        slack.wait_for_calls(POST, at_least=3, timeout_s=0.05)
