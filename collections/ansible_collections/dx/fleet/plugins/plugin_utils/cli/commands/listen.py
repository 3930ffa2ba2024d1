# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``dx-fleet listen``: hear commands in Slack and carry them out."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from slack_sdk.web.async_client import AsyncWebClient

from ...audit.slack.deliverer import Deliverer
from ...audit.slack.message import Audience
from ...audit.slack.web_api import WebApi
from ...audit.store.outbox import Outbox, outbox_path
from ...config.folders import state_folder
from ...config.listener import ListenerConfig
from ...domain.clock import SYSTEM_CLOCK
from ...domain.errors import FleetError
from ...domain.fleet import Fleet
from ...domain.outcome import ExitCode
from ...launch.kept_command import KeptCommands
from ...launch.own_command import run_command
from ...listener.agent_status import AgentStatus
from ...listener.health import Health, health_file
from ...listener.inbox import Inbox
from ...listener.service import Listener
from ...text.redact import redact
from ..command import Command
from ..fleet_source import find_fleet
from ..kept_stops import KeptStops
from ..options import Options, flag, option, seconds
from ..report import Report

__all__ = ["COMMAND", "ListenOptions", "listen"]

INBOX = "inbox.db"
COMMANDS = "commands"
LEAST_S = 0.1


@dataclass(frozen=True)
class ListenOptions(Options):
    """Hear commands in Slack, such as stop and retry, and carry them out, until it is ended."""

    log_json: bool = flag("--log-json", help="log lines of JSON on standard error")
    kept_every: float = option(
        "--kept-every",
        type=seconds,
        default=15.0,
        metavar="TIME",
        help="how often the stops are tried that are kept for VMs which could not be reached (default 15s)",
    )


def listen(options: ListenOptions) -> Report:
    """Listen until SIGTERM or Ctrl-C.

    Raises:
        ConfigError: It is not configured, or Slack refuses the token.
        UsageError: Another one runs.
    """
    fleet, inventory = find_fleet(options.inventory)
    config = ListenerConfig.read(os.environ, fleet)
    _log(options.log_json)
    health = Health(health_file(os.environ))
    health.begin()
    try:
        with suppress(asyncio.CancelledError):
            asyncio.run(_serve(config, fleet, health, inventory, options.kept_every))
    except ExceptionGroup as group:  # what ended one of its works ends all of them
        known = group.subgroup(FleetError)
        raise group if known is None else _first(known) from group
    health.end()
    return Report(ExitCode.DONE)


def _first(group: BaseExceptionGroup[FleetError]) -> FleetError:
    found = group.exceptions[0]
    return _first(found) if isinstance(found, BaseExceptionGroup) else found


async def _serve(
    config: ListenerConfig, fleet: Fleet, health: Health, inventory: Path, kept_every_s: float
) -> None:
    outbox = Outbox(outbox_path(os.environ))
    token, url = str(config.audit.token), config.audit.api_url
    web = AsyncWebClient(token=token, base_url=url, timeout=10, retry_handlers=[])
    inbox = Inbox(state_folder(os.environ) / INBOX)
    commands = KeptCommands(state_folder(os.environ) / COMMANDS, inventory, spare=True)
    listener = Listener(config, fleet, inbox, outbox, web, health, commands)
    deliverer = Deliverer(
        outbox,
        WebApi(token, url),
        report=logging.getLogger("dx.fleet.deliverer").warning,
        audience=Audience(config.audit.mention, buttons=True),
    )
    async with asyncio.TaskGroup() as tasks:
        native = AgentStatus(web, outbox, config.channel)
        kept = _carry_out_kept_stops(inventory, kept_every_s)
        serving = (listener.serve(), deliverer.serve(), native.serve(), kept)
        work = [tasks.create_task(each) for each in serving]
        for name in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(name, lambda: [task.cancel() for task in work])


async def _carry_out_kept_stops(inventory: Path, every_s: float) -> None:
    """Do what is kept for VMs that could not be reached, as soon as they can be."""
    log = logging.getLogger("dx.fleet.listener")
    while True:
        await SYSTEM_CLOCK.sleep(max(every_s, LEAST_S))
        kept = KeptStops(os.environ).all()
        if not kept:
            continue
        try:
            await run_command(["dx-fleet", "stop", "--kept", "--json"], inventory=inventory)
        except OSError as error:  # no process or no memory now
            log.warning("the kept stops can't be tried now: %s", error.strerror)
        left = KeptStops(os.environ).all()
        for each in kept:
            if each not in left:
                log.info("the kept stop of %s is done", each.in_words(SYSTEM_CLOCK.time()))


def _log(as_json: bool) -> None:
    """All that this process logs, also by its libraries, goes the same way."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        _JsonLines() if as_json else _Lines("%(asctime)s %(levelname)s %(name)s: %(message)s")
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    for name in ("dx.fleet.listener", "dx.fleet.deliverer"):
        logging.getLogger(name).setLevel(logging.INFO)


class _Lines(logging.Formatter):
    """A line for people, without secrets: an error of a library may have one."""

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


class _JsonLines(logging.Formatter):
    """One JSON object per line, without secrets."""

    def format(self, record: logging.LogRecord) -> str:
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created))
        told = {
            "at": at,
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": redact(record.getMessage()),
        }
        if record.exc_info:
            told["error"] = redact(self.formatException(record.exc_info))
        return json.dumps(told)


COMMAND = Command(
    ListenOptions,
    listen,
    examples="examples:\n  SLACK_APP_TOKEN=… dx-fleet listen\n",
)
