# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Delivery beside the flow, in one thread. Only :meth:`Background.flush` waits for it, and not long."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

from ...config.slack import AuditConfig
from ...domain.errors import AuditError
from ...text.redact import redact
from ..store.lease import Lease
from ..store.outbox import Outbox
from .delivery import Delivery, Pace
from .port import Slack
from .running import running
from .sdk import forked, import_sdk
from .web_api import CALL_DEADLINE_S, WebApi

__all__ = ["FLUSH_S", "Background", "deliver_now"]

FLUSH_S = 5.0
POLL_S = 0.05  # what a worker records reaches Slack that soon; one look takes some 0.2 ms
AFTER_A_FAULT_S = 5.0
STANDSTILL_S = 2.5
PATIENCE_S = 1.0
"""How long a flush waits for one answer of a Slack that has answered this process before."""
FIRST_PATIENCE_S = 0.3
"""And of one that has not. Both count from the call: a dispatch is to lose nothing to a Slack that hangs."""


class Background:
    """Delivers an outbox in a daemon thread, for as long as this process runs and holds the lease.

    Args:
        config: Token and address.
        outbox: From where.
        say: Called with one line about what somebody must mend; from the thread.
        slack: To where, if not as the configuration says.
        pace: How fast.
    """

    def __init__(
        self,
        config: AuditConfig,
        outbox: Outbox,
        say: Callable[[str], None],
        *,
        slack: Slack | None = None,
        pace: Pace | None = None,
    ) -> None:
        self._config = config
        self._outbox = outbox
        self._say = say
        self._slack = slack
        self._pace = pace
        self._lease = Lease(outbox.path.with_name("deliver.lock"))
        self._pid = os.getpid()
        self._thread: threading.Thread | None = None
        self._changed = threading.Condition()
        self._delivery: Delivery | None = None
        self._turning_since: float | None = None
        self._closing = 0
        self._stopping = False
        self._failing = False
        self._answered = False
        self._said: set[str] = set()

    def start(self) -> None:
        """Start the thread, once."""
        if self._thread is not None:
            return
        self._thread = threading.Thread(target=self._run, name="slack_audit", daemon=True)
        running.append(self)
        self._thread.start()

    def wake(self) -> None:
        """There may be something to deliver; without it, that is noticed within :data:`POLL_S`."""
        with self._changed:
            self._changed.notify_all()

    def flush(self, timeout_s: float = FLUSH_S) -> bool:
        """Wait till all that is recorded now is delivered; not longer than Slack goes on answering.

        Returns:
            True where it is delivered. What is not stays in the outbox.
        """
        if self._thread is None or self._pid != os.getpid() or not self._thread.is_alive():
            return False
        try:
            last = self._outbox.last_seq()
        except AuditError:
            return False
        with self._changed:
            self._closing += 1
            self._changed.notify_all()
        try:
            return self._wait_until(last, time.monotonic() + timeout_s)
        finally:
            with self._changed:
                self._closing -= 1

    def stop(self, timeout_s: float = 5.0) -> None:
        """End the thread and give the lease back."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(timeout_s)
        running.remove(self)

    def _wait_until(self, last: int, give_up: float) -> bool:
        left, moved_at = -1, time.monotonic()
        while True:
            try:
                now_left = self._outbox.open_until(last) + self._outbox.unshown_until(last)
            except AuditError:
                return False
            if not now_left:
                return True
            now = time.monotonic()
            if now_left != left:
                left, moved_at = now_left, now
            with self._changed:
                since = self._turning_since
                patience = PATIENCE_S if self._answered else FIRST_PATIENCE_S
                hangs = since is not None and now - since > patience
                stands = now - moved_at > STANDSTILL_S  # as where another process delivers, and hangs
                if hangs or stands or self._failing or now >= give_up or not self._is_alive():
                    return False
                self._changed.wait(0.05)

    def _is_alive(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def _run(self) -> None:
        try:
            while not self._stopping:
                pause = self._cycle()
                with self._changed:
                    self._changed.notify_all()
                    if pause > 0 and not self._stopping:
                        self._changed.wait(pause)
        finally:
            self._lease.give_back()

    def _cycle(self) -> float:
        """Do one thing; returns for how long there is nothing to do."""
        try:
            if self._delivery is None:
                self._import_sdk()
                if not self._outbox.ledger.channels():
                    return POLL_S
            if not self._lease.take():
                return POLL_S
            if self._delivery is None:
                self._delivery = self._begin()
            wait = self._turn(self._delivery)
        except AuditError as error:
            self._once(error.reason_code, f"{error.message}. Next: {error.next_action}")
        except Exception as error:  # an edge that must not die: the next cycle may work
            self._once(type(error).__name__, redact(f"{type(error).__name__}: {error}")[:300])
        else:
            return POLL_S if wait is None else min(wait, POLL_S)
        return AFTER_A_FAULT_S

    def _import_sdk(self) -> None:
        """Before there is something to tell, so that it is told at once; not before the first task runs."""
        if self._slack is None:
            while not forked.wait(POLL_S) and not self._closing and not self._stopping:
                pass
            import_sdk()

    def _begin(self) -> Delivery:
        if self._slack is None:
            assert self._config.token is not None
            self._slack = WebApi(self._config.token, self._config.api_url)
        self._outbox.ledger.unpark()
        return Delivery(self._outbox, self._slack, say=self._say, pace=self._pace)

    def _turn(self, delivery: Delivery) -> float | None:
        self._turning_since = time.monotonic()
        try:
            wait = delivery.turn(closing=self._closing > 0)
            self._answered |= wait == 0 and not delivery.failing
            return wait
        finally:
            self._turning_since = None
            self._failing = delivery.failing

    def _once(self, reason: str, words: str) -> None:
        if reason not in self._said:
            self._said.add(reason)
            self._say(f"not told in Slack: {words}")


def deliver_now(
    config: AuditConfig,
    outbox: Outbox,
    say: Callable[[str], None],
    *,
    timeout_s: float,
    pace: Pace | None = None,
    deadline_s: float = CALL_DEADLINE_S,
) -> bool:
    """Deliver all that is in an outbox, here and now; gives up after a time, or where somebody must mend
    something first.

    Returns:
        True where nothing is left. Another process that delivers is waited for.

    Raises:
        AuditError: The outbox can't be used.
    """
    assert config.token is not None
    outbox.ledger.unpark()
    api = WebApi(config.token, config.api_url, deadline_s=deadline_s)
    delivery = Delivery(outbox, api, say=say, pace=pace)
    lease = Lease(outbox.path.with_name("deliver.lock"))
    give_up = time.monotonic() + timeout_s
    try:
        while True:
            elsewhere = not lease.take()
            wait = POLL_S if elsewhere else delivery.turn(closing=True)
            counts = outbox.counts()
            if wait is None or (not counts.pending and (elsewhere or counts.held)):
                return not counts.pending and not counts.held
            if time.monotonic() + wait > give_up:
                return False
            time.sleep(wait)
    finally:
        lease.give_back()
