# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a message in Slack to its effect: a real listener, real servers, our own commands."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from slack_sdk import WebClient

from tests.lab import ScriptedModel
from tests.lab.proxy import FaultProxy
from tests.lab.slack import Message, SlackWorkspace
from tests.lab.slack.seed import BOT_USER
from tests.lab.tracker import Tracker
from tests.wait import wait_for

from . import dying_listener
from .fleet import Fleet, fresh_id

LISTEN = "from ansible_collections.dx.fleet.plugins.plugin_utils.cli.entry import fleet_main; fleet_main()"


@pytest.fixture
def jane(slack: SlackWorkspace) -> WebClient:
    """A person who may do all."""
    return slack.client(slack.reader_token)


@pytest.fixture
def slack_fleet(bead_fleet: Fleet, slack: SlackWorkspace, jane: WebClient, tmp_path: Path) -> Fleet:
    """The fleet for people who use Slack, with an outbox of their own."""
    endpoints = json.loads(Path(bead_fleet.env["DX_VM_ENDPOINTS"]).read_text())
    endpoints |= {"slack_users": {jane.auth_test()["user_id"]: ["*"]}}
    inventory = tmp_path / "vm-endpoints.json"
    inventory.write_text(json.dumps(endpoints))
    env = {**bead_fleet.env, **slack.env, "SLACK_AUDIT": "true", "XDG_STATE_HOME": str(tmp_path / "state")}
    return replace(bead_fleet, env={**env, "DX_VM_ENDPOINTS": str(inventory)}, inventory=inventory)


@pytest.fixture
def listener(slack_fleet: Fleet, slack: SlackWorkspace) -> Iterator[subprocess.Popen[bytes]]:
    """``dx-fleet listen``, connected."""
    with listening(slack_fleet, slack) as process:
        yield process


