# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The head of a thread: one message that always shows how the dispatch stands."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace

from ...domain.clock import Clock
from ...domain.event_kind import EventKind
from ..facts.status import status_of
from ..store.ledger import Ledger
from ..store.records import DeliveryState, Record, Thread
from .errors import Refused, ThreadGone
from .head_message import head
from .message import Audience, SlackMessage
from .pace import Pace
from .port import Slack

__all__ = ["Head", "digest_of", "is_told_by_head"]

DELETED = ("message_not_found", "thread_not_found")


class Head:
    """Makes and updates the heads of threads.

    Args:
        ledger: What is delivered.
        slack: To where.
        pace: How fast.
        clock: Wall clock.
        audience: Who reads it.
    """

    def __init__(self, ledger: Ledger, slack: Slack, pace: Pace, clock: Clock, audience: Audience) -> None:
        self._ledger = ledger
        self._slack = slack
        self._pace = pace
        self._clock = clock
        self._audience = audience

    def message(self, thread: Thread, records: Sequence[Record]) -> SlackMessage:
        """The head as the records say it is. A new one calls nobody: the reply with the question does."""
        return head(
            thread.thread_key,
            status_of(record.event for record in records),
            [record for record in records if is_told_by_head(record, records)],
            headline=thread.headline,
            steps=self._ledger.steps(thread),
            audience=replace(self._audience, mention=()) if thread.ts is None else self._audience,
            fallback_level=thread.fallback_level,
        )

    def wait(self, thread: Thread) -> float:
        """How long until it may be shown anew: an end at once, a step that is no fact not so soon."""
        records = self._ledger.thread_records(thread.thread_key, thread.channel)
        if status_of(record.event for record in records).final:
            return 0.0
        shown_at = thread.updated_at or 0.0
        is_new = bool(records) and records[-1].event.at.timestamp() >= shown_at
        gap = self._pace.same_root_s if is_new else self._pace.step_s
        return shown_at + gap - self._clock.time()

    async def show(self, thread: Thread) -> None:
        """Show what is recorded by now.

        Raises:
            SlackError: The call failed; the head is to be shown again.
        """
        if thread.ts is None:
            raise AssertionError
        records = self._ledger.thread_records(thread.thread_key, thread.channel)
        message = self.message(thread, records)
        digest, last = digest_of(message), records[-1].seq if records else 0
        if digest == thread.shown:
            await self._ledger.shown(thread, digest, last, thread.updated_at)
            await self.mark_told(records, thread.ts)
            return
        try:
            await self._slack.update(thread.channel_id or thread.channel, thread.ts, message)
        except Refused:
            plainer = min(thread.fallback_level + 1, self._pace.max_fallback_level)
            await self._ledger.keep_thread(
                thread, stale=int(plainer > thread.fallback_level), fallback_level=plainer
            )
        except ThreadGone as error:
            if error.code in DELETED:  # what comes next is posted under another head
                await self._ledger.begin_anew(thread, self._clock.time())
            else:  # the trail goes on, and tells the end as well
                await self._ledger.keep_thread(thread, stale=0)
        else:
            await self._ledger.shown(thread, digest, last, self._clock.time())
            await self.mark_told(records, thread.ts)

    async def mark_told(self, records: Sequence[Record], ts: str) -> None:
        """What the head tells is delivered with it."""
        told = [
            record
            for record in records
            if is_told_by_head(record, records) and record.state is not DeliveryState.DELIVERED
        ]
        await self._ledger.mark(told, DeliveryState.DELIVERED, ts=ts)


def is_told_by_head(record: Record, records: Sequence[Record]) -> bool:
    """Whether the head tells it, so that no reply repeats it: what is dispatched, and an end before that."""
    kind = record.event.kind
    return kind is EventKind.DISPATCHING or (kind.is_end and record.seq == records[0].seq)


def digest_of(message: SlackMessage) -> str:
    """Tells whether a message is another one than that which is shown."""
    said = json.dumps([message.text, message.blocks], sort_keys=True, default=str)
    return hashlib.sha256(said.encode("utf-8", "surrogatepass")).hexdigest()[:20]
