# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Slack workspace through Slack's own client: what is written can be read, and it refuses what Slack refuses."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

from tests.lab import Lab, LabError
from tests.lab.slack import SlackWorkspace
from tests.lab.slack.seed import Seed


@pytest.fixture
def bot(slack: SlackWorkspace) -> WebClient:
    """The app's client."""
    return slack.client()


@pytest.fixture
def jane(slack: SlackWorkspace) -> WebClient:
    """A person's client."""
    return slack.client(slack.reader_token)


def error_of(call: Callable[[], object]) -> str:
    """The error by which Slack refuses the call."""
    with pytest.raises(SlackApiError) as refused:
        call()
    return str(refused.value.response["error"])


def record(number: int) -> dict[str, Any]:
    """Metadata as our records have it."""
    return {"event_type": "dx_fleet", "event_payload": {"id": f"r{number}"}}


def section(text: str) -> dict[str, Any]:
    """A block with that text."""
    return {"type": "section", "text": {"type": "mrkdwn", "text": text, "verbatim": True}}


def test_a_thread_is_read_back_by_somebody_else(slack: SlackWorkspace, bot: WebClient) -> None:
    root = bot.chat_postMessage(
        channel=slack.channel, text="Dispatching", blocks=[section("*Dispatching*")], metadata=record(0)
    )
    for number in (1, 2, 3):
        bot.chat_postMessage(
            channel=slack.channel, text=f"step {number}", thread_ts=root["ts"], metadata=record(number)
        )
    bot.chat_update(channel=slack.channel, ts=root["ts"], text="Completed", blocks=[section("*Completed*")])
    (thread,) = slack.threads()
    assert (thread.root.text, thread.root.edited) == ("Completed", True)
    assert thread.root.blocks == (section("*Completed*"),)
    assert thread.texts == ["step 1", "step 2", "step 3"]
    assert [message.metadata for message in thread.messages] == [record(number) for number in range(4)]
    assert [message.edited for message in thread.replies] == [False, False, False]


def test_threads_are_told_apart_and_in_order(slack: SlackWorkspace, bot: WebClient) -> None:
    roots = [bot.chat_postMessage(channel=slack.channel, text=f"root {n}")["ts"] for n in (1, 2)]
    for ts in reversed(roots):
        bot.chat_postMessage(channel=slack.channel, text=f"of {ts}", thread_ts=ts)
    assert [(one.root.text, one.texts) for one in slack.threads()] == [
        ("root 1", [f"of {roots[0]}"]),
        ("root 2", [f"of {roots[1]}"]),
    ]


def test_clear_leaves_an_empty_channel(slack: SlackWorkspace, bot: WebClient) -> None:
    root = bot.chat_postMessage(channel=slack.channel, text="root")
    bot.chat_postMessage(channel=slack.channel, text="reply", thread_ts=root["ts"])
    bot.chat_postMessage(channel=slack.private_channel, text="elsewhere")
    slack.clear()
    assert slack.threads() == slack.threads(slack.private_channel) == []
    assert slack.calls() == 0


def test_the_bot_s_messages_say_so_and_a_person_s_do_not(
    slack: SlackWorkspace, bot: WebClient, jane: WebClient
) -> None:
    bot.chat_postMessage(channel=slack.channel, text="by the bot")
    jane.chat_postMessage(channel=slack.channel, text="by Jane", bot_id="B0DXFLEET01", app_id="A0DXFLEET01")
    by_bot, by_jane = (thread.root for thread in slack.threads())
    identity = bot.auth_test()
    assert (by_bot.bot_id, by_bot.raw["app_id"]) == (identity["bot_id"], identity["app_id"])
    assert by_jane.bot_id is None
    assert "app_id" not in by_jane.raw
    assert by_jane.user != by_bot.user == identity["user_id"]


def test_metadata_is_shown_on_demand_only(slack: SlackWorkspace, bot: WebClient) -> None:
    ts = bot.chat_postMessage(channel=slack.channel, text="root", metadata=record(1))["ts"]
    for read in (
        lambda **options: bot.conversations_history(channel=slack.channel, **options),
        lambda **options: bot.conversations_replies(channel=slack.channel, ts=ts, **options),
    ):
        assert "metadata" not in read()["messages"][0]
        assert read(include_all_metadata=True)["messages"][0]["metadata"] == record(1)


