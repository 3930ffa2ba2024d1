# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From the outbox to Slack: every record at least once, in order, and twice only where Slack hides the first.

One call at a time, by the one process that holds the delivery lock. Before a message is sent, it is written
down that it may be there; where nobody knows whether it is, the thread is read before it is sent again.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial

from ...domain.event_kind import EventKind
from ..facts.status import status_of
from ..store.outbox import Outbox
from ..store.records import Channel, DeliveryState, Record, Thread
from .errors import Ambiguous, Held, Refused, RetryLater, SlackError, ThreadGone
from .message import SlackMessage, reply, root
from .port import Found, Page, Slack

__all__ = ["Clock", "Delivery", "Pace"]

_URGENT = frozenset((EventKind.NEEDS_INPUT,))
_ULID_LENGTH = 26
MAX_ROOTS = 3  # under which the same record is tried


@dataclass(frozen=True)
class Pace:
    """How fast to talk. Slack takes about one message a second and channel, and fifty updates a minute.

    The thread of a dispatch to many VMs grows slower with its age: the next reply comes when it is older by
    ``digest_growth``, or after ``digest_urgent_s`` where a person is waited for.
    """

    post_s: float = 1.1
    update_s: float = 1.2
    same_root_s: float = 3.0
    settle_s: float = 2.0
    first_retry_s: float = 1.0
    last_retry_s: float = 60.0
    first_hold_s: float = 30.0
    last_hold_s: float = 900.0
    digest_from: int = 9
    digest_growth: float = 0.8
    digest_urgent_s: float = 15.0
    max_pages: int = 10
    max_fallback_level: int = 2


class Clock:
    """The wall clock: what it is used for outlives this process."""

    def time(self) -> float:
        """Seconds since the epoch."""
        return time.time()


@dataclass
class _Trouble:
    """Why a channel is left alone, and until when."""

    until: float = 0.0
    times: int = 0
    held: bool = False

    def again(self, now: float, first_s: float, last_s: float, *, held: bool) -> None:
        if held is not self.held:
            self.times = 0
        self.held = held
        self.until = now + min(first_s * 2 ** min(self.times, 20), last_s)
        self.times += 1


@dataclass
class _State:
    """What this process remembers of a channel."""

    trouble: _Trouble = field(default_factory=_Trouble)
    next_update_at: float = 0.0
    settled_at: dict[str, float] = field(default_factory=dict)  # thread_key -> when it can be looked at


