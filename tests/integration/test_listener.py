# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The listener with a real Socket Mode: what it does about what people write, click and repeat.

The commands that it would run are recorded here; :mod:`.test_listener_commands` runs them.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.facts import kinds
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.facts.event import Subject
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.slack.deliverer import Deliverer
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.slack.message import Audience
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.slack.web_api import WebApi
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.store.outbox import Outbox
from ansible_collections.dx.fleet.plugins.plugin_utils.config.endpoints import parse_fleet
from ansible_collections.dx.fleet.plugins.plugin_utils.config.listener import ListenerConfig
from ansible_collections.dx.fleet.plugins.plugin_utils.listener.acts import Message
from ansible_collections.dx.fleet.plugins.plugin_utils.listener.health import Health
from ansible_collections.dx.fleet.plugins.plugin_utils.listener.inbox import Inbox
from ansible_collections.dx.fleet.plugins.plugin_utils.listener.plan import Plan
from ansible_collections.dx.fleet.plugins.plugin_utils.listener.replies import EVENT_TYPE, Replies
from ansible_collections.dx.fleet.plugins.plugin_utils.listener.service import Listener
from slack_sdk.web.async_client import AsyncWebClient

from tests.lab.slack import SlackWorkspace
from tests.lab.slack.seed import BOT_USER

SUBJECT = Subject(
    dispatch="bd-a1b2@1-k3j9", vm="epyc6", bead="bd-a1b2", session="ses_1", orchestrator="jo@vm"
)
PATIENCE = 60  # seconds; a busy machine is slow
ANSWER = {"exit_code": 8, "results": [], "error": None}


class Office:
    """A fleet, its Slack, and a listener whose commands are recorded."""

    def __init__(self, slack: SlackWorkspace, directory: Path) -> None:
        self.slack = slack
        self.outbox = Outbox(directory / "outbox.db")
        self.inbox = Inbox(directory / "inbox.db")
        self.health = Health(directory / "listener.json")
        self.health.begin()
        self.ran: asyncio.Queue[Plan] = asyncio.Queue()
        self.answer: Mapping[str, Any] = ANSWER
        self.jane = slack.client(slack.reader_token)
        self.sam = slack.client(slack.other_token)
        self.user = str(self.jane.auth_test()["user_id"])
        users = {self.user: ["*"]}
        vms = {name: {"opencode": f"http://{name}:4105"} for name in ("epyc6", "macmini")}
        self.fleet = parse_fleet(json.dumps({"vms": vms, "slack_users": users}), source="vm-endpoints.json")
        environ = {**slack.env, "SLACK_APP_TOKEN": slack.app_token}
        self.config = ListenerConfig.read(environ, self.fleet)
        self.web = AsyncWebClient(token=slack.bot_token, base_url=slack.url, retry_handlers=[])

    async def thread(self) -> str:
        """The root of a dispatch's thread."""
        self.outbox.append(kinds.dispatching(SUBJECT, "Run make test"), self.slack.channel)
        api = WebApi(self.slack.bot_token, self.slack.url)
        await Deliverer(self.outbox, api, report=print).until_delivered(20)
        root: str = self.slack.threads()[-1].root.ts
        return root

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[Listener]:
        """A listener that is connected."""
        listener = Listener(self.config, self.fleet, self.inbox, self.outbox, self.web, self.health, self)
        work = asyncio.create_task(listener.serve())
        try:
            await asyncio.to_thread(self.slack.socket.wait_for, 1)
            yield listener
        finally:
            work.cancel()
            with suppress(asyncio.CancelledError):
                await work
            await asyncio.to_thread(self.slack.socket.wait_for, 0)

    async def says(self, text: str, thread: str | None = None, *, who: Any = None) -> str:
        """A person writes."""
        posted = await asyncio.to_thread(
            (who or self.jane).chat_postMessage, channel=self.slack.channel, text=text, thread_ts=thread
        )
        return str(posted["ts"])

    async def next(self) -> Plan:
        """The next command that is run."""
        return await asyncio.wait_for(self.ran.get(), PATIENCE)

    async def replies(self, thread: str, at_least: int) -> list[str]:
        """The listener's replies in a thread, as soon as there are so many."""
        posted = "chat.postMessage"
        while True:
            calls = await asyncio.to_thread(self.slack.calls, posted)
            found = await asyncio.to_thread(self.slack.thread, thread)
            ours = [one for one in found.replies if (one.metadata or {}).get("event_type") == EVENT_TYPE]
            if len(ours) >= at_least:
                return [one.text for one in ours]
            await asyncio.to_thread(self.slack.wait_for_calls, posted, calls + 1, PATIENCE)

    async def quiet(self) -> list[Plan]:
        """What was run, when all that was delivered until now is acknowledged and done."""
        sent = len(self.slack.socket.envelopes())
        await asyncio.to_thread(self.slack.socket.envelopes, sent)
        asked = await self.says(f"<@{BOT_USER}> status")
        ran = []
        while (plan := await self.next()).argv[1] != "status":
            ran.append(plan)
        await self.replies(asked, 2)
        return ran

    # --- the commands of the listener ---

    async def run(
        self, key: str, argv: Sequence[str], *, stdin: str | None = None, prints: bool = False
    ) -> Mapping[str, Any]:
        """A command is recorded, and has run."""
        await self.ran.put(Plan(tuple(argv), key, stdin, prints))
        return {"text": "all is well"} if prints else self.answer

    def forget(self, key: str) -> None:
        """There is nothing to forget."""

    def forget_all_but(self, keys: Collection[str]) -> None:
        """There is nothing to forget."""