def test_tokens(slack: SlackWorkspace) -> None:
    assert error_of(lambda: slack.client("xoxb-of-somebody-else").auth_test()) == "invalid_auth"
    assert httpx.post(f"{slack.url}auth.test").json() == {"ok": False, "error": "not_authed"}
    stranger = slack.client("xoxb-of-somebody-else")
    assert error_of(lambda: stranger.chat_postMessage(channel=slack.channel, text="x")) == "invalid_auth"
    assert slack.threads() == []


def test_the_bot_may_do_no_more_than_it_has_to(slack: SlackWorkspace, bot: WebClient) -> None:
    assert error_of(lambda: bot.conversations_list()) == "missing_scope"
    assert error_of(lambda: bot.team_info()) == "missing_scope"


def test_a_method_that_slack_does_not_have(bot: WebClient) -> None:
    assert error_of(lambda: bot.api_call("chat.shout")) == "unknown_method"


async def test_read_methods_answer_to_get(slack: SlackWorkspace, bot: WebClient) -> None:
    ts = bot.chat_postMessage(channel=slack.channel, text="root", metadata=record(1))["ts"]
    client = AsyncWebClient(slack.bot_token, base_url=slack.url, retry_handlers=[])
    for answer in (
        await client.conversations_history(channel=slack.channel, include_all_metadata=True),
        await client.conversations_replies(channel=slack.channel, ts=ts, include_all_metadata=True),
    ):
        assert [one["metadata"] for one in answer["messages"]] == [record(1)]


def test_a_channel_in_which_the_bot_is_not(slack: SlackWorkspace, bot: WebClient, jane: WebClient) -> None:
    other = slack.other_channel
    assert error_of(lambda: bot.chat_postMessage(channel=other, text="x")) == "not_in_channel"
    assert error_of(lambda: bot.conversations_history(channel=other)) == "not_in_channel"
    assert jane.chat_postMessage(channel=other, text="x")["ok"]
    assert error_of(lambda: bot.chat_postMessage(channel="C0NOWHERE", text="x")) == "channel_not_found"


@pytest.mark.parametrize("name", ["channel", "private_channel"])
def test_a_bot_that_is_thrown_out(slack: SlackWorkspace, bot: WebClient, jane: WebClient, name: str) -> None:
    channel = getattr(slack, name)
    assert bot.chat_postMessage(channel=channel, text="in")["ok"]
    jane.conversations_kick(channel=channel, user=bot.auth_test()["user_id"])
    assert error_of(lambda: bot.chat_postMessage(channel=channel, text="out")) == "not_in_channel"
    slack.clear()
    assert bot.chat_postMessage(channel=channel, text="in again")["ok"]
    assert [thread.root.text for thread in slack.threads(channel)] == ["in again"]


def test_an_update_is_the_author_s(slack: SlackWorkspace, bot: WebClient, jane: WebClient) -> None:
    ts = jane.chat_postMessage(channel=slack.channel, text="Jane's")["ts"]
    update = {"channel": slack.channel, "ts": ts, "text": "the bot's"}
    assert error_of(lambda: bot.chat_update(**update)) == "cant_update_message"
    assert error_of(lambda: bot.chat_update(**{**update, "ts": "1.000001"})) == "message_not_found"


def test_a_thread_that_is_not_there(slack: SlackWorkspace, bot: WebClient) -> None:
    ts = "1700000000.000001"
    assert error_of(lambda: bot.conversations_replies(channel=slack.channel, ts=ts)) == "thread_not_found"


GOOD_BLOCKS = [
    {"type": "header", "text": {"type": "plain_text", "text": "h" * 150}},
    section("s" * 3000),
    {"type": "section", "fields": [{"type": "mrkdwn", "text": "f" * 2000}] * 2},
    {"type": "divider"},
    {"type": "context", "elements": [{"type": "mrkdwn", "text": "c"}]},
    {
        "type": "actions",
        "elements": [
            {"type": "button", "action_id": "abort", "text": {"type": "plain_text", "text": "Abort"}}
        ],
    },
]


def test_blocks_at_the_limits_are_kept_as_they_are(slack: SlackWorkspace, bot: WebClient) -> None:
    bot.chat_postMessage(channel=slack.channel, text="x", blocks=GOOD_BLOCKS)
    (thread,) = slack.threads()
    assert thread.root.blocks == tuple(GOOD_BLOCKS)


