# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The deliverer: takes the outbox to Slack, one process of this machine at a time.

As a program (``python -m`` this module) it is started by whoever records something, with the delivery lock
handed over as a descriptor, and ends when there has been nothing to do for some seconds. A service with an
event loop of its own runs :meth:`Deliverer.serve` in it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from ...config.slack import AuditConfig
from ...domain.clock import SYSTEM_CLOCK, Clock
from ...domain.errors import AuditError
from ...text.redact import redact
from ..store.lease import Lease
from ..store.outbox import Outbox, outbox_path
from .delivery import Delivery
from .message import Audience
from .pace import Pace
from .port import Slack

__all__ = ["Deliverer", "deliver_now", "main"]

POLL_S = 0.05  # what is recorded reaches Slack that soon; one look takes some 0.2 ms
WAITING_POLL_S = 0.25
AFTER_A_FAULT_S = 5.0
IDLE_S = 5.0
GIVE_UP_S = 900.0
"""How long a program tries while no call succeeds. All is kept; the next record starts another."""
MAX_LOG_BYTES = 256 * 1024

log = logging.getLogger("dx.fleet.deliverer")


class Deliverer:
    """Delivers an outbox in the running event loop, while it holds the delivery lock.

    Args:
        outbox: From where.
        slack: To where.
        report: Called with one line about what somebody must mend.
        lease: The delivery lock, where it is held already.
        audience: Who reads it.
        pace: How fast.
        clock: The time.
    """

    def __init__(
        self,
        outbox: Outbox,
        slack: Slack,
        *,
        report: Callable[[str], None],
        lease: Lease | None = None,
        audience: Audience | None = None,
        pace: Pace | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._outbox = outbox
        self._report = report
        self._lease = lease or Lease(outbox.path)
        self._delivery = Delivery(outbox, slack, report=report, pace=pace, clock=clock, audience=audience)
        self._clock = clock
        self._begun = False
        self._reported: set[str] = set()

    async def serve(self) -> None:
        """Deliver for good: until it is cancelled. Waits for another process that delivers."""
        try:
            while True:
                if self._lease.is_wanted():
                    self._lease.give_back()
                    await self._clock.sleep(WAITING_POLL_S)
                    continue
                pause = _pause(await self._turn()) if self._lease.take() else WAITING_POLL_S
                await self._clock.sleep(pause)
        finally:
            self._lease.give_back()

    async def until_idle(self, idle_s: float = IDLE_S, give_up_s: float = GIVE_UP_S) -> None:
        """Deliver until there has been nothing to do for so long, or nothing that could be done.

        Args:
            idle_s: How long nothing is recorded.
            give_up_s: How long no call succeeds.
        """
        try:
            while self._lease.take():
                await self._until_idle(idle_s, give_up_s)
                # Whoever recorded something just now has seen that the lock was taken, and started nobody.
                self._lease.give_back()
                if self._is_useless() or not self._outbox.ledger.channels():
                    return
        finally:
            self._lease.give_back()

    async def _until_idle(self, idle_s: float, give_up_s: float) -> None:
        busy_at = worked_at = self._clock.monotonic()
        while True:
            wait = await self._turn()
            now = self._clock.monotonic()
            if wait is not None and not self._delivery.only_held():
                busy_at = now
            if not self._delivery.failing:
                worked_at = now
            if now - busy_at >= idle_s or now - worked_at >= give_up_s:
                return
            if self._lease.is_wanted() or (self._delivery.failing and self._delivery.only_held()):
                return
            await self._clock.sleep(_pause(wait))

    def _is_useless(self) -> bool:
        """Whether another process should go on, or none, as a call would fail again."""
        return self._delivery.failing or self._delivery.only_held() or self._lease.is_wanted()

    async def until_delivered(self, timeout_s: float) -> bool:
        """Deliver all that there is now; see :func:`deliver_now`. Another process that delivers gives way."""
        give_up = self._clock.monotonic() + timeout_s
        try:
            await self._begin()
            while True:
                if elsewhere := not self._lease.take():
                    self._lease.ask_for()
                wait = POLL_S if elsewhere else await self._delivery.turn(closing=True)
                counts = self._outbox.counts()
                if wait is None or (not counts.pending and (elsewhere or self._delivery.only_held())):
                    return not counts.pending and not counts.held
                if self._clock.monotonic() + wait > give_up:
                    return False
                await self._clock.sleep(wait)
        finally:
            self._lease.give_back()

    async def _turn(self) -> float | None:
        """Do one thing, whatever comes of it; returns for how long there is nothing to do."""
        try:
            await self._begin()
            return await self._delivery.turn()
        except AuditError as error:
            self._once(error.reason_code, f"{error.message}. Next: {error.next_action}")
        except Exception as error:  # an edge that must not die: the next turn may work
            self._once(type(error).__name__, redact(f"{type(error).__name__}: {error}")[:300])
        self._delivery.failing = True
        return AFTER_A_FAULT_S

    async def _begin(self) -> None:
        """What Slack did not take from an earlier process is tried again, once."""
        if not self._begun:
            await self._outbox.ledger.unpark()
            self._begun = True

    def _once(self, reason: str, words: str) -> None:
        if reason not in self._reported:
            self._reported.add(reason)
            self._report(words)


def _pause(wait: float | None) -> float:
    return POLL_S if wait is None else min(wait, WAITING_POLL_S)


def deliver_now(
    config: AuditConfig,
    outbox: Outbox,
    report: Callable[[str], None],
    *,
    timeout_s: float,
    pace: Pace | None = None,
    deadline_s: float | None = None,
) -> bool:
    """Deliver all that is in an outbox, here and now; gives up after a time, or where somebody must mend
    something first.

    Returns:
        True where nothing is left.

    Raises:
        AuditError: The outbox can't be used.
    """
    from .web_api import CALL_DEADLINE_S, WebApi

    if config.token is None:
        raise AssertionError
    slack = WebApi(config.token, config.api_url, deadline_s=deadline_s or CALL_DEADLINE_S)
    deliverer = Deliverer(outbox, slack, report=report, audience=_audience(config), pace=pace)
    return asyncio.run(deliverer.until_delivered(timeout_s))


def main(argv: Sequence[str], environ: Mapping[str, str] = os.environ) -> int:
    """Deliver this user's outbox until there is nothing to do.

    Args:
        argv: The descriptor of the delivery lock, where it was handed over.
        environ: What says where the outbox is, and how Slack is reached.
    """
    _log_to_stderr()
    outbox = Outbox(outbox_path(environ))
    lease = Lease(outbox.path, int(argv[0]) if argv else None)
    if not lease.take():
        return 0
    config = AuditConfig.for_delivery(environ)
    if not config.on:
        log.error("not started: %s", config.why_off)
        return 2
    log.info("started: process %d", os.getpid())
    try:
        asyncio.run(_deliver(config, outbox, lease))
    except Exception as error:  # nobody sees how this process ends, but for the log
        log.error("ended: %s", redact(f"{type(error).__name__}: {error}"))
        return 1
    return 0


async def _deliver(config: AuditConfig, outbox: Outbox, lease: Lease) -> None:
    from .web_api import WebApi

    if config.token is None:
        raise AssertionError
    deliverer = Deliverer(
        outbox,
        WebApi(config.token, config.api_url),
        report=log.warning,
        lease=lease,
        audience=_audience(config),
    )
    work = asyncio.ensure_future(deliverer.until_idle())
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, work.cancel)
    with suppress(asyncio.CancelledError):
        await work


def _audience(config: AuditConfig) -> Audience:
    return Audience(config.mention, config.buttons)


def _log_to_stderr() -> None:
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
    with suppress(OSError):  # a terminal
        if os.fstat(2).st_size > MAX_LOG_BYTES:
            os.ftruncate(2, 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
