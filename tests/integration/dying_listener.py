# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``dx-fleet listen`` as it is, but that it kills itself at a step, as kill -9 would at that moment.

    python dying_listener.py STEP [RECORD GATE [quick]]

With RECORD its commands are stand-ins: each adds its words to that file, and a stop ends when a line comes out of
the pipe GATE. With ``quick`` it tries again sooner where Slack is down.
"""

from __future__ import annotations

import importlib
import inspect
import itertools
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from ansible_collections.dx.fleet.plugins.plugin_utils.cli.commands import listen
from ansible_collections.dx.fleet.plugins.plugin_utils.cli.entry import fleet_main
from ansible_collections.dx.fleet.plugins.plugin_utils.launch import own_command, spare_command
from ansible_collections.dx.fleet.plugins.plugin_utils.listener import connection, replies, service
from slack_sdk.web.async_client import AsyncWebClient

OURS = "ansible_collections.dx.fleet.plugins.plugin_utils"
INBOX = f"{OURS}.listener.inbox:Inbox"
RUN = f"{OURS}.launch.kept_command"
SOCKET = "slack_sdk.socket_mode.aiohttp:SocketModeClient"
POST = "slack_sdk.web.async_client:AsyncWebClient.chat_postMessage"

# In the order in which they come: what is called, whether it is over, and for which time.
STEPS = {
    "before it is kept": (f"{INBOX}.keep", False, 1),
    "before it is acknowledged": (f"{INBOX}.keep", True, 1),
    "acknowledged": (f"{SOCKET}.send_socket_mode_response", True, 1),
    "before it is decided": (f"{INBOX}.decide", False, 1),
    "before it is begun": (f"{INBOX}.decide", True, 1),
    "before its process has its words": ("socket:send_fds", True, 1),
    "begun": (f"{RUN}:KeptCommands._begin", True, 1),
    "accepted": (POST, True, 1),
    "ended": (f"{RUN}:_end_of", True, 1),
    "answered": (POST, True, 2),
    "before it is written down": (f"{INBOX}.finish", False, 1),
    "written down": (f"{INBOX}.finish", True, 1),
}

ANSWER_S = 3
"""How long a quick one waits for an answer of Slack."""

STAND_IN = """
import json, os, sys
record = os.open({record!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
os.write(record, (json.dumps(sys.argv[1:]) + "\\n").encode())
if sys.argv[1] == "stop":
    open({gate!r}).readline()
print(json.dumps({{"exit_code": 0, "results": [], "error": None}}))
"""


SPARE = """
import sys
from ansible_collections.dx.fleet.plugins.plugin_utils.launch.spare_command import wait_for_words
words = wait_for_words(int(sys.argv[1]))
if words is None:
    sys.exit()
sys.argv = words
"""


def dying_at(name: str, over: bool, time: int) -> None:
    """Make this process kill itself when it calls a function for that time, before or after the call."""
    module, path = name.split(":")
    *owners, last = path.split(".")
    owner = importlib.import_module(module)
    for each in owners:
        owner = getattr(owner, each)
    setattr(owner, last, _killing(getattr(owner, last), over, itertools.count(1), time))


def _killing(function: Callable[..., Any], over: bool, calls: itertools.count[int], time: int) -> Any:
    async def awaited(*args: Any, **options: Any) -> Any:
        found = await function(*args, **options)
        _die()
        return found

    def called(*args: Any, **options: Any) -> Any:
        if next(calls) != time:
            return function(*args, **options)
        if not over:
            _die()
        if inspect.iscoroutinefunction(function):
            return awaited(*args, **options)
        found = function(*args, **options)
        _die()
        return found

    return called


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def quicken() -> None:
    """Shorten what is waited for between two tries, and how long an answer of Slack may take."""
    connection.RETRY_S = service.AGAIN_S = replies.AGAIN_S = (0.2,) * 20
    listen.AsyncWebClient = lambda **options: AsyncWebClient(**{**options, "timeout": ANSWER_S})


def main(step: str, *stand_in: str) -> None:
    """Listen until that step."""
    if step in STEPS:
        dying_at(*STEPS[step])
    if stand_in:
        record, gate, *pace = stand_in
        if pace:
            quicken()
        script = STAND_IN.format(record=record, gate=gate)
        own_command._ENTRIES = dict.fromkeys(own_command._ENTRIES, script)
        spare_command._ENTRY = SPARE + script
    sys.argv = ["dx-fleet", "listen"]
    fleet_main()


if __name__ == "__main__":
    main(*sys.argv[1:])