@pytest.mark.parametrize(
    ("blocks", "error"),
    [
        ([{"type": "divider"}] * 51, "invalid_blocks"),
        ([section("s" * 3001)], "invalid_blocks"),
        ([section("")], "invalid_blocks"),
        ([{"type": "section"}], "invalid_blocks"),
        ([{"type": "section", "fields": [{"type": "mrkdwn", "text": "f" * 2001}]}], "invalid_blocks"),
        ([{"type": "section", "fields": [{"type": "mrkdwn", "text": "f"}] * 11}], "invalid_blocks"),
        ([{"type": "section", "text": {"type": "html", "text": "x"}}], "invalid_blocks"),
        ([{"type": "section", "text": {"type": "mrkdwn", "text": "x", "emoji": True}}], "invalid_blocks"),
        ([{"type": "header", "text": {"type": "plain_text", "text": "h" * 151}}], "invalid_blocks"),
        ([{"type": "header", "text": {"type": "mrkdwn", "text": "h"}}], "invalid_blocks"),
        ([{"type": "context", "elements": []}], "invalid_blocks"),
        ([{"type": "actions", "elements": []}], "invalid_blocks"),
        ([{"type": "sektion"}], "invalid_blocks"),
        ([{"type": "divider", "block_id": "same"}] * 2, "invalid_blocks"),
        ("no JSON", "invalid_blocks_format"),
        ([section("s" * 3000)] * 4 + [section("s" * 1201)], "msg_blocks_too_long"),
    ],
)
def test_blocks_that_slack_refuses(slack: SlackWorkspace, bot: WebClient, blocks: Any, error: str) -> None:
    post = {"channel": slack.channel, "text": "x", "blocks": blocks}
    assert error_of(lambda: bot.chat_postMessage(**post)) == error
    assert slack.threads() == []


def test_blocks_of_a_form_are_checked_too(slack: SlackWorkspace, bot: WebClient) -> None:
    post = {"channel": slack.channel, "text": "x", "blocks": '[{"type": "sektion"}]'}
    assert error_of(lambda: bot.api_call("chat.postMessage", params=post)) == "invalid_blocks"


@pytest.mark.parametrize(
    "metadata",
    [
        {"event_type": "x"},
        {"event_payload": {}},
        {"event_type": "", "event_payload": {}},
        {"event_type": "x", "event_payload": []},
        {"event_type": "x", "event_payload": {}, "more": 1},
        "no JSON",
    ],
)
def test_metadata_that_slack_refuses(slack: SlackWorkspace, bot: WebClient, metadata: Any) -> None:
    post = {"channel": slack.channel, "text": "x", "metadata": metadata}
    assert error_of(lambda: bot.chat_postMessage(**post)) == "invalid_metadata_format"


def test_texts_that_are_too_long(slack: SlackWorkspace, bot: WebClient) -> None:
    posted = bot.chat_postMessage(channel=slack.channel, text="x" * 40_001)
    assert posted["warning"] == "message_truncated"
    update = {"channel": slack.channel, "ts": posted["ts"]}
    assert error_of(lambda: bot.chat_update(**update, text="x" * 4001)) == "msg_too_long"
    assert bot.chat_update(**update, text="x" * 4000)["ok"]
    empty = {"channel": slack.channel, "text": ""}
    assert error_of(lambda: bot.api_call("chat.postMessage", json=empty)) == "no_text"


def test_history_in_pages(slack: SlackWorkspace, bot: WebClient) -> None:
    for number in range(5):
        bot.chat_postMessage(channel=slack.private_channel, text=f"{number}")
    asked = bot.conversations_history(channel=slack.private_channel, limit=2)
    pages = [[one["text"] for one in page["messages"] if "bot_id" in one] for page in asked]
    assert pages[:2] == [["4", "3"], ["2", "1"]]
    assert [text for page in pages[2:] for text in page] == ["0"]
    refused = {"channel": slack.private_channel, "cursor": "bmV4dA=="}
    assert error_of(lambda: bot.conversations_history(**refused)) == "invalid_cursor"


