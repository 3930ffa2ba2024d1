# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The head of a thread: one message that always shows how the dispatch stands."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable

from ...domain.clock import Clock
from ..facts.status import status_of
from ..store.ledger import Ledger
from ..store.records import Record, Thread
from .errors import Refused, ThreadGone
from .message import SlackMessage, root
from .pace import Pace
from .port import Slack

__all__ = ["Head", "digest_of"]


class Head:
    """Makes and updates the heads of threads.

    Args:
        ledger: What is delivered.
        slack: To where.
        pace: How fast.
        clock: Wall clock.
    """

    def __init__(self, ledger: Ledger, slack: Slack, pace: Pace, clock: Clock) -> None:
        self._ledger = ledger
        self._slack = slack
        self._pace = pace
        self._clock = clock

    def message(self, thread: Thread, records: Iterable[Record]) -> SlackMessage:
        """The head as the records say it is."""
        status = status_of(record.event for record in records)
        return root(thread.thread_key, status, thread.fallback_level, headline=thread.headline)

    def wait(self, thread: Thread) -> float:
        """How long until it may be shown anew: an end is shown at once."""
        records = self._ledger.thread_records(thread.thread_key, thread.channel)
        if status_of(record.event for record in records).final:
            return 0.0
        return (thread.updated_at or 0.0) + self._pace.same_root_s - self._clock.time()

    async def show(self, thread: Thread) -> None:
        """Show what is recorded by now.

        Raises:
            SlackError: The call failed; the head is to be shown again.
        """
        assert thread.ts is not None
        records = self._ledger.thread_records(thread.thread_key, thread.channel)
        message = self.message(thread, records)
        digest, last = digest_of(message), records[-1].seq if records else 0
        if digest == thread.shown:
            await self._ledger.shown(thread, digest, last, thread.updated_at)
            return
        try:
            await self._slack.update(thread.channel_id or thread.channel, thread.ts, message)
        except Refused:
            plainer = min(thread.fallback_level + 1, self._pace.max_fallback_level)
            await self._ledger.keep_thread(
                thread, stale=int(plainer > thread.fallback_level), fallback_level=plainer
            )
        except ThreadGone:  # the trail goes on, and tells the end as well
            await self._ledger.keep_thread(thread, stale=0)
        else:
            await self._ledger.shown(thread, digest, last, self._clock.time())


def digest_of(message: SlackMessage) -> str:
    """Tells whether a message is another one than that which is shown."""
    said = json.dumps([message.text, message.blocks], sort_keys=True, default=str)
    return hashlib.sha256(said.encode("utf-8", "surrogatepass")).hexdigest()[:20]
