# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Slack that is down, in each way in which it can be: when the listener starts, in the middle, and when it
replies. One listener for each way; each test has a dispatch of its own, which is stopped once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.listener.inbox import Inbox
from ansible_collections.dx.fleet.plugins.plugin_utils.listener.replies import EVENT_TYPE

from tests.lab.slack import SlackWorkspace
from tests.lab.slack.seed import BOT_USER

from .desk import Desk
from .dying_listener import ANSWER_S
from .forked import Forked, Forks

DOWN: dict[str, dict[str, Any]] = {
    "error 503": {"kind": "http", "status": 503},
    "hangs": {"kind": "hang", "seconds": ANSWER_S + 2.0},
    "resets": {"kind": "reset"},
    "a web page": {"kind": "html"},
    "a word": {"kind": "text", "status": 502},
    "a word for yes": {"kind": "text", "status": 200},
    "half an answer": {"kind": "truncated"},
    "no answer": {"kind": "empty"},
    "internal_error": {"kind": "internal_error"},
    "rate limit": {"kind": "ratelimited"},
}
CALLS = ("apps.connections.open", "auth.test", "conversations.history")
AT_ITS_OWN_PACE = ("error 503",)
AT_START = "bd-1@1"


@dataclass
class Listening:
    """A listener that was started while Slack was down in one way; a stop was written before in ``thread``."""

    desk: Desk
    process: Forked
    how: str
    thread: str

    def goes_down(self) -> None:
        goes_down(self.desk.slack, self.how)

    def hears(self) -> None:
        """It hears and answers now."""
        self.desk.replies(self.desk.says(f"<@{BOT_USER}> status"), 2)

    def has_stopped_once(self, dispatch: str, thread: str) -> None:
        """One command was begun, and both of its answers were posted."""
        self.desk.end_stop()
        assert sorted(self.desk.replies(thread, 2)) == ["accepted", "effect"]
        self.hears()
        assert sorted(self.desk.replies(thread, 2)) == ["accepted", "effect"]
        stops = [words[-1] for words in self.desk.commands() if words[0] == "stop"]
        assert stops.count(dispatch) == 1, stops


def goes_down(slack: SlackWorkspace, how: str) -> None:
    """Each call by which a listener comes to hear fails at first; where each waits for long, one of them."""
    for method in CALLS if how != "hangs" else CALLS[1:2]:
        slack.fault(method, **DOWN[how])


@pytest.fixture(scope="module", params=DOWN)
def listening(
    request: pytest.FixtureRequest,
    workspace: SlackWorkspace,
    listeners: Forks,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Listening]:
    """A workspace that forgets what happens while nobody listens: only its history has it."""
    how: str = request.param
    workspace.clear()
    workspace.socket.settings(keeps_events=False)
    desk = Desk(workspace, tmp_path_factory.mktemp("desk"), listeners)
    thread = desk.thread(AT_START)
    Inbox(desk.state / "dx-fleet" / "inbox.db").begin_at(workspace.channel, thread)  # somebody has listened
    desk.says("stop", thread)
    goes_down(workspace, how)
    with desk.listening("", *([] if how in AT_ITS_OWN_PACE else ["quick"])) as process:
        yield Listening(desk, process, how, thread)
    os.close(desk.gate)
    workspace.clear()


def test_where_slack_is_down_at_its_start_it_comes_to_hear_and_catches_up_once(listening: Listening) -> None:
    listening.has_stopped_once(AT_START, listening.thread)


def test_where_slack_goes_down_in_the_middle_it_goes_on_and_catches_up_once(listening: Listening) -> None:
    desk = listening.desk
    thread = desk.thread("bd-2@1")
    listening.hears()
    listening.goes_down()
    desk.slack.socket.end("fin")
    desk.slack.socket.wait_for(0)
    desk.says("stop", thread)
    listening.has_stopped_once("bd-2@1", thread)
    assert listening.process.poll() is None


def is_posted_once(listening: Listening, dispatch: str, *, is_done: bool) -> None:
    desk = listening.desk
    thread = desk.thread(dispatch)
    how = DOWN[listening.how]
    desk.slack.fault("chat.postMessage", **how, contains=EVENT_TYPE, commit=is_done)
    desk.says("stop", thread)
    listening.has_stopped_once(dispatch, thread)


def test_a_reply_that_slack_does_not_take_at_first_is_posted_once(listening: Listening) -> None:
    is_posted_once(listening, "bd-3@1", is_done=False)


@pytest.mark.parametrize("listening", [how for how in DOWN if how != "rate limit"], indirect=True)
def test_a_reply_that_slack_takes_and_does_not_confirm_is_posted_once(listening: Listening) -> None:
    is_posted_once(listening, "bd-4@1", is_done=True)