def test_history_of_some_time(slack: SlackWorkspace, bot: WebClient) -> None:
    all_ts = [bot.chat_postMessage(channel=slack.channel, text=f"{number}")["ts"] for number in range(4)]

    def texts(**options: Any) -> list[str]:
        found = bot.conversations_history(channel=slack.channel, **options)["messages"]
        return [one["text"] for one in found if "bot_id" in one]

    assert texts(oldest=all_ts[1]) == ["3", "2"]
    assert texts(oldest=all_ts[1], inclusive=True) == ["3", "2", "1"]
    assert texts(latest=all_ts[2]) == ["1", "0"]
    assert texts(latest=all_ts[2], inclusive=True) == ["2", "1", "0"]
    assert texts(oldest=all_ts[0], latest=all_ts[3]) == ["2", "1"]
    asked = {"channel": slack.channel, "oldest": "yesterday"}
    assert error_of(lambda: bot.conversations_history(**asked)) == "invalid_arguments"


def test_replies_in_pages_with_the_root_on_each(slack: SlackWorkspace, bot: WebClient) -> None:
    root = bot.chat_postMessage(channel=slack.channel, text="root")["ts"]
    replies = [
        bot.chat_postMessage(channel=slack.channel, text=f"{number}", thread_ts=root)["ts"]
        for number in range(5)
    ]
    asked = bot.conversations_replies(channel=slack.channel, ts=root, limit=2)
    pages = [[one["text"] for one in page["messages"]] for page in asked]
    assert pages == [["root", "0", "1"], ["root", "2", "3"], ["root", "4"]]
    late = bot.conversations_replies(channel=slack.channel, ts=root, oldest=replies[3])
    assert [one["text"] for one in late["messages"]] == ["root", "4"]


def test_a_long_thread_and_a_long_channel_are_read_back_whole(slack: SlackWorkspace, bot: WebClient) -> None:
    # Longer than the pages of the emulator (1000) and of the reader (200).
    root = bot.chat_postMessage(channel=slack.channel, text="root")["ts"]
    replies = [f"{number}" for number in range(250)]
    roots = [f"{number}" for number in range(1001)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda text: bot.chat_postMessage(channel=slack.channel, text=text), roots))
        reply = {"channel": slack.channel, "thread_ts": root}
        list(pool.map(lambda text: bot.chat_postMessage(**reply, text=text), replies))
    first, *others = slack.threads()
    assert sorted(first.texts, key=int) == replies
    assert sorted((thread.root.text for thread in others), key=int) == roots


def test_a_broadcast_reply_is_in_the_channel_too(slack: SlackWorkspace, bot: WebClient) -> None:
    root = bot.chat_postMessage(channel=slack.channel, text="root")["ts"]
    reply = {"channel": slack.channel, "thread_ts": root}
    bot.chat_postMessage(**reply, text="quiet")
    bot.chat_postMessage(**reply, text="loud", reply_broadcast=True)
    found = bot.conversations_history(channel=slack.channel)["messages"]
    assert [(one["text"], one.get("subtype")) for one in found if "bot_id" in one] == [
        ("loud", "thread_broadcast"),
        ("root", None),
    ]
    assert [(one.root.text, one.texts) for one in slack.threads()] == [("root", ["quiet", "loud"])]


def test_no_emulator_token_is_used_up() -> None:
    seed = Seed()
    known = {one["token"] for one in seed.document()["slack"]["tokens"]}
    used = [seed.bot.next_token() for _ in range(20_000)]
    assert set(used) <= known
    assert max(used.count(token) for token in set(used)) < 5000
    assert not {seed.bot.token, seed.reader.token} & known


def test_what_a_child_is_told(lab: Lab, slack: SlackWorkspace) -> None:
    told = lab.env_with(slack)
    assert "SLACK_AUDIT" not in told
    client = WebClient(told["SLACK_BOT_TOKEN"], base_url=told["DX_SLACK_API_URL"])
    assert client.chat_postMessage(channel=told["SLACK_AUDIT_CHANNEL"], text="by a child")["ok"]
    assert [thread.root.text for thread in slack.threads()] == ["by a child"]
    assert lab.env["SLACK_AUDIT"] == "false"
    assert "SLACK_BOT_TOKEN" not in lab.env
    with pytest.raises(LabError, match="without Slack"):
        _ = lab.slack
