# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading back from Slack what may be there: a message is sent again only where it is not found."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

from ...domain.clock import Clock
from ...domain.event_kind import EventKind
from ..store.ledger import Ledger
from ..store.records import DeliveryState, Record, Thread
from .errors import Held, SlackError, ThreadGone
from .pace import Pace
from .port import Found, Page, Slack

__all__ = ["Lookup"]


class Lookup:
    """Looks for heads and replies that this or another controller may have posted.

    Args:
        ledger: Where what is found is written down.
        slack: Where to look.
        pace: How many pages.
        clock: Wall clock.
    """

    def __init__(self, ledger: Ledger, slack: Slack, pace: Pace, clock: Clock) -> None:
        self._ledger = ledger
        self._slack = slack
        self._pace = pace
        self._clock = clock

    async def find_root(self, thread: Thread) -> None:
        """Find the head of a thread that may exist; what is posted there already is not posted again."""

        def is_it(one: Found) -> bool:
            return one.is_root and one.thread_key == thread.thread_key

        channel = thread.channel_id or thread.channel
        try:
            found = await self._search(lambda cursor: self._slack.history(channel, cursor), enough=is_it)
        except Held as error:
            # A token that may not read, or a channel given by its name: a second root is the price.
            if error.code not in ("missing_scope", "channel_not_found"):
                raise
            found = []
        roots = [one for one in found if is_it(one)]
        if not roots:
            await self._ledger.keep_thread(thread, posting=0, born_at=self._clock.time())
            return
        kept = await self._ledger.keep_thread(
            thread,
            ts=min(roots, key=lambda one: float(one.ts)).ts,
            channel_id=channel,
            posting=0,
            stale=1,
            born_at=self._clock.time(),
        )
        await self._note_delivered(kept, await self._messages(kept))

    async def reconcile(self, thread: Thread, unsure: list[Record]) -> None:
        """Find out which of these are in Slack; the others are to be sent."""
        try:
            found = await self._messages(thread)
        except Held as error:
            if error.code != "missing_scope":
                raise
            found = []
        except ThreadGone:
            await self._ledger.begin_anew(thread, self._clock.time())
            found = await self._left_without_head(thread)
        there = await self._note_delivered(thread, found)
        missing = [record for record in unsure if record.id not in there]
        await self._ledger.mark(missing, DeliveryState.PENDING)

    async def take_away(self, thread: Thread, ts: str) -> bool:
        """Delete a reply that Slack posted outside of its thread, as the head was deleted. False where it
        can't be: it stands in the channel then."""
        try:
            await self._slack.delete(thread.channel_id or thread.channel, ts)
        except SlackError:
            return False
        return True

    async def _left_without_head(self, thread: Thread) -> list[Found]:
        """Replies that were posted outside of the thread and can't be taken away."""
        channel = thread.channel_id or thread.channel
        try:
            found = await self._search(lambda cursor: self._slack.history(channel, cursor))
        except Held:  # a token that may not read
            return []
        outside = [one for one in found if one.thread_key == thread.thread_key and one.records]
        return [
            one
            for one in outside
            if not (one.is_root or one.in_thread or await self.take_away(thread, one.ts))
        ]

    async def _note_delivered(self, thread: Thread, found: Iterable[Found]) -> dict[str, str]:
        found = list(found)
        for one in found:
            if one.ts == thread.ts and one.headline and thread.headline is None and not self._began(thread):
                await self._ledger.keep_thread(thread, headline=one.headline)
        there = {name: one.ts for one in found for name in one.records}
        if there:
            await self._ledger.delivered(thread.thread_key, thread.channel, there)
        return there

    def _began(self, thread: Thread) -> bool:
        """Whether the words that the head begins with are known here."""
        records = self._ledger.thread_records(thread.thread_key, thread.channel)
        return any(record.event.kind is EventKind.DISPATCHING for record in records)

    async def _messages(self, thread: Thread) -> list[Found]:
        if thread.ts is None:
            raise AssertionError
        channel, ts = thread.channel_id or thread.channel, thread.ts
        return await self._search(lambda cursor: self._slack.replies(channel, ts, cursor))

    async def _search(
        self,
        page_at: Callable[[str | None], Awaitable[Page]],
        enough: Callable[[Found], bool] = lambda _: False,
    ) -> list[Found]:
        """All that is found on the first pages, up to one that is enough."""
        found: list[Found] = []
        cursor: str | None = None
        for _ in range(self._pace.max_pages):
            page = await page_at(cursor)
            found += page.found
            cursor = page.cursor
            if cursor is None or any(map(enough, page.found)):
                break
        return found
