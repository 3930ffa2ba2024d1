# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Socket Mode of the lab: what Slack's own clients make of it, for Python and, as an independent check, for Node."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO, Any

import pytest
from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError
from slack_sdk.socket_mode.aiohttp import SocketModeClient
from slack_sdk.socket_mode.async_client import AsyncBaseSocketModeClient
from slack_sdk.socket_mode.request import SocketModeRequest
from slack_sdk.socket_mode.response import SocketModeResponse
from slack_sdk.web.async_client import AsyncWebClient

from tests.lab.slack import SlackWorkspace
from tests.lab.slack.binaries import find_emulator, find_node
from tests.lab.slack.seed import BOT_USER

CLIENT = Path(__file__).with_name("socket_mode_client.mjs")


class App:
    """An app that acknowledges, or not, and keeps what it heard."""

    def __init__(self, acknowledges: bool = True) -> None:
        self.acknowledges = acknowledges
        self.heard: asyncio.Queue[SocketModeRequest] = asyncio.Queue()
        self.hello = asyncio.Event()

    async def notice(
        self, client: AsyncBaseSocketModeClient, message: dict[str, Any], raw: str | None
    ) -> None:
        if message.get("type") == "hello":
            self.hello.set()

    async def hear(self, client: AsyncBaseSocketModeClient, request: SocketModeRequest) -> None:
        if self.acknowledges:
            await client.send_socket_mode_response(SocketModeResponse(envelope_id=request.envelope_id))
        await self.heard.put(request)

    async def next(self) -> SocketModeRequest:
        return await asyncio.wait_for(self.heard.get(), 20)


@asynccontextmanager
async def connected(slack: SlackWorkspace, app: App) -> AsyncIterator[SocketModeClient]:
    client = SocketModeClient(
        app_token=slack.app_token, web_client=AsyncWebClient(base_url=slack.url), ping_interval=1
    )
    client.socket_mode_request_listeners.append(app.hear)
    client.message_listeners.append(app.notice)
    await client.connect()
    try:
        await asyncio.wait_for(app.hello.wait(), 20)
        app.hello.clear()
        yield client
    finally:
        await client.close()
        await asyncio.to_thread(slack.socket.wait_for, 0)


Scene = Callable[[App, SocketModeClient], Awaitable[Any]]


def play(slack: SlackWorkspace, scene: Scene, *, acknowledges: bool = True) -> Any:
    """Run a scene with an app that is connected."""

    async def run() -> Any:
        app = App(acknowledges)
        async with connected(slack, app) as client:
            return await scene(app, client)

    return asyncio.run(run())


@pytest.fixture
def jane(slack: SlackWorkspace) -> WebClient:
    """A person's client."""
    return slack.client(slack.reader_token)


def test_only_the_apps_own_token_opens_a_connection(slack: SlackWorkspace) -> None:
    for token, error in ((slack.bot_token, "not_allowed_token_type"), ("xapp-wrong", "invalid_auth")):
        with pytest.raises(SlackApiError) as refused:
            slack.client(token).apps_connections_open(app_token=token)
        assert refused.value.response["error"] == error


def test_what_a_person_writes_comes_as_an_event_and_a_mention_as_two(
    slack: SlackWorkspace, jane: WebClient
) -> None:
    async def scene(app: App, client: SocketModeClient) -> list[SocketModeRequest]:
        await asyncio.to_thread(
            jane.chat_postMessage, channel=slack.channel, text=f"<@{BOT_USER}> stop epyc6"
        )
        return [await app.next(), await app.next()]

    heard = play(slack, scene)
    assert {one.payload["event"]["type"] for one in heard} == {"message", "app_mention"}
    assert len({one.payload["event"]["ts"] for one in heard}) == 1
    assert len({one.payload["event_id"] for one in heard}) == 2
    assert {(one.payload["team_id"], one.payload["api_app_id"]) for one in heard} == {(slack.team, slack.app)}
    assert {one.payload["event"]["channel"] for one in heard} == {slack.channel}


def test_an_edit_and_a_deletion_are_events_of_their_own(slack: SlackWorkspace, jane: WebClient) -> None:
    async def scene(app: App, client: SocketModeClient) -> list[SocketModeRequest]:
        ts = jane.chat_postMessage(channel=slack.channel, text="a")["ts"]
        jane.chat_update(channel=slack.channel, ts=ts, text="b")
        jane.chat_delete(channel=slack.channel, ts=ts)
        return [await app.next() for _ in range(3)]

    subtypes = {one.payload["event"].get("subtype") for one in play(slack, scene)}
    assert subtypes == {None, "message_changed", "message_deleted"}


def test_what_the_bot_writes_names_the_bot(slack: SlackWorkspace) -> None:
    async def scene(app: App, client: SocketModeClient) -> SocketModeRequest:
        slack.client().chat_postMessage(channel=slack.channel, text="a")
        return await app.next()

    assert play(slack, scene).payload["event"]["bot_id"]


def test_what_is_not_acknowledged_comes_again_in_another_envelope(
    slack: SlackWorkspace, jane: WebClient
) -> None:
    slack.socket.settings(ack_s=0.2, redelivery_s=(0.0, 0.1))

    async def scene(app: App, client: SocketModeClient) -> list[SocketModeRequest]:
        jane.chat_postMessage(channel=slack.channel, text="a")
        first = [await app.next(), await app.next()]
        app.acknowledges = True
        return [*first, await app.next()]

    heard = play(slack, scene, acknowledges=False)
    assert [one.retry_attempt for one in heard] == [0, 1, 2]
    assert len({one.envelope_id for one in heard}) == 3
    assert len({one.payload["event_id"] for one in heard}) == 1