@contextmanager
def listening(slack_fleet: Fleet, slack: SlackWorkspace, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """``dx-fleet listen`` with these options, connected."""
    environ = {**slack_fleet.env, "SLACK_APP_TOKEN": slack.app_token}
    process = subprocess.Popen([sys.executable, "-c", LISTEN, "listen", *words], env=environ)
    try:
        slack.socket.wait_for(1)
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        slack.socket.wait_for(0)


def texts(slack: SlackWorkspace, thread: str, wanted: str) -> list[str]:
    """The replies of a thread, as soon as one of them has these words."""
    while True:
        calls = slack.calls("chat.postMessage")
        found = slack.thread(thread).texts
        if any(wanted in text for text in found):
            return found
        try:
            slack.wait_for_calls("chat.postMessage", calls + 1, 60)
        except TimeoutError:
            raise AssertionError(f"no {wanted!r} in {found}") from None


def test_the_users_flow_from_a_mention_to_the_proven_stop_and_the_retry(
    slack_fleet: Fleet,
    slack: SlackWorkspace,
    jane: WebClient,
    listener: subprocess.Popen[bytes],
    tracker: Tracker,
    model: ScriptedModel,
) -> None:
    bead = tracker.create("@bash sleep 604")
    waiting = slack_fleet.start("epyc6", "affordabot", "--bead", bead, "--json")
    slack.wait_for_calls("chat.postMessage", 1, 60)
    (thread,) = [one.root.ts for one in slack.threads()]
    texts(slack, thread, "Session created")
    session = tracker.metadata(bead)["session"]
    said = f"<@{BOT_USER}> Stop the epyc6 task, they're on wrong branch"
    asked = jane.chat_postMessage(channel=slack.channel, text=said)["ts"]
    told = texts(slack, asked, "Stopped ")
    assert told[0].startswith("Stopping epyc6: they're on wrong branch (asked by <@")
    assert "proven" in told[1]
    assert "NOT PROVEN" not in told[1]
    ended = waiting.finish()
    assert (ended.code, ended.result()["reason_code"]) == (8, "stopped"), ended
    assert ended.result()["message_to_human"].startswith("stopped by jane (Slack): they're on wrong branch")
    assert tracker.show(bead)["status"] == "blocked"
    assert not slack_fleet["epyc6"].works_on(session)
    trail = texts(slack, thread, "Stopped. What next?")
    aborting = f"Aborting epyc6 session {session}: they're on wrong branch (asked by jane (Slack))"
    assert any(text.startswith(aborting) for text in trail), trail
    jane.chat_postMessage(
        channel=slack.channel, thread_ts=thread, text="Switch to feature-xyz branch and retry: @say done"
    )
    texts(slack, thread, f"Retrying {bead} on branch feature-xyz")
    texts(slack, thread, "not verified: the agent wrote: done")
    metadata = tracker.metadata(bead)
    assert (metadata["attempt"], metadata["branch"]) == (2, "feature-xyz")


def test_a_listener_that_is_killed_while_it_stops_is_followed_by_one_that_posts_the_proof(
    slack_fleet: Fleet, slack: SlackWorkspace, jane: WebClient, request: pytest.FixtureRequest
) -> None:
    name = fresh_id()
    waiting = slack_fleet.start("epyc6", "affordabot", "@bash sleep 605", "--id", name, "--json")
    slack.wait_for_calls("chat.postMessage", 1, 60)
    (thread,) = [one.root.ts for one in slack.threads()]
    texts(slack, thread, "Session created")
    environ = {**slack_fleet.env, "SLACK_APP_TOKEN": slack.app_token}
    dying = subprocess.Popen([sys.executable, dying_listener.__file__, "begun"], env=environ)
    slack.socket.wait_for(1)
    jane.chat_postMessage(channel=slack.channel, thread_ts=thread, text="stop")
    assert dying.wait(30) == -signal.SIGKILL
    slack.socket.wait_for(0)
    request.getfixturevalue("listener")
    told = texts(slack, thread, "proven")
    assert sum(text.startswith("Aborting epyc6") for text in told) == 1
    assert sum(text.startswith(f"Stopping {name}") for text in told) == 1
    ended = waiting.finish()
    assert (ended.code, ended.result()["reason_code"]) == (8, "stopped"), ended


def test_an_old_button_answers_nothing_but_its_own_question(
    slack_fleet: Fleet,
    slack: SlackWorkspace,
    jane: WebClient,
    listener: subprocess.Popen[bytes],
) -> None:
    name, server = fresh_id(), slack_fleet["epyc6"]
    task = "@permission cat /etc/hosts\n@permission cat /root/x\n@say done"
    asked = slack_fleet.dispatch("epyc6", "affordabot", task, "--id", name)
    assert asked.code == 6, asked
    session = asked.result()["session"]
    thread, old = head_with(slack, "dx_allow_once")
    (first,) = server.pending("permission", session)
    user = str(jane.auth_test()["user_id"])
    assert slack_fleet.look("answer", first["id"], "once").code == 0
    assert slack_fleet.dispatch("epyc6", "--id", name).code == 6
    texts(slack, thread, "/root/")
    (second,) = server.pending("permission", session)
    assert slack.socket.click(slack.channel, thread, "dx_reject", user, message=old.raw)
    told = texts(slack, thread, "no longer waits")
    assert f"{first['id']} no longer waits" in told[-1]
    assert server.pending("permission", session) == [second]
    jane.chat_postMessage(channel=slack.channel, thread_ts=thread, text="answer once")
    texts(slack, thread, f"Answering epyc6: May the agent use external_directory: {second['patterns'][0]}")
    texts(slack, thread, "Done.")
    assert server.pending("permission", session) == []
    assert slack_fleet.dispatch("epyc6", "--id", name).code == 0


def head_with(slack: SlackWorkspace, button: str) -> tuple[str, Message]:
    """The head of the only thread, as soon as it has that button."""
    while True:
        calls = slack.calls("chat.update")
        for thread in slack.threads():
            if button in str(thread.root.blocks):
                return str(thread.root.ts), thread.root
        slack.wait_for_calls("chat.update", calls + 1, 60)


def test_a_stop_that_is_kept_is_carried_out_by_the_listener_when_the_vm_is_back(
    slack_fleet: Fleet,
    slack: SlackWorkspace,
    jane: WebClient,
    proxy: FaultProxy,
    tracker: Tracker,
    tmp_path: Path,
) -> None:
    bead = tracker.create("kept stop", "@bash sleep 606")
    behind = slack_fleet.seen_at(tmp_path, epyc6=proxy.url)
    waiting = behind.start("epyc6", "affordabot", "--bead", bead, "--json")
    slack.wait_for_calls("chat.postMessage", 1, 60)
    (thread,) = [one.root.ts for one in slack.threads()]
    texts(slack, thread, "Session created")
    waiting.kill()  # nobody else ends the claim
    with listening(behind, slack, "--kept-every", "2s") as listener:
        proxy.refuse()
        jane.chat_postMessage(channel=slack.channel, thread_ts=thread, text="stop, wrong branch")
        texts(slack, thread, "The stop is kept")
        (kept,) = behind.look("status", "epyc6").document()["kept_stops"]
        assert kept["vm"] == "epyc6"
        assert kept["by"].startswith("jane (slack:U")
        assert tracker.show(bead)["status"] == "in_progress"
        proxy.accept()
        told = texts(slack, thread, "Stopped. What next?")
        assert "(asked by jane (Slack))" in "".join(told)
        wait_for(lambda: tracker.show(bead)["status"] == "blocked")
        assert tracker.show(bead)["notes"].count("stopped by jane (Slack)") == 1
        assert listener.poll() is None
    assert "kept_stops" not in behind.look("status", "epyc6").document()
