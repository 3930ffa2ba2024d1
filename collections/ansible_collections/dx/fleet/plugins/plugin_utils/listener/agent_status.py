# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The state that Slack itself shows in the thread of an agent at work, with a Stop of its own beside it.

Only an app that is declared an agent may set it; elsewhere there are our own buttons. Slack does not change a
state by itself, but that it forgets ``processing`` after an hour.
"""

from __future__ import annotations

import logging
from typing import Literal

from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

from ..audit.facts.status import Status, status_of
from ..audit.store.outbox import Outbox
from ..domain.clock import SYSTEM_CLOCK, Clock
from ..domain.errors import AuditError
from ..domain.event_kind import EventKind
from .slack_faults import SLACK_FAULTS, is_slacks_word, reason_of

__all__ = ["AgentStatus"]

LOOK_EVERY_S = 0.5
AFTER_A_FAULT_S = 15.0
AGAIN_S = 1800.0
"""After how long a state is set again, before Slack forgets it."""
THREADS = 20
RECENT_S = 3600.0
"""A thread whose work ended longer ago is not touched: Slack has forgotten its state."""
TRANSIENT = ("ratelimited", "internal_error", "fatal_error", "service_unavailable", "request_timeout")

log = logging.getLogger("dx.fleet.listener")

Shown = Literal["processing", "suspended", "closed"]


class AgentStatus:
    """Sets the state of the threads of one channel.

    Args:
        web: The bot's client.
        outbox: What is known of the dispatches, by their threads.
        channel: The channel's id.
        clock: The time.
    """

    def __init__(
        self, web: AsyncWebClient, outbox: Outbox, channel: str, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        self._web = web
        self._outbox = outbox
        self._channel = channel
        self._clock = clock
        self._set: dict[str, tuple[Shown, float]] = {}

    async def serve(self) -> None:
        """Set states until this is cancelled; returns where Slack does not have them for this app."""
        while True:
            pause_s = LOOK_EVERY_S
            try:
                await self._set_all()
            except SlackApiError as error:
                reason = reason_of(error)
                if is_slacks_word(reason) and reason not in TRANSIENT:
                    log.info(
                        "Slack shows no Stop of its own for this app (%s): the heads have buttons", reason
                    )
                    return
                pause_s = AFTER_A_FAULT_S
            except (AuditError, *SLACK_FAULTS) as error:
                log.warning("the state of a thread was not set: %s", reason_of(error))
                pause_s = AFTER_A_FAULT_S
            await self._clock.sleep(pause_s)

    async def _set_all(self) -> None:
        for root in self._outbox.ledger.thread_roots(self._channel, THREADS):
            wanted = self._wanted(root)
            if wanted is None:
                continue
            await self._web.api_call(
                "agents.sessions.setStatus",
                json={"channel_id": self._channel, "thread_ts": root, "status": wanted},
            )
            self._set[root] = (wanted, self._clock.monotonic())

    def _wanted(self, root: str) -> Shown | None:
        """The state to set; None where it is set."""
        key = self._outbox.ledger.thread_key_at(self._channel, root)
        status = status_of(record.event for record in self._outbox.ledger.thread_records(key or ""))
        if not status.vms:
            return None
        wanted, before = _shown(status), self._set.get(root)
        if before is None:
            ended_at = max(vm.changed for vm in status.vms).timestamp()
            return None if status.final and self._clock.time() - ended_at > RECENT_S else wanted
        again = not status.final and self._clock.monotonic() - before[1] > AGAIN_S
        return wanted if again or before[0] != wanted else None


def _shown(status: Status) -> Shown:
    if status.final:
        return "closed"
    waits = any(vm.kind is EventKind.NEEDS_INPUT for vm in status.vms)
    return "suspended" if waits else "processing"
