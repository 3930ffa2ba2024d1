# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From a message in Slack to the proven stop of a bead's dispatch, on a server that has other work to do.

Two seconds of it are the stop's own: for so long HEAD must not move before the proof is believed.
"""

from __future__ import annotations

import json
import math
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil
from slack_sdk import WebClient

from tests.lab import Lab
from tests.lab.slack import SlackWorkspace
from tests.lab.tracker import Tracker
from tests.wait import wait_for

from .figure import BIN, Figure, Setting
from .processes import run

__all__ = ["stop"]

VM = "epyc6"
OTHERS = 2
LIMIT_S = 3.0
COMMAND = "sleep 606"
BURN = "while True: pass"
WORK = f"@slow 900 1\n@say {'at work ' * 900}"


def stop(setting: Setting) -> list[Figure]:
    """The 95th percentile, and the same while every core of this machine is busy."""
    with Lab(vms=(), slack=True) as workspace, tempfile.TemporaryDirectory() as folder:
        slack = workspace.slack
        tracker = Tracker.make(Path(folder, "tracker"))
        env = _person(setting, slack, tracker, Path(folder))
        with _others(setting), _listening(slack, env):
            _stopped(slack, env, tracker)  # the first one opens the connections and compiles the modules
            calm = [_stopped(slack, env, tracker) for _ in range(setting.rounds)]
            with _load():
                loaded = [_stopped(slack, env, tracker) for _ in range(setting.rounds)]
    how = f"p95 of {setting.rounds}; {OTHERS} other tasks work on the server; 2 s are the watch of HEAD"
    return [
        Figure("Slack message to proven stop", _p95(calm), LIMIT_S, "s", how),
        Figure("the same, every core busy", _p95(loaded), LIMIT_S, "s", how),
    ]


def _person(setting: Setting, slack: SlackWorkspace, tracker: Tracker, folder: Path) -> dict[str, str]:
    """The environment of somebody who may do all from Slack."""
    env = setting.environment | setting.lab.env_with(slack) | tracker.env
    endpoints = json.loads(Path(env["DX_VM_ENDPOINTS"]).read_text())
    jane = slack.client(slack.reader_token).auth_test()["user_id"]
    path = folder / "vm-endpoints.json"
    path.write_text(json.dumps(endpoints | {"slack_users": {jane: ["*"]}}))
    own = {"XDG_STATE_HOME": str(folder / "state"), "SLACK_AUDIT": "true", "NO_PROXY": "*"}
    return env | own | {"DX_VM_ENDPOINTS": str(path), "SLACK_APP_TOKEN": slack.app_token}


@contextmanager
def _others(setting: Setting) -> Iterator[None]:
    """Other tasks, each in a worktree of its own, that go on on the server meanwhile."""
    words = ("--no-wait", "--no-verify", "--branch")
    for _ in range(OTHERS):
        setting.dispatch(VM, "affordabot", WORK, *words, f"bench-{secrets.token_hex(4)}")
    yield
    run([str(BIN / "dx-fleet"), "stop", VM], setting.environment)


@contextmanager
def _listening(slack: SlackWorkspace, env: Mapping[str, str]) -> Iterator[None]:
    listener = subprocess.Popen([str(BIN / "dx-fleet"), "listen"], env=env, stderr=subprocess.DEVNULL)
    try:
        slack.socket.wait_for(1)
        yield
    finally:
        listener.send_signal(signal.SIGTERM)
        listener.wait(30)


@contextmanager
def _load() -> Iterator[None]:
    burning = [subprocess.Popen([sys.executable, "-c", BURN]) for _ in range(os.cpu_count() or 1)]
    try:
        yield
    finally:
        for each in burning:
            each.kill()
            each.wait()


def _stopped(slack: SlackWorkspace, env: Mapping[str, str], tracker: Tracker) -> float:
    """Seconds from the message to the reply with the proof."""
    bead = tracker.create(f"@bash {COMMAND}")
    words = [str(BIN / "dx-dispatch"), VM, "affordabot", "--bead", bead, "--json"]
    known = {thread.root.ts for thread in slack.threads()}
    waiting = subprocess.Popen(words, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    thread = _thread(slack, known)
    wait_for(_works)
    jane: WebClient = slack.client(slack.reader_token)
    began = time.monotonic()
    jane.chat_postMessage(channel=slack.channel, thread_ts=thread, text="stop")
    told = _reply(slack, thread, "proven")
    took_s = time.monotonic() - began
    waiting.communicate(timeout=60)
    if "NOT PROVEN" in told:
        raise RuntimeError(told)
    return took_s


def _works() -> bool:
    """Whether the agent's command runs."""
    return any(each.info["cmdline"] == COMMAND.split() for each in psutil.process_iter(["cmdline"]))


def _thread(slack: SlackWorkspace, known: set[str]) -> str:
    while True:
        calls = slack.calls("chat.postMessage")
        for thread in slack.threads():
            if thread.root.ts not in known:
                return str(thread.root.ts)
        slack.wait_for_calls("chat.postMessage", calls + 1, 60)


def _reply(slack: SlackWorkspace, thread: str, words: str) -> str:
    while True:
        calls = slack.calls("chat.postMessage")
        for text in slack.thread(thread).texts:
            if words in text:
                return str(text)
        slack.wait_for_calls("chat.postMessage", calls + 1, 60)


def _p95(seconds: list[float]) -> float:
    return sorted(seconds)[math.ceil(0.95 * len(seconds)) - 1]