Scene = Callable[[Office], Awaitable[None]]


@pytest.fixture
def play(slack: SlackWorkspace, tmp_path: Path) -> Callable[[Scene], None]:
    """Runs a scene in an office."""

    def run(scene: Scene) -> None:
        async def within() -> None:
            await scene(Office(slack, tmp_path / "state"))

        asyncio.run(within())

    return run


def stop_of(plan: Plan) -> tuple[str, str]:
    """Target and reason of a stop."""
    assert plan.argv[:2] == ("dx-fleet", "stop")
    reason = next((word for word in plan.argv if word.startswith("--reason=")), "--reason=")
    return plan.argv[-1], reason.removeprefix("--reason=")


def test_the_users_two_sentences_as_they_stand(play: Callable[[Scene], None]) -> None:
    async def scene(office: Office) -> None:
        thread = await office.thread()
        async with office.listening():
            await office.says(f"<@{BOT_USER}> Stop the epyc6 task, they're on wrong branch")
            assert stop_of(await office.next()) == ("epyc6", "they're on wrong branch")
            await office.says("Stop the epyc6 task, they're on wrong branch", thread)
            assert stop_of(await office.next()) == (SUBJECT.dispatch, "they're on wrong branch")
            await office.says("Switch to feature-xyz branch and retry", thread)
            plan = await office.next()
            assert plan.argv == ("dx-dispatch", "--retry=bd-a1b2", "--branch=feature-xyz", "--json")

    play(scene)


def test_two_answers_the_first_one_at_once(play: Callable[[Scene], None]) -> None:
    async def scene(office: Office) -> None:
        thread = await office.thread()
        office.answer = {
            "exit_code": 8,
            "results": [
                {
                    "vm": "epyc6",
                    "state": "aborted",
                    "message_to_human": "stopped: no session works <!channel>",
                    "next_action": "dx-dispatch --retry bd-a1b2",
                }
            ],
        }
        async with office.listening():
            await office.says("stop", thread)
            told = await office.replies(thread, 2)
        assert told[0].startswith("Stopping bd-a1b2@1-k3j9 (asked by <@")
        assert told[1] == (
            "[epyc6] Aborted: stopped: no session works &lt;!channel&gt;\n    next: dx-dispatch --retry bd-a1b2"
        )

    play(scene)


UNTRUSTED = [
    "don't stop epyc6",
    "please stop using tabs",
    "> stop epyc6",
    "`stop epyc6`",
    '"stop epyc6"',
    "st\u200bop",
    "stop\u200b",
    "I stop now",
]


def by_of(plan: Plan) -> str:
    """Who asked, as the command names them."""
    return next(word for word in plan.argv if word.startswith("--by=")).removeprefix("--by=")


def test_who_asked_has_a_name_that_is_looked_up_once(play: Callable[[Scene], None]) -> None:
    async def scene(office: Office) -> None:
        thread = await office.thread()
        before = office.slack.calls("users.info")
        async with office.listening():
            for _ in range(2):
                await office.says("stop", thread)
                assert by_of(await office.next()) == f"jane (slack:{office.user})"
        assert office.slack.calls("users.info") == before + 1

    play(scene)


