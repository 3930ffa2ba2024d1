# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From the outbox to Slack: every record at least once, in order, and twice only where Slack hides the first.

One call at a time, by the one process that holds the delivery lock. Before a message is sent, it is written
down that it may be there; where nobody knows whether it is, the thread is read before it is sent again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial

from ...domain.clock import SYSTEM_CLOCK, Clock
from ...domain.event_kind import EventKind
from ..facts.event import AuditEvent
from ..facts.status import status_of
from ..store.outbox import Outbox
from ..store.records import Channel, Record, Thread
from .errors import Ambiguous, Held, RetryLater
from .head import Head
from .mending import mending
from .message import Audience
from .pace import Backoff, Pace
from .port import Slack
from .thread import ThreadDelivery

__all__ = ["Delivery"]

_URGENT = frozenset((EventKind.NEEDS_INPUT,))


@dataclass
class _State:
    """What this process remembers of a channel."""

    backoff: Backoff = field(default_factory=Backoff)
    next_update_at: float = 0.0


class Delivery:
    """Delivers what is in an outbox.

    Args:
        outbox: From where.
        slack: To where.
        report: Called with one line about what somebody must mend, once for each.
        pace: How fast.
        clock: Wall clock.
        audience: Who reads it.
    """

    def __init__(
        self,
        outbox: Outbox,
        slack: Slack,
        *,
        report: Callable[[str], None],
        pace: Pace | None = None,
        clock: Clock = SYSTEM_CLOCK,
        audience: Audience | None = None,
    ) -> None:
        audience = audience or Audience()
        self._outbox = outbox
        self._ledger = outbox.ledger
        self._report = report
        self._pace = pace or Pace()
        self._clock = clock
        self._head = Head(self._ledger, slack, self._pace, clock, audience)
        self._thread = ThreadDelivery(self._ledger, slack, self._head, self._pace, clock, audience)
        self._states: dict[str, _State] = {}
        self._reported: set[tuple[str, str]] = set()
        self.failing = False
        """Whether the last call failed."""

    async def turn(self, *, closing: bool = False) -> float | None:
        """Make at most one call.

        Args:
            closing: Nothing more is coming: deliver what there is without waiting for more to go with it.

        Returns:
            Seconds until there may be something to do; None where there is nothing.

        Raises:
            AuditError: The outbox can't be used.
        """
        self._outbox.take_in()
        waits: list[float] = []
        for channel in self._ledger.channels():
            wait = await self._channel_turn(channel, closing)
            if wait == 0:
                return 0.0
            if wait is not None:
                waits.append(wait)
        return min(waits, default=None)

    def only_held(self) -> bool:
        """Whether all that there is waits for somebody to mend something."""
        channels = self._ledger.channels()
        return bool(channels) and all(self._state(channel.name).backoff.held for channel in channels)

    def _state(self, channel: str) -> _State:
        return self._states.setdefault(channel, _State())

    # --- one channel ---

    async def _channel_turn(self, channel: Channel, closing: bool) -> float | None:
        state = self._state(channel.name)
        now = self._clock.time()
        # A clock that was put back must not silence a channel.
        quiet = min(max(channel.quiet_until - now, 0), 3600)
        if (wait := max(state.backoff.until - now, quiet)) > 0:
            return wait
        post_wait = min(max(channel.next_post_at - now, 0), 60)
        waits: list[float] = []
        for thread in self._ledger.waiting(channel.name):
            due = self._due(thread, now, post_wait, closing)
            if due is None:
                continue  # the head tells it
            if due <= 0:
                await self._attempt(channel, state, partial(self._post, thread))
                return 0
            waits.append(due)
        for thread in self._ledger.stale(channel.name):
            if thread.ts is None or self._thread.is_unsure(thread):
                continue  # the root will show it; or the thread is read first
            due = max(0.0 if closing else self._head.wait(thread), state.next_update_at - now)
            if due <= 0:
                state.next_update_at = now + self._pace.update_s
                await self._attempt(channel, state, partial(self._head.show, thread))
                return 0
            waits.append(due)
        return min(waits, default=None)

    async def _post(self, thread: Thread) -> None:
        refused = await self._thread.deliver(thread)
        if refused is not None:
            self._alarm(thread.channel, refused)

    def _due(self, thread: Thread, now: float, post_wait: float, closing: bool) -> float | None:
        """How long until this thread's next call; None where nothing is to be posted in it."""
        if thread.ts is None and not thread.posting:
            return post_wait
        records = self._thread.replies(thread)
        if thread.ts is not None and not records:
            return None
        if thread.ts is None or self._thread.is_unsure(thread):
            return max(0.0, self._thread.settled_at(thread) - now)
        if closing or thread.born_at is None or thread.posted_at is None:
            return post_wait
        return max(post_wait, thread.posted_at + self._digest_gap(thread, records) - now)

    def _digest_gap(self, thread: Thread, records: list[Record]) -> float:
        """How long after the last reply the next one may come, in a thread that many VMs share."""
        events = [record.event for record in self._ledger.thread_records(thread.thread_key, thread.channel)]
        if len({event.subject.vm for event in events}) < self._pace.digest_from or _is_over(events):
            return 0.0
        if thread.born_at is None:
            raise AssertionError
        if thread.posted_at is None:
            raise AssertionError
        gap = max(self._pace.post_s, self._pace.digest_growth * (thread.posted_at - thread.born_at))
        if any(record.event.kind in _URGENT for record in records):
            return min(gap, self._pace.digest_urgent_s)
        return gap

    async def _attempt(self, channel: Channel, state: _State, call: Callable[[], Awaitable[None]]) -> None:
        """Make a call, and draw the conclusions for the channel from how it fails."""
        now = self._clock.time
        if channel.unanswered_since is None:
            await self._ledger.keep_channel(channel.name, unanswered_since=now())
        self.failing = True
        try:
            await call()
        except RetryLater as error:
            if error.after_s is not None:
                await self._ledger.keep_channel(channel.name, quiet_until=now() + error.after_s)
            else:
                state.backoff.again(now(), self._pace.first_retry_s, self._pace.last_retry_s, held=False)
        except Held as error:
            state.backoff.again(now(), self._pace.first_hold_s, self._pace.last_hold_s, held=True)
            await self._ledger.keep_channel(channel.name, trouble=error.code)
            self._alarm(channel.name, error.code)
        except Ambiguous:
            state.backoff.again(now(), self._pace.first_retry_s, self._pace.last_retry_s, held=False)
        else:
            self.failing = False
            state.backoff = Backoff()
            await self._ledger.keep_channel(channel.name, trouble=None, unanswered_since=None, warned=None)

    def _alarm(self, channel: str, code: str) -> None:
        if (channel, code) not in self._reported:
            self._reported.add((channel, code))
            self._report(mending(channel, code))


def _is_over(events: list[AuditEvent]) -> bool:
    """Whether no more is coming in a thread, so that nothing is gained by waiting for it."""
    return status_of(events).final or events[-1].kind is EventKind.PLAY_ENDED
