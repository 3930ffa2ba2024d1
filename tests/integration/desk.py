# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A workspace with the thread of a dispatch, and processes ``dx-fleet listen`` beside it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.facts import kinds
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.facts.event import Subject
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.slack.deliverer import Deliverer
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.slack.web_api import WebApi
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.store.outbox import Outbox, outbox_path
from ansible_collections.dx.fleet.plugins.plugin_utils.listener.replies import EVENT_TYPE
from slack_sdk import WebClient

from tests.lab.slack import SlackWorkspace

from .forked import Forked, Forks

DISPATCH = "bd-a1b2@1-k3j9"
SUBJECT = Subject(dispatch=DISPATCH, vm="epyc6", session="ses_1", orchestrator="jo@vm")


@pytest.fixture(scope="module")
def listeners() -> Iterator[Forks]:
    """What listeners are forked from."""
    forks = Forks(
        "from tests.integration import dying_listener, forked\ndying_listener.main(*forked.words_of_fork())"
    )
    yield forks
    forks.close()


class Desk:
    """A workspace with the thread of a dispatch, and listeners whose commands are stand-ins."""

    def __init__(self, slack: SlackWorkspace, directory: Path, listeners: Forks) -> None:
        self._listeners = listeners
        self.slack = slack
        self.jane: WebClient = slack.client(slack.reader_token)
        self.state = directory / "state"
        self.record = directory / "record"
        gate = directory / "gate"
        os.mkfifo(gate)
        self.gate = os.open(gate, os.O_RDWR)
        endpoints = directory / "vm-endpoints.json"
        users = {self.jane.auth_test()["user_id"]: ["*"]}
        vms = {"epyc6": {"opencode": "http://epyc6:4105"}}
        endpoints.write_text(json.dumps({"vms": vms, "slack_users": users}))
        self.env = {
            **os.environ,
            **slack.env,
            "SLACK_APP_TOKEN": slack.app_token,
            "DX_VM_ENDPOINTS": str(endpoints),
            "XDG_STATE_HOME": str(self.state),
            "NO_PROXY": "*",
        }
        self.words = (str(self.record), str(gate))
        self.outbox = Outbox(outbox_path(self.env))

    def thread(self, dispatch: str = DISPATCH) -> str:
        """The root of the dispatch's thread."""
        subject = replace(SUBJECT, dispatch=dispatch)
        self.outbox.append(kinds.dispatching(subject, "Run make test"), self.slack.channel)
        api = WebApi(self.slack.bot_token, self.slack.url)
        asyncio.run(Deliverer(self.outbox, api, report=print).until_delivered(20))
        return str(self.slack.threads()[-1].root.ts)

    @contextmanager
    def listening(self, step: str = "", *pace: str) -> Iterator[Forked]:
        """A listener that dies at a step, or of SIGTERM at the end."""
        process = self._listeners.start((step, *self.words, *pace), self.env)
        try:
            self.slack.socket.wait_for(1)
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)
            self.slack.socket.wait_for(0)

    def says(self, text: str, thread: str | None = None) -> str:
        """Jane writes."""
        posted = self.jane.chat_postMessage(channel=self.slack.channel, text=text, thread_ts=thread)
        return str(posted["ts"])

    def end_stop(self) -> None:
        """The command that stops comes to its end."""
        os.write(self.gate, b"\n")

    def replies(self, thread: str, at_least: int) -> list[str]:
        """The names of the listener's replies in a thread, as soon as there are so many."""
        while True:
            calls = self.slack.calls("chat.postMessage")
            found = [one.metadata or {} for one in self.slack.thread(thread).replies]
            steps = [one["event_payload"]["step"] for one in found if one.get("event_type") == EVENT_TYPE]
            if len(steps) >= at_least:
                return steps
            self.slack.wait_for_calls("chat.postMessage", calls + 1, 30)

    def commands(self) -> list[list[str]]:
        """The words of each command that was begun."""
        return [json.loads(line) for line in self.record.read_text().splitlines()]
