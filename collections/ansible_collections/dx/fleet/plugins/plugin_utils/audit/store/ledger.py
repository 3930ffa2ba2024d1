# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How far each record has got on its way to Slack: read and written by the one process that delivers.

Its writes are async: that process may be a service with an event loop, and another process that holds the
database must not stop it. Reads never wait, as the database is in WAL mode.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from ...domain.errors import AuditError
from .database import Database
from .records import (
    RECORD,
    THREAD,
    THREAD_FIELDS,
    Channel,
    DeliveryState,
    LastStep,
    Record,
    Thread,
    record_of,
    thread_of,
)

__all__ = ["Ledger"]

T = TypeVar("T")

BUSY_POLL_S = 0.02
CHANNEL_FIELDS = {"next_post_at", "quiet_until", "trouble", "unanswered_since", "warned"}


class Ledger:
    """The part of an outbox that belongs to whoever holds the delivery lock.

    Every method raises :class:`~..errors.AuditError` where the file can't be used. While another process
    holds it, a write waits.

    Args:
        database: The outbox's.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def thread_records(self, thread_key: str, channel: str | None = None) -> list[Record]:
        """All records of a thread, in the order in which they were recorded."""
        rows = self._database.rows(
            f"SELECT {RECORD} FROM record WHERE thread_key = ? AND (? IS NULL OR channel = ?) ORDER BY seq",  # noqa: S608 - our own names
            thread_key,
            channel,
            channel,
        )
        return [record_of(row) for row in rows]

    def steps(self, thread: Thread) -> dict[str, LastStep]:
        """What the agents of a thread did last, by VM."""
        rows = self._database.rows(
            "SELECT vm, words, at FROM step WHERE thread_key = ? AND channel = ?",
            thread.thread_key,
            thread.channel,
        )
        return {vm: LastStep(words, at) for vm, words, at in rows}

    def channels(self) -> list[Channel]:
        """The channels in which something is to be posted or shown anew."""
        rows = self._database.rows(
            "SELECT w.channel, c.next_post_at, c.quiet_until, c.trouble, c.unanswered_since FROM ("
            " SELECT channel FROM record WHERE state IN ('pending', 'sending')"
            " UNION SELECT channel FROM thread WHERE stale"
            ") w LEFT JOIN channel c ON c.name = w.channel ORDER BY 1"
        )
        return [Channel(row[0], row[1] or 0.0, row[2] or 0.0, row[3], row[4]) for row in rows]

    def channel(self, name: str) -> Channel:
        """One channel as it is kept now."""
        row = self._database.row(
            "SELECT name, next_post_at, quiet_until, trouble, unanswered_since FROM channel WHERE name = ?",
            name,
        )
        return Channel(*row) if row else Channel(name)

    def waiting(self, channel: str) -> list[Thread]:
        """The threads of a channel that have something to tell; the one that waits for longest first."""
        rows = self._database.rows(
            f"SELECT {THREAD} FROM thread t JOIN ("  # noqa: S608 - our own names
            " SELECT thread_key, min(seq) AS first FROM record"
            " WHERE channel = ? AND state IN ('pending', 'sending') GROUP BY thread_key"
            ") r ON r.thread_key = t.thread_key WHERE t.channel = ? ORDER BY r.first LIMIT 300",
            channel,
            channel,
        )
        return [thread_of(row) for row in rows]

    def stale(self, channel: str) -> list[Thread]:
        """The threads whose root shows less than what is known; the one that was shown longest ago first."""
        rows = self._database.rows(
            f"SELECT {THREAD} FROM thread t WHERE channel = ? AND stale"  # noqa: S608 - our own names
            " ORDER BY coalesce(updated_at, 0) LIMIT 300",
            channel,
        )
        return [thread_of(row) for row in rows]

    def thread(self, thread_key: str, channel: str) -> Thread:
        """One thread as it is kept now."""
        row = self._database.row(
            f"SELECT {THREAD} FROM thread t WHERE thread_key = ? AND channel = ?",  # noqa: S608 - our own names
            thread_key,
            channel,
        )
        return thread_of(row) if row else Thread(thread_key, channel)

    def thread_key_at(self, channel_id: str, ts: str) -> str | None:
        """Which thread of ours has its root there; None where it is not one of ours."""
        row = self._database.row(
            "SELECT thread_key FROM thread WHERE channel_id = ? AND ts = ?", channel_id, ts
        )
        return str(row[0]) if row else None

    def thread_roots(self, channel_id: str, limit: int = 50) -> list[str]:
        """The roots of the threads in a channel in which something was posted last, the latest first."""
        rows = self._database.rows(
            "SELECT ts FROM thread WHERE channel_id = ? AND ts IS NOT NULL"
            " ORDER BY coalesce(updated_at, posted_at, 0) DESC LIMIT ?",
            channel_id,
            limit,
        )
        return [str(row[0]) for row in rows]

    async def mark(
        self,
        records: Iterable[Record],
        state: DeliveryState,
        *,
        ts: str | None = None,
        trouble: str | None = None,
        plainer: bool = False,
    ) -> None:
        """Write down how far records have got."""
        values = [
            (state.value, ts, trouble, int(plainer), int(state is DeliveryState.SENDING), record.seq)
            for record in records
        ]
        await self._write(
            lambda connection: connection.executemany(
                "UPDATE record SET state = ?, ts = coalesce(?, ts), trouble = ?,"
                " fallback_level = fallback_level + ?,"
                " attempts = attempts + ? WHERE seq = ? AND state <> 'delivered'",
                values,
            ),
            # That a message may be in Slack must be known whatever happens while it is being sent.
            durable=state is DeliveryState.SENDING,
        )

    async def delivered(self, thread_key: str, channel: str, ids: Mapping[str, str]) -> None:
        """Records that were found in Slack: id -> ts of the message."""
        values = [(ts, name, thread_key, channel) for name, ts in ids.items()]
        await self._write(
            lambda connection: connection.executemany(
                "UPDATE record SET state = 'delivered', ts = ?, trouble = NULL"
                " WHERE id = ? AND thread_key = ? AND channel = ?",
                values,
            )
        )

    async def keep_thread(self, thread: Thread, **changes: object) -> Thread:
        """Write down some fields of a thread; returns it as it is then."""
        names = [name for name in changes if name in THREAD_FIELDS]
        if not (len(names) == len(changes)):
            raise AssertionError(changes)
        setting = ", ".join(f"{name} = ?" for name in names)
        await self._write(
            lambda connection: connection.execute(
                f"UPDATE thread SET {setting} WHERE thread_key = ? AND channel = ?",  # noqa: S608 - our own names
                (*changes.values(), thread.thread_key, thread.channel),
            ),
            durable="posting" in changes,
        )
        return self.thread(thread.thread_key, thread.channel)

    async def begin_anew(self, thread: Thread, now: float) -> None:
        """The thread is gone: what comes next is posted under another head."""
        await self.keep_thread(thread, ts=None, posting=0, shown=None, stale=1, born_at=now)

    async def shown(self, thread: Thread, digest: str, seq: int, at: float | None) -> None:
        """A root shows all records up to a number; it is stale where there are more by now."""
        await self._write(
            lambda connection: connection.execute(
                "UPDATE thread SET shown = ?, updated_at = ?, stale = EXISTS ("
                " SELECT 1 FROM record r WHERE r.thread_key = thread.thread_key"
                " AND r.channel = thread.channel AND r.seq > ?) WHERE thread_key = ? AND channel = ?",
                (digest, at, seq, thread.thread_key, thread.channel),
            )
        )

    async def keep_channel(self, name: str, **changes: object) -> None:
        """Write down some fields of a channel."""
        if not (set(changes) <= {"next_post_at", "quiet_until", "trouble", "unanswered_since", "warned"}):
            raise AssertionError(changes)
        setting = ", ".join(f"{field} = ?" for field in changes)

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("INSERT OR IGNORE INTO channel (name) VALUES (?)", (name,))
            connection.execute(f"UPDATE channel SET {setting} WHERE name = ?", (*changes.values(), name))  # noqa: S608

        await self._write(work)

    async def unpark(self) -> None:
        """Try again what Slack did not take, in its full form."""
        await self._write(
            lambda connection: connection.execute(
                "UPDATE record SET state = 'pending', fallback_level = 0 WHERE state = 'parked'"
            )
        )

    async def _write(self, work: Callable[[sqlite3.Connection], T], *, durable: bool = False) -> T:
        while True:
            try:
                return self._database.write(work, durable=durable, patience_s=0)
            except AuditError as error:
                if error.reason_code != "outbox_busy":
                    raise
            await self._database.clock.sleep(BUSY_POLL_S)
