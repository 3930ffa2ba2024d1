# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The listener as a service: its state in ``dx-fleet status``, its log, a second one, and a Slack that is down."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.listener.health import Health, health_file

from tests.command import Completed, run_fleet
from tests.lab.slack import SlackWorkspace
from tests.lab.slack.seed import BOT_USER
from tests.wait import wait_for

from .desk import Desk
from .forked import Forks

LISTEN = "from ansible_collections.dx.fleet.plugins.plugin_utils.cli.entry import fleet_main; fleet_main()"


@pytest.fixture
def desk(slack: SlackWorkspace, tmp_path: Path, listeners: Forks) -> Iterator[Desk]:
    """A workspace that forgets what happens while nobody listens: only its history has it."""
    slack.socket.settings(keeps_events=False)
    made = Desk(slack, tmp_path, listeners)
    yield made
    os.close(made.gate)


@contextmanager
def served(desk: Desk, *words: str, connected: bool = True) -> Iterator[subprocess.Popen[str]]:
    """``dx-fleet listen`` itself; what it logs is in its ``log``."""
    log = desk.state.parent / "log"
    with log.open("a") as stream:
        process = subprocess.Popen(
            [sys.executable, "-c", LISTEN, "listen", *words], env=desk.env, stderr=stream
        )
    try:
        if connected:
            desk.slack.socket.wait_for(1)
        yield process
    finally:
        process.send_signal(signal.SIGCONT)
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        desk.slack.socket.wait_for(0)


def log_of(desk: Desk) -> str:
    return (desk.state.parent / "log").read_text()


def seen(desk: Desk) -> dict[str, Any]:
    """What the listener wrote of itself last."""
    found: dict[str, Any] = json.loads(health_file(desk.env).read_text())
    return found


def known(desk: Desk) -> str:
    """What is known of the listener, as ``dx-fleet status`` shows it."""
    found = Health.read(health_file(desk.env))
    return "" if found is None else found.in_words(time.time())


def test_a_second_listener_is_refused_and_the_first_goes_on(desk: Desk) -> None:
    with served(desk) as first:
        plain = run_fleet("listen", env=desk.env)
        assert plain.code == 2
        assert "a listener runs already on this machine (listener_runs)" in plain.err
        assert "next: dx-fleet status" in plain.err
        document = run_fleet("listen", "--json", env=desk.env).document()
        assert (document["exit_code"], document["error"]["reason_code"]) == (2, "listener_runs")
        asked = desk.says(f"<@{BOT_USER}> help")
        desk.replies(asked, 1)
        assert first.poll() is None
    with served(desk):  # nothing is left of the first that is in the way
        asked = desk.says(f"<@{BOT_USER}> help")
        desk.replies(asked, 1)


def test_it_is_known_whether_it_runs_is_connected_heard_hangs_or_died(desk: Desk) -> None:
    assert known(desk) == ""
    with served(desk) as process:
        wait_for(lambda: health_file(desk.env).exists() and seen(desk)["connected"])
        assert known(desk).startswith("listening for ")
        assert known(desk).endswith(f", process {process.pid}")
        desk.replies(desk.says(f"<@{BOT_USER}> help"), 1)
        assert "; last heard " in known(desk)
        desk.slack.refuse()
        wait_for(lambda: seen(desk)["connected"] is None)
        assert known(desk) == f"process {process.pid}, not connected to Slack"
        desk.slack.accept()
        wait_for(lambda: seen(desk)["connected"])
        process.send_signal(signal.SIGSTOP)
        past = {**seen(desk), "alive": seen(desk)["alive"] - 60}
        health_file(desk.env).write_text(json.dumps(past))  # a minute passes
        assert known(desk).startswith(f"process {process.pid} hangs: no sign of life for ")
        process.kill()
        process.wait(30)
        assert known(desk).startswith(f"not running; process {process.pid} ended ")
        assert known(desk).endswith(" ago: dx-fleet listen")


def test_status_shows_what_is_known_of_it_until_it_is_ended(desk: Desk) -> None:
    with served(desk) as process:
        wait_for(lambda: health_file(desk.env).exists() and seen(desk)["connected"])
        desk.replies(desk.says(f"<@{BOT_USER}> help"), 1)
        (line,) = listener_lines(run_fleet("status", env=desk.env))
        assert line.startswith("Listener: listening for ")
        assert f", process {process.pid}; last heard " in line
        found = run_fleet("status", "--json", env=desk.env).document()["listener"]
        assert found["runs"]
        assert found["process"] == process.pid
        assert found["heard"] >= found["connected"]
    done = run_fleet("status", env=desk.env)
    assert listener_lines(done) == [], "it was ended, and is missed by nobody"


def listener_lines(done: Completed) -> list[str]:
    """What ``dx-fleet status`` shows of the listener; the fleet's VM is not there."""
    return [line for line in done.out.splitlines() if line.startswith("Listener: ")]


def test_each_line_of_the_json_log_is_json_without_secrets(desk: Desk) -> None:
    thread = desk.thread()
    sam = desk.slack.client(desk.slack.other_token)
    desk.slack.fault("users.info", "http", 1)
    with served(desk, "--log-json"):
        sam.chat_postMessage(channel=desk.slack.channel, text="stop", thread_ts=thread)
        desk.slack.wait_for_calls("chat.postEphemeral", 1)
        token = "ghp_" + "a1B2" * 9
        desk.replies(desk.says(f"<@{BOT_USER}> stop epyc6, {token}"), 2)
        desk.slack.refuse()
        wait_for(lambda: seen(desk)["connected"] is None)
        desk.slack.accept()
        wait_for(lambda: seen(desk)["connected"])
    lines = [json.loads(line) for line in log_of(desk).splitlines()]
    assert all({"at", "level", "logger", "message"} <= line.keys() for line in lines)
    assert {line["level"] for line in lines} >= {"info", "warning"}
    assert any("denied: stop to U" in line["message"] for line in lines)
    assert any("Stopping epyc6" in line["message"] for line in lines)
    assert any("the name of U" in line["message"] for line in lines)
    for secret in (desk.slack.bot_token, desk.slack.app_token, token, "ticket="):
        assert secret not in log_of(desk)


def test_an_app_token_that_slack_refuses_is_said_and_ends_it(desk: Desk) -> None:
    env = {**desk.env, "SLACK_APP_TOKEN": "xapp-1-A0-0-not-one-of-ours"}
    done = run_fleet("listen", "--json", env=env)
    error = done.document()["error"]
    assert (done.code, error["reason_code"]) == (2, "slack_refused"), done
    assert "SLACK_APP_TOKEN" in error["next_action"]


def test_where_nobody_is_at_slacks_address_it_waits_and_goes_on(desk: Desk) -> None:
    thread = desk.thread()
    with desk.listening():
        desk.replies(desk.says(f"<@{BOT_USER}> status"), 2)
    desk.says("stop", thread)
    desk.slack.refuse()
    with served(desk, connected=False) as process:
        wait_for(lambda: "Slack can't be reached" in log_of(desk))
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        desk.slack.accept()
    with desk.listening():
        desk.end_stop()
        assert sorted(desk.replies(thread, 2)) == ["accepted", "effect"]
    assert len(desk.commands()) == 2, "the status and the stop"