class Delivery:
    """Delivers what is in an outbox.

    Args:
        outbox: From where.
        slack: To where.
        say: Called with one line about what somebody must mend, once for each.
        pace: How fast.
        clock: Wall clock.
    """

    def __init__(
        self,
        outbox: Outbox,
        slack: Slack,
        *,
        say: Callable[[str], None],
        pace: Pace | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._ledger = outbox.ledger
        self._slack = slack
        self._say = say
        self._pace = pace or Pace()
        self._clock = clock or Clock()
        self._states: dict[str, _State] = {}
        self._said: set[str] = set()
        self.failing = False
        """Whether the last call failed."""

    def turn(self, *, closing: bool = False) -> float | None:
        """Make at most one call.

        Args:
            closing: Nothing more is coming: tell what there is without waiting for more to tell with it.

        Returns:
            Seconds until there may be something to do; None where there is nothing.

        Raises:
            AuditError: The outbox can't be used.
        """
        waits: list[float] = []
        for channel in self._ledger.channels():
            wait = self._channel_turn(channel, closing)
            if wait == 0:
                return 0.0
            if wait is not None:
                waits.append(wait)
        return min(waits, default=None)

    # --- one channel ---

    def _channel_turn(self, channel: Channel, closing: bool) -> float | None:
        now = self._clock.time()
        state = self._states.setdefault(channel.name, _State())
        # What another process wrote down by a clock that was wrong does not hold for ever.
        quiet = min(max(channel.quiet_until - now, 0), 3600)
        if (wait := max(state.trouble.until - now, quiet)) > 0:
            return wait
        post_wait = min(max(channel.next_post_at - now, 0), 60)
        waits: list[float] = []
        for thread in self._ledger.waiting(channel.name):
            wait = self._due(thread, state, now, post_wait, closing)
            if wait <= 0:
                self._attempt(channel, state, partial(self._tell, thread, state))
                return 0
            waits.append(wait)
        for thread in self._ledger.stale(channel.name):
            if thread.ts is None:
                continue  # the root will show it
            wait = self._show_wait(thread, state, now)
            if wait <= 0:
                self._attempt(channel, state, partial(self._show, thread, state))
                return 0
            waits.append(wait)
        return min(waits, default=None)

    def _due(self, thread: Thread, state: _State, now: float, post_wait: float, closing: bool) -> float:
        if thread.ts is None and not thread.posting:
            return post_wait
        records = self._open_records(thread)
        if thread.ts is None or any(record.state is DeliveryState.SENDING for record in records):
            return max(0.0, state.settled_at.get(thread.thread_key, 0.0) - now)
        if closing or thread.born_at is None or thread.posted_at is None:
            return post_wait
        return max(post_wait, thread.posted_at + self._digest_gap(thread, records) - now)

    def _digest_gap(self, thread: Thread, records: Iterable[Record]) -> float:
        """How long after the last reply the next one may come, in a thread that many VMs share."""
        events = (record.event for record in self._ledger.thread_records(thread.thread_key, thread.channel))
        if len({event.subject.vm for event in events}) < self._pace.digest_from:
            return 0.0
        assert thread.born_at is not None
        assert thread.posted_at is not None
        gap = max(self._pace.post_s, self._pace.digest_growth * (thread.posted_at - thread.born_at))
        if any(record.event.kind in _URGENT for record in records):
            return min(gap, self._pace.digest_urgent_s)
        return gap

    def _attempt(self, channel: Channel, state: _State, call: Callable[[], None]) -> None:
        """Make a call, and draw the conclusions for the channel from how it fails."""
        now = self._clock.time
        try:
            call()
        except RetryLater as error:
            self.failing = True
            if error.after_s is not None:
                self._ledger.keep_channel(channel.name, quiet_until=now() + error.after_s)
            else:
                state.trouble.again(now(), self._pace.first_retry_s, self._pace.last_retry_s, held=False)
        except Held as error:
            self.failing = True
            state.trouble.again(now(), self._pace.first_hold_s, self._pace.last_hold_s, held=True)
            self._ledger.keep_channel(channel.name, trouble=error.code)
            self._alarm(channel.name, error.code)
        except Ambiguous:
            self.failing = True
            state.trouble.again(now(), self._pace.first_retry_s, self._pace.last_retry_s, held=False)
        else:
            self.failing = False
            if state.trouble.times:
                state.trouble = _Trouble()
            if channel.trouble is not None:
                self._ledger.keep_channel(channel.name, trouble=None)

    # --- one thread ---

    def _tell(self, thread: Thread, state: _State) -> None:
        if thread.ts is None:
            if thread.posting or self._may_exist(thread):
                self._find_root(thread)
            else:
                self._post_root(thread, state)
            return
        records = self._open_records(thread)
        if unsure := [record for record in records if record.state is DeliveryState.SENDING]:
            self._reconcile(thread, unsure, state)
        elif records:
            self._post_reply(thread, records, state)

    def _may_exist(self, thread: Thread) -> bool:
        """Whether another controller may have begun this thread: not where we have just drawn its name."""
        if thread.born_at is not None:  # it was looked for
            return False
        first = self._ledger.thread_records(thread.thread_key, thread.channel)[:1]
        is_new = bool(first) and first[0].event.kind in (EventKind.DISPATCHING, EventKind.REFUSED)
        return not (is_new and len(thread.thread_key) == _ULID_LENGTH and thread.thread_key.isalnum())

    def _find_root(self, thread: Thread) -> None:
        try:
            found = self._search(
                lambda cursor: self._slack.history(thread.channel_id or thread.channel, cursor),
                enough=lambda one: one.is_root and one.thread_key == thread.thread_key,
            )
        except Held as error:
            # A token that may not read, or a channel given by its name: a second root is the price.
            if error.code not in ("missing_scope", "channel_not_found"):
                raise
            found = []
        roots = [one for one in found if one.is_root and one.thread_key == thread.thread_key]
        if not roots:
            self._ledger.keep_thread(thread, posting=0, born_at=self._clock.time())
            return
        ts = min(roots, key=lambda one: float(one.ts)).ts
        kept = self._ledger.keep_thread(
            thread,
            ts=ts,
            channel_id=thread.channel_id or thread.channel,
            posting=0,
            stale=1,
            born_at=self._clock.time(),
        )
        # What another controller told there is told.
        self._note_told(kept, self._thread_messages(kept))

    def _post_root(self, thread: Thread, state: _State) -> None:
        message = self._root(thread, self._ledger.thread_records(thread.thread_key, thread.channel))
        now = self._clock.time()
        self._ledger.keep_thread(thread, posting=1, born_at=thread.born_at or now)
        try:
            posted = self._slack.post(thread.channel, message)
        except (Refused, ThreadGone) as error:
            self._root_refused(thread, error)
            return
        except (RetryLater, Held):
            self._ledger.keep_thread(thread, posting=0)
            raise
        except Ambiguous:
            state.settled_at[thread.thread_key] = self._clock.time() + self._pace.settle_s
            raise
        finally:
            self._posted(thread.channel)
        now = self._clock.time()
        self._ledger.keep_thread(
            thread,
            ts=posted.ts,
            channel_id=posted.channel,
            posting=0,
            shown=_digest(message),
            born_at=thread.born_at or now,
            posted_at=now,
            updated_at=now,
        )

    def _root_refused(self, thread: Thread, error: SlackError) -> None:
        if thread.fallback_level < self._pace.max_fallback_level:
            self._ledger.keep_thread(thread, posting=0, fallback_level=thread.fallback_level + 1)
            return
        self._ledger.keep_thread(thread, posting=0, stale=0, fallback_level=0)
        self._ledger.mark(self._open_records(thread), DeliveryState.PARKED, trouble=error.code)
        self._alarm(thread.channel, error.code)

    def _post_reply(self, thread: Thread, records: list[Record], state: _State) -> None:
        fallback_level = records[0].fallback_level
        batch = records[:1] if fallback_level else _same_form(records)
        message, count = reply(thread.thread_key, batch, fallback_level)
        told = batch[:count]
        self._ledger.mark(told, DeliveryState.SENDING)
        try:
            posted = self._slack.post(thread.channel_id or thread.channel, message, thread.ts)
        except Refused as error:
            self._refused(told, error, thread)
        except ThreadGone as error:
            if told[0].attempts + 1 >= MAX_ROOTS:
                self._ledger.mark(told, DeliveryState.PARKED, trouble=error.code)
                self._alarm(thread.channel, error.code)
                return
            self._ledger.mark(told, DeliveryState.PENDING, trouble=error.code)
            self._ledger.keep_thread(
                thread, ts=None, posting=0, shown=None, stale=1, born_at=self._clock.time()
            )
        except (RetryLater, Held) as error:
            self._ledger.mark(told, DeliveryState.PENDING, trouble=error.code)
            raise
        except Ambiguous:
            state.settled_at[thread.thread_key] = self._clock.time() + self._pace.settle_s
            raise
        else:
            self._ledger.mark(told, DeliveryState.DELIVERED, ts=posted.ts)
            self._ledger.keep_thread(thread, posted_at=self._clock.time())
        finally:
            self._posted(thread.channel)

    def _refused(self, told: list[Record], error: Refused, thread: Thread) -> None:
        """One by one, plainer each time, and at last aside: it must hold up nothing else."""
        if told[0].fallback_level < self._pace.max_fallback_level:
            self._ledger.mark(told, DeliveryState.PENDING, trouble=error.code, plainer=True)
            return
        self._ledger.mark(told, DeliveryState.PARKED, trouble=error.code)
        self._alarm(thread.channel, error.code)

    def _reconcile(self, thread: Thread, unsure: list[Record], state: _State) -> None:
        """Find out which of these are in Slack; the others are to be sent."""
        try:
            found = self._thread_messages(thread)
        except Held as error:
            if error.code != "missing_scope":
                raise
            found = []
        except ThreadGone:
            found = []
            self._ledger.keep_thread(
                thread, ts=None, posting=0, shown=None, stale=1, born_at=self._clock.time()
            )
        there = self._note_told(thread, found)
        self._ledger.mark((record for record in unsure if record.id not in there), DeliveryState.PENDING)
        state.settled_at.pop(thread.thread_key, None)

    def _note_told(self, thread: Thread, found: Iterable[Found]) -> dict[str, str]:
        found = list(found)
        for one in found:
            if one.ts == thread.ts and one.headline and thread.headline is None and not self._began(thread):
                self._ledger.keep_thread(thread, headline=one.headline)
        there = {name: one.ts for one in found for name in one.records}
        if there:
            self._ledger.delivered(thread.thread_key, thread.channel, there)
        return there

    def _began(self, thread: Thread) -> bool:
        """Whether the words that the root begins with are known here."""
        records = self._ledger.thread_records(thread.thread_key, thread.channel)
        return any(record.event.kind is EventKind.DISPATCHING for record in records)

    def _thread_messages(self, thread: Thread) -> list[Found]:
        assert thread.ts is not None
        ts = thread.ts
        return self._search(
            lambda cursor: self._slack.replies(thread.channel_id or thread.channel, ts, cursor)
        )

    def _search(
        self, page_at: Callable[[str | None], Page], enough: Callable[[Found], bool] = lambda _: False
    ) -> list[Found]:
        """All that is found on the first pages, up to one that is enough."""
        found: list[Found] = []
        cursor: str | None = None
        for _ in range(self._pace.max_pages):
            page = page_at(cursor)
            found += page.found
            cursor = page.cursor
            if cursor is None or any(map(enough, page.found)):
                break
        return found

    def _open_records(self, thread: Thread) -> list[Record]:
        return [
            record
            for record in self._ledger.thread_records(thread.thread_key, thread.channel)
            if record.state in (DeliveryState.PENDING, DeliveryState.SENDING)
        ]

    # --- the root's status ---

    def _root(self, thread: Thread, records: Iterable[Record]) -> SlackMessage:
        status = status_of(record.event for record in records)
        return root(thread.thread_key, status, thread.fallback_level, headline=thread.headline)

    def _show_wait(self, thread: Thread, state: _State, now: float) -> float:
        wait = max(0.0, state.next_update_at - now)
        status = status_of(
            record.event for record in self._ledger.thread_records(thread.thread_key, thread.channel)
        )
        if status.final:
            return wait
        return max(wait, (thread.updated_at or 0.0) + self._pace.same_root_s - now)

    def _show(self, thread: Thread, state: _State) -> None:
        assert thread.ts is not None
        records = self._ledger.thread_records(thread.thread_key, thread.channel)
        message = self._root(thread, records)
        digest, last = _digest(message), records[-1].seq if records else 0
        if digest == thread.shown:
            self._ledger.shown(thread, digest, last, thread.updated_at)
            return
        state.next_update_at = self._clock.time() + self._pace.update_s
        try:
            self._slack.update(thread.channel_id or thread.channel, thread.ts, message)
        except Refused:
            plainer = min(thread.fallback_level + 1, self._pace.max_fallback_level)
            self._ledger.keep_thread(
                thread, stale=int(plainer > thread.fallback_level), fallback_level=plainer
            )
        except ThreadGone:  # the trail goes on, and tells the end as well
            self._ledger.keep_thread(thread, stale=0)
        else:
            self._ledger.shown(thread, digest, last, self._clock.time())

    # --- the channel's pace ---

    def _posted(self, channel: str) -> None:
        self._ledger.keep_channel(channel, next_post_at=self._clock.time() + self._pace.post_s)

    def _alarm(self, channel: str, code: str) -> None:
        if code not in self._said:
            self._said.add(code)
            self._say(
                f"Slack takes nothing for the channel {channel}: {code}. Everything is kept."
                f" Next: {_MENDING.get(code, 'see docs/slack.md')}, then dx-fleet audit flush"
            )


_MENDING = {
    "not_in_channel": "invite the bot to the channel (/invite)",
    "channel_not_found": "check slack_audit_channel, and invite the bot to the channel (/invite)",
    "is_archived": "unarchive the channel, or choose another",
    "invalid_auth": "set SLACK_BOT_TOKEN to the token of the app",
    "token_revoked": "install the app again and set SLACK_BOT_TOKEN to its token",
    "token_expired": "install the app again and set SLACK_BOT_TOKEN to its token",
    "account_inactive": "install the app again and set SLACK_BOT_TOKEN to its token",
    "missing_scope": "give the app the scopes of docs/slack-app-manifest.yml and install it again",
}


def _same_form(records: list[Record]) -> list[Record]:
    """The first ones, up to one that must be told plainly."""
    for number, record in enumerate(records):
        if record.fallback_level:
            return records[:number]
    return records


def _digest(message: SlackMessage) -> str:
    said = json.dumps([message.text, message.blocks], sort_keys=True, default=str)
    return hashlib.sha256(said.encode("utf-8", "surrogatepass")).hexdigest()[:20]
