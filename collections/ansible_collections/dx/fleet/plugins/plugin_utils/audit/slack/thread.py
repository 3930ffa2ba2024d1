# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One thread: its head is posted first, then its replies in their order."""

from __future__ import annotations

from ...domain.clock import Clock
from ...domain.event_kind import EventKind
from ..store.ledger import Ledger
from ..store.records import DeliveryState, Record, Thread
from .errors import Ambiguous, Held, Refused, RetryLater, SlackError, ThreadGone
from .head import Head, digest_of, is_told_by_head
from .lookup import Lookup
from .message import Audience, SlackMessage, reply
from .pace import Pace
from .port import Posted, Slack

__all__ = ["ThreadDelivery"]

_ULID_LENGTH = 26
MAX_ROOTS = 3  # under which the same record is tried


class ThreadDelivery:
    """Makes the next call for a thread.

    Args:
        ledger: What is delivered, and how far each record has got.
        slack: To where.
        head: The heads of threads.
        pace: How fast.
        clock: Wall clock.
        audience: Who reads it.
    """

    def __init__(
        self, ledger: Ledger, slack: Slack, head: Head, pace: Pace, clock: Clock, audience: Audience
    ) -> None:
        self._ledger = ledger
        self._slack = slack
        self._head = head
        self._pace = pace
        self._clock = clock
        self._audience = audience
        self._lookup = Lookup(ledger, slack, pace, clock)
        self._settled_at: dict[str, float] = {}

    def settled_at(self, thread: Thread) -> float:
        """When a message whose answer was lost can be seen by a look, if it is there."""
        return self._settled_at.get(thread.thread_key, 0.0)

    async def deliver(self, thread: Thread) -> str | None:
        """Make the thread's next call.

        Returns:
            Slack's code, where it takes a message in no form; what it tells is set aside then.

        Raises:
            SlackError: The call failed; it is to be made again.
        """
        if thread.ts is None:
            if thread.posting or self._may_exist(thread):
                await self._lookup.find_root(thread)
                return None
            return await self._post_root(thread)
        records = self.replies(thread)
        if unsure := [record for record in records if record.state is DeliveryState.SENDING]:
            await self._lookup.reconcile(thread, unsure)
            self._settled_at.pop(thread.thread_key, None)
            return None
        return await self._post_reply(thread, records) if records else None

    def is_unsure(self, thread: Thread) -> bool:
        """Whether a reply may be there of which nobody knows, so that the thread is read next."""
        records = self._ledger.thread_records(thread.thread_key, thread.channel)
        return any(record.state is DeliveryState.SENDING for record in records)

    def replies(self, thread: Thread) -> list[Record]:
        """What is to be posted in a thread. What its head will tell, no reply repeats."""
        records = self._ledger.thread_records(thread.thread_key, thread.channel)
        return [
            record
            for record in _open(records)
            if not thread.stale
            or record.state is DeliveryState.SENDING
            or not is_told_by_head(record, records)
        ]

    def _may_exist(self, thread: Thread) -> bool:
        """Whether another controller may have begun this thread: not where we have just drawn its name."""
        if thread.born_at is not None:  # it was looked for
            return False
        first = self._ledger.thread_records(thread.thread_key, thread.channel)[:1]
        is_new = bool(first) and first[0].event.kind in (EventKind.DISPATCHING, EventKind.REFUSED)
        return not (is_new and len(thread.thread_key) == _ULID_LENGTH and thread.thread_key.isalnum())

    async def _post_root(self, thread: Thread) -> str | None:
        records = self._ledger.thread_records(thread.thread_key, thread.channel)
        message = self._head.message(thread, records)
        now = self._clock.time()
        await self._ledger.keep_thread(thread, posting=1, born_at=thread.born_at or now)
        try:
            posted = await self._slack.post(thread.channel, message)
        except (Refused, ThreadGone) as error:
            return await self._root_refused(thread, error)
        except (RetryLater, Held):
            await self._ledger.keep_thread(thread, posting=0)
            raise
        except Ambiguous:
            self._unsettle(thread)
            raise
        finally:
            await self._posted(thread.channel)
        now = self._clock.time()
        await self._ledger.keep_thread(
            thread,
            ts=posted.ts,
            channel_id=posted.channel,
            posting=0,
            shown=digest_of(message),
            born_at=thread.born_at or now,
            posted_at=now,
            updated_at=now,
        )
        await self._head.mark_told(records, posted.ts)
        # Nothing is left to show, so that nobody waits for a later update which would change nothing.
        await self._ledger.shown(thread, digest_of(message), records[-1].seq if records else 0, now)
        return None

    async def _root_refused(self, thread: Thread, error: SlackError) -> str | None:
        if thread.fallback_level < self._pace.max_fallback_level:
            await self._ledger.keep_thread(thread, posting=0, fallback_level=thread.fallback_level + 1)
            return None
        await self._ledger.keep_thread(thread, posting=0, stale=0, fallback_level=0)
        records = self._ledger.thread_records(thread.thread_key, thread.channel)
        return await self._set_aside(_open(records), error)

    async def _post_reply(self, thread: Thread, records: list[Record]) -> str | None:
        fallback_level = records[0].fallback_level
        batch = records[:1] if fallback_level else _same_form(records)
        message, count = reply(thread.thread_key, batch, fallback_level, self._audience)
        sent = batch[:count]
        await self._ledger.mark(sent, DeliveryState.SENDING)
        try:
            posted = await self._post_into(thread, message)
        except Refused as error:
            return await self._reply_refused(sent, error)
        except ThreadGone as error:
            if sent[0].attempts + 1 >= MAX_ROOTS:
                return await self._set_aside(sent, error)
            await self._ledger.mark(sent, DeliveryState.PENDING, trouble=error.code)
            await self._ledger.begin_anew(thread, self._clock.time())
        except (RetryLater, Held) as error:
            await self._ledger.mark(sent, DeliveryState.PENDING, trouble=error.code)
            raise
        except Ambiguous:
            self._unsettle(thread)
            raise
        else:
            await self._ledger.mark(sent, DeliveryState.DELIVERED, ts=posted.ts)
            await self._ledger.keep_thread(thread, posted_at=self._clock.time())
        finally:
            await self._posted(thread.channel)
        return None

    async def _post_into(self, thread: Thread, message: SlackMessage) -> Posted:
        posted = await self._slack.post(thread.channel_id or thread.channel, message, thread.ts)
        if posted.detached:
            if await self._lookup.take_away(thread, posted.ts):
                raise ThreadGone("head_deleted")
            await self._ledger.begin_anew(thread, self._clock.time())  # it stays where it is
        return posted

    async def _reply_refused(self, sent: list[Record], error: Refused) -> str | None:
        """One by one, plainer each time, and at last aside: it must hold up nothing else."""
        if sent[0].fallback_level < self._pace.max_fallback_level:
            await self._ledger.mark(sent, DeliveryState.PENDING, trouble=error.code, plainer=True)
            return None
        return await self._set_aside(sent, error)

    async def _set_aside(self, records: list[Record], error: SlackError) -> str:
        await self._ledger.mark(records, DeliveryState.PARKED, trouble=error.code)
        return error.code

    def _unsettle(self, thread: Thread) -> None:
        self._settled_at[thread.thread_key] = self._clock.time() + self._pace.settle_s

    async def _posted(self, channel: str) -> None:
        await self._ledger.keep_channel(channel, next_post_at=self._clock.time() + self._pace.post_s)


def _open(records: list[Record]) -> list[Record]:
    """Those that are not delivered yet, and not set aside."""
    return [record for record in records if record.state in (DeliveryState.PENDING, DeliveryState.SENDING)]


def _same_form(records: list[Record]) -> list[Record]:
    """The first ones, up to one that must be posted plainly."""
    for number, record in enumerate(records):
        if record.fallback_level:
            return records[:number]
    return records