@pytest.mark.parametrize("fault", ["missing_scope", "hang", "http", "reset", "list", "empty", "truncated"])
def test_without_a_name_the_id_is_used_and_the_stop_does_not_wait(
    play: Callable[[Scene], None], fault: str
) -> None:
    async def scene(office: Office) -> None:
        thread = await office.thread()
        office.slack.fault("users.info", fault, None)
        async with office.listening():
            await office.says("stop", thread)
            plan = await asyncio.wait_for(office.ran.get(), 8)  # slack_sdk waits for 10 s and longer
            assert by_of(plan) == f"slack:{office.user}"
            assert await office.quiet() == []

    play(scene)


def test_talk_in_a_thread_does_nothing(play: Callable[[Scene], None]) -> None:
    async def scene(office: Office) -> None:
        thread = await office.thread()
        async with office.listening():
            for text in UNTRUSTED:
                await office.says(text, thread)
            await office.says("stop epyc6")  # in the channel, to nobody
            await office.says("stop", await office.says("another talk"))
            ts = await office.says("hello", thread)
            await asyncio.to_thread(office.jane.chat_update, channel=office.slack.channel, ts=ts, text="stop")
            bot = office.slack.client()
            await asyncio.to_thread(
                bot.chat_postMessage, channel=office.slack.channel, text="stop", thread_ts=thread
            )
            assert await office.quiet() == []

    play(scene)


def test_who_is_not_listed_is_denied_and_told_alone(play: Callable[[Scene], None]) -> None:
    async def scene(office: Office) -> None:
        thread = await office.thread()
        async with office.listening():
            await office.says("stop", thread, who=office.sam)
            assert await office.quiet() == []
            (call,) = office.slack.requests("chat.postEphemeral")
            assert "may not stop" in call.arguments["text"]

    play(scene)


def test_what_comes_twice_is_done_once(play: Callable[[Scene], None]) -> None:
    async def scene(office: Office) -> None:
        thread = await office.thread()
        async with office.listening():
            ts = await office.says(f"<@{BOT_USER}> stop", thread)  # a message and a mention
            await office.next()
            jane = office.jane.auth_test()["user_id"]
            event = {"type": "message", "user": jane, "ts": ts, "text": f"<@{BOT_USER}> stop"}
            again = {**event, "channel": office.slack.channel, "thread_ts": thread, "event_ts": ts}
            await asyncio.to_thread(office.slack.socket.event, again)
            assert await office.quiet() == []

    play(scene)


def test_what_was_written_while_nobody_listened_is_done_once(play: Callable[[Scene], None]) -> None:
    async def scene(office: Office) -> None:
        office.slack.socket.settings(keeps_events=False)
        thread = await office.thread()
        async with office.listening():
            assert await office.quiet() == []
        await office.says("stop", thread)
        await office.says(f"<@{BOT_USER}> stop macmini")
        async with office.listening():
            targets = {stop_of(await office.next())[0], stop_of(await office.next())[0]}
            assert targets == {SUBJECT.dispatch, "macmini"}
            assert await office.quiet() == []

    play(scene)


@pytest.mark.parametrize("how", ["disconnect", "fin", "rst", "close", "blackhole"])
def test_a_lost_connection_loses_no_command(play: Callable[[Scene], None], how: str) -> None:
    async def scene(office: Office) -> None:
        office.slack.socket.settings(keeps_events=False, ack_s=0.5, redelivery_s=(0.0,))
        thread = await office.thread()
        async with office.listening():
            assert await office.quiet() == []
            await asyncio.to_thread(office.slack.socket.end, how)
            await office.says("stop", thread)
            assert stop_of(await office.next())[0] == SUBJECT.dispatch
            office.slack.socket.settings()
            assert await office.quiet() == []

    play(scene)


def test_a_name_that_is_unknown_gets_the_names_that_are_there(play: Callable[[Scene], None]) -> None:
    async def scene(office: Office) -> None:
        async with office.listening():
            ts = await office.says(f"<@{BOT_USER}> stop epyc7")
            (told,) = await office.replies(ts, 1)
            assert "epyc6, macmini" in told
            assert await office.quiet() == []

    play(scene)


def test_spoken_to_without_a_command_it_says_what_it_knows(play: Callable[[Scene], None]) -> None:
    async def scene(office: Office) -> None:
        async with office.listening():
            ts = await office.says(f"<@{BOT_USER}> please be nice")
            (told,) = await office.replies(ts, 1)
            assert "stop [VM" in told

    play(scene)


