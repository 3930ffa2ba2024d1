# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The process ``dx-fleet listen``: killed at each step from a message to its effect, there is one effect; and
Slack's own Stop, which is a part of the process."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.facts import kinds
from ansible_collections.dx.fleet.plugins.plugin_utils.listener.inbox import Inbox

from tests.lab.slack import SlackWorkspace
from tests.lab.slack.seed import BOT_USER
from tests.wait import wait_for

from . import dying_listener
from .desk import DISPATCH, SUBJECT, Desk
from .forked import Forks

KILLED = -signal.SIGKILL
OVER = ("ended", "answered", "before it is written down", "written down")


@pytest.fixture
def desk(slack: SlackWorkspace, tmp_path: Path, listeners: Forks) -> Iterator[Desk]:
    """Slack delivers again at once what is not acknowledged."""
    slack.socket.settings(ack_s=0.5, redelivery_s=(0.0, 0.0, 0.0))
    made = Desk(slack, tmp_path, listeners)
    yield made
    os.close(made.gate)


@pytest.mark.parametrize("step", dying_listener.STEPS)
def test_a_listener_that_is_killed_at_a_step_is_followed_by_one_effect(desk: Desk, step: str) -> None:
    thread = desk.thread()
    with desk.listening(step) as first:
        desk.says("stop, wrong branch", thread)
        if step in OVER:
            desk.end_stop()
        assert first.wait(30) == KILLED
    with desk.listening():
        if step not in OVER:
            desk.end_stop()
        steps = desk.replies(thread, 2)
        assert sorted(steps) == ["accepted", "effect"]
        later = desk.says(f"<@{BOT_USER}> status")
        desk.replies(later, 2)
        assert sorted(desk.replies(thread, 2)) == ["accepted", "effect"]
    stops = [words for words in desk.commands() if words[0] == "stop"]
    assert [words[-1] for words in stops] == [DISPATCH], step
    assert Inbox(desk.state / "dx-fleet" / "inbox.db").unfinished() == []
    assert list((desk.state / "dx-fleet" / "commands").iterdir()) == []


def test_a_command_that_was_killed_with_its_listener_is_run_again(desk: Desk) -> None:
    thread = desk.thread()
    with desk.listening("accepted") as first:
        desk.says("stop", thread)
        assert first.wait(30) == KILLED
        wait_for(lambda: desk.record.exists() and desk.commands())
        _kill_stand_in(desk)
    with desk.listening():
        desk.end_stop()
        assert sorted(desk.replies(thread, 2)) == ["accepted", "effect"]
    assert len(desk.commands()) == 2


def _kill_stand_in(desk: Desk) -> None:
    (child,) = [
        process
        for process in psutil.process_iter(["cmdline"])
        if str(desk.record) in " ".join(process.info["cmdline"] or ())
    ]
    child.kill()
    psutil.wait_procs([child], 10)


def test_slacks_own_stop_is_shown_while_the_work_goes_on_and_stops_it(desk: Desk) -> None:
    desk.slack.socket.settings(is_agent=True)
    thread = desk.thread()
    where = (desk.slack.channel, thread)
    jane = str(desk.jane.auth_test()["user_id"])
    sam = str(desk.slack.client(desk.slack.other_token).auth_test()["user_id"])
    with desk.listening():
        desk.slack.wait_for_calls("agents.sessions.setStatus", 1)
        assert desk.slack.socket.sessions() == {where: "processing"}
        assert desk.slack.socket.native_stop(*where, sam)
        desk.slack.wait_for_calls("chat.postEphemeral", 1)
        assert desk.slack.socket.native_stop(*where, jane)
        desk.replies(thread, 1)
        desk.outbox.append(kinds.stopped(SUBJECT), desk.slack.channel)
        desk.slack.wait_for_calls("agents.sessions.setStatus", 2)
        desk.end_stop()
        desk.replies(thread, 2)
    assert desk.slack.socket.sessions() == {where: "closed"}
    (stopped,) = desk.commands()
    assert (stopped[0], stopped[-1]) == ("stop", DISPATCH)
    assert f"--by=jane (slack:{jane})" in stopped


def test_where_slack_has_no_stop_of_its_own_that_is_noticed_once(desk: Desk) -> None:
    desk.thread()
    with desk.listening():
        desk.slack.wait_for_calls("agents.sessions.setStatus", 1)
        desk.outbox.append(kinds.stopped(SUBJECT), desk.slack.channel)
        desk.slack.wait_for_calls("chat.update", 1)  # the head shows it
        asked = desk.says(f"<@{BOT_USER}> status")
        desk.replies(asked, 2)
        assert desk.slack.calls("agents.sessions.setStatus") == 1


def test_a_listener_that_is_ended_leaves_its_command_alone(desk: Desk) -> None:
    thread = desk.thread()
    with desk.listening() as first:
        desk.says("stop", thread)
        desk.replies(thread, 1)
        first.send_signal(signal.SIGTERM)
        assert first.wait(30) == 0
    desk.end_stop()
    with desk.listening():
        assert sorted(desk.replies(thread, 2)) == ["accepted", "effect"]
    assert len(desk.commands()) == 1