@pytest.mark.parametrize("keeps", [True, False])
def test_what_happens_while_nobody_is_connected_comes_later_or_never(
    slack: SlackWorkspace, jane: WebClient, keeps: bool
) -> None:
    slack.socket.settings(keeps_events=keeps)
    jane.chat_postMessage(channel=slack.channel, text="before")

    async def scene(app: App, client: SocketModeClient) -> str:
        jane.chat_postMessage(channel=slack.channel, text="after")
        text: str = (await app.next()).payload["event"]["text"]
        return text

    assert play(slack, scene) == ("before" if keeps else "after")


@pytest.mark.parametrize("how", ["disconnect", "close", "fin", "rst", "blackhole"])
def test_the_client_connects_anew_after(slack: SlackWorkspace, jane: WebClient, how: str) -> None:
    async def scene(app: App, client: SocketModeClient) -> str:
        await asyncio.to_thread(slack.socket.end, how)
        await asyncio.wait_for(app.hello.wait(), 20)
        await asyncio.to_thread(jane.chat_postMessage, channel=slack.channel, text="a")
        while True:
            request = await app.next()
            if request.payload["event"]["text"] == "a":
                return "heard"

    slack.socket.settings(ack_s=0.5, redelivery_s=(0.0, 0.5, 0.5, 0.5, 0.5))
    assert play(slack, scene) == "heard"


def with_button(value: str) -> list[dict[str, Any]]:
    text = {"type": "plain_text", "text": "Stop"}
    return [
        {
            "type": "actions",
            "elements": [{"type": "button", "action_id": "stop", "value": value, "text": text}],
        }
    ]


def test_a_click_comes_once_and_only_for_a_button_that_is_there(slack: SlackWorkspace) -> None:
    posted = slack.client().chat_postMessage(channel=slack.channel, text="head", blocks=with_button("d1"))
    jane = slack.client(slack.reader_token).auth_test()["user_id"]

    async def scene(app: App, client: SocketModeClient) -> SocketModeRequest:
        with pytest.raises(LookupError):
            await asyncio.to_thread(slack.socket.click, slack.channel, posted["ts"], "retry", jane)
        assert await asyncio.to_thread(slack.socket.click, slack.channel, posted["ts"], "stop", jane)
        while True:
            request = await app.next()
            if request.type == "interactive":
                return request

    payload = play(slack, scene).payload
    assert (payload["actions"][0]["value"], payload["user"]["id"]) == ("d1", jane)
    assert payload["message"]["ts"] == posted["ts"]


def test_a_click_that_nobody_acknowledges_is_lost(slack: SlackWorkspace) -> None:
    slack.socket.settings(ack_s=0.2)
    posted = slack.client().chat_postMessage(channel=slack.channel, text="head", blocks=with_button("d1"))
    assert not slack.socket.click(slack.channel, posted["ts"], "stop", "U1")


def test_slacks_own_stop_is_there_while_an_agent_works(slack: SlackWorkspace) -> None:
    bot = slack.client()
    thread = bot.chat_postMessage(channel=slack.channel, text="head")["ts"]
    status = {"channel_id": slack.channel, "thread_ts": thread, "status": "processing"}
    with pytest.raises(SlackApiError, match="not_authorized"):
        bot.api_call("agents.sessions.setStatus", json=status)
    slack.socket.settings(is_agent=True)
    assert not slack.socket.native_stop(slack.channel, thread, "U1")
    bot.api_call("agents.sessions.setStatus", json=status)

    async def scene(app: App, client: SocketModeClient) -> SocketModeRequest:
        assert await asyncio.to_thread(slack.socket.native_stop, slack.channel, thread, "U1")
        while True:
            request = await app.next()
            if request.payload["event"]["type"] == "agent_session_stopped":
                return request

    event = play(slack, scene).payload["event"]
    assert (event["thread_ts"], event["user"]) == (thread, "U1")


@pytest.fixture
def node(slack: SlackWorkspace) -> Iterator[subprocess.Popen[str]]:
    """Slack's client for Node, connected to the workspace."""
    environment = {
        **os.environ,
        "CLIENT_FROM": str(find_emulator().parents[3] / "package.json"),
        "SLACK_APP_TOKEN": slack.app_token,
        "SLACK_API_URL": slack.url,
    }
    client = subprocess.Popen(
        [str(find_node()), str(CLIENT)],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert client.stdout
        assert line_of(client.stdout) == {"connected": True}
        yield client
    finally:
        client.kill()
        client.communicate()
        slack.socket.wait_for(0)


def line_of(stream: IO[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(stream.readline())
    return found


def test_slacks_client_for_node_hears_and_acknowledges(
    slack: SlackWorkspace, jane: WebClient, node: subprocess.Popen[str]
) -> None:
    assert node.stdout
    jane.chat_postMessage(channel=slack.channel, text="hello")
    assert line_of(node.stdout) == {"type": "events_api", "text": "hello", "retry_num": 0}
    assert slack.socket.slash(slack.channel, "/dx", "status", "U1")
    assert line_of(node.stdout) == {"type": "slash_commands", "text": "status"}
    assert [one.acked is not None for one in slack.socket.envelopes(acked=2)] == [True, True]


def test_slacks_client_for_node_connects_anew(
    slack: SlackWorkspace, jane: WebClient, node: subprocess.Popen[str]
) -> None:
    assert node.stdout
    slack.socket.end("disconnect")
    assert line_of(node.stdout) == {"connected": True}
    jane.chat_postMessage(channel=slack.channel, text="again")
    assert line_of(node.stdout)["text"] == "again"