def test_a_listener_that_follows_one_that_died_has_the_same_effect_once(
    play: Callable[[Scene], None],
) -> None:
    """It dies after each step: kept; decided; accepted and begun; done, but not written down."""

    async def scene(office: Office) -> None:
        thread = await office.thread()
        async with office.listening():
            await office.quiet()
        for died in ("kept", "decided", "begun"):
            act = Message(f"message {died}", office.user, await office.says("hello"), "stop", False, thread)
            assert office.inbox.keep(act)
            plan = Plan(("dx-fleet", "stop", "--", died), f"Stopping {died}")
            if died != "kept":
                office.inbox.decide(act.key, plan.as_dict())
            if died == "begun":
                await Replies(office.web, office.slack.channel).post(act, "accepted", "there", again=False)
        async with office.listening():
            targets = [stop_of(await office.next())[0] for _ in range(3)]
            assert sorted(targets) == sorted([SUBJECT.dispatch, "decided", "begun"])
            told = await office.replies(thread, 6)
            assert sum(text.startswith("there") for text in told) == 1
            assert not any(text.startswith("Stopping begun") for text in told)
            assert await office.quiet() == []
        assert office.inbox.unfinished() == []

    play(scene)


def test_a_slash_command_is_acknowledged_and_answered_in_the_channel(play: Callable[[Scene], None]) -> None:
    async def scene(office: Office) -> None:
        async with office.listening():
            given = office.slack.channel, "/dx", "stop epyc6, wrong branch", office.user
            assert await asyncio.to_thread(office.slack.socket.slash, *given)
            assert stop_of(await office.next()) == ("epyc6", "wrong branch")
            elsewhere = office.slack.other_channel, "/dx", "stop epyc6", office.user
            assert await asyncio.to_thread(office.slack.socket.slash, *elsewhere)
            assert await office.quiet() == []
            posted = [thread.root.text for thread in office.slack.threads()]
            ours = [text for text in posted if text.startswith(("Stopping", "Done."))]
            assert [text.split(" (asked by <@")[0] for text in sorted(ours)] == [
                "Done.",
                "Stopping epyc6: wrong branch",
            ]
            answers = [one.answer for one in office.slack.socket.envelopes() if one.kind == "slash_commands"]
            assert answers[0] is None
            assert "alone" in answers[1]["text"]

    play(scene)


def test_a_slash_command_of_one_who_may_not_is_denied(play: Callable[[Scene], None]) -> None:
    async def scene(office: Office) -> None:
        async with office.listening():
            sam = str(office.sam.auth_test()["user_id"])
            await asyncio.to_thread(office.slack.socket.slash, office.slack.channel, "/dx", "stop epyc6", sam)
            assert await office.quiet() == []
            (call,) = office.slack.requests("chat.postEphemeral")
            assert "may not stop" in call.arguments["text"]

    play(scene)


def test_each_of_many_vms_is_stopped_by_its_own_button(play: Callable[[Scene], None]) -> None:
    async def scene(office: Office) -> None:
        for vm in ("epyc6", "macmini"):
            subject = Subject(dispatch=f"d1.{vm}", vm=vm, session=f"ses_{vm}", orchestrator="jo@vm")
            office.outbox.append(kinds.dispatching(subject, "Run make test"), office.slack.channel)
        api = WebApi(office.slack.bot_token, office.slack.url)
        audience = Audience(buttons=True)
        await Deliverer(office.outbox, api, report=print, audience=audience).until_delivered(20)
        (thread,) = office.slack.threads()
        async with office.listening():
            button = office.slack.channel, thread.root.ts, "dx_stop", office.user
            clicked = await asyncio.to_thread(partial(office.slack.socket.click, *button, value="d1.macmini"))
            assert clicked
            assert stop_of(await office.next())[0] == "d1.macmini"
            assert await office.quiet() == []

    play(scene)


def test_a_task_goes_by_standard_input_with_an_id_of_its_own(play: Callable[[Scene], None]) -> None:
    async def scene(office: Office) -> None:
        async with office.listening():
            await office.says(f"<@{BOT_USER}> dispatch epyc6 affordabot --all {{{{ x }}}}")
            plan = await office.next()
        assert plan.stdin == "--all {{ x }}"
        assert plan.argv[-4:] == ("--", "epyc6", "affordabot", "-")
        assert plan.argv[1].startswith("--id=slack-")

    play(scene)
