# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The facts that were recorded, on this machine's disk, and how far each has got on its way to Slack."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import Any

from ...config.folders import state_folder
from ...domain.errors import AuditError
from ..facts.event import AuditEvent, Kind, Subject
from .database import Database

__all__ = ["Channel", "Counts", "DeliveryState", "Outbox", "Record", "Thread", "outbox_path"]

MAX_BYTES = 64 * 1024 * 1024
PRUNED_AT_ONCE = 500

BEFORE_A_STEP = frozenset((Kind.CLAIMED, Kind.DISPATCHING, Kind.ABORTING, Kind.TAKEN_OVER))

SCHEMA = """
CREATE TABLE IF NOT EXISTS record (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    thread_key TEXT NOT NULL,
    dispatch TEXT NOT NULL,
    channel TEXT NOT NULL,
    event TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'pending',
    fallback_level INTEGER NOT NULL DEFAULT 0,
    attempts INTEGER NOT NULL DEFAULT 0,
    trouble TEXT,
    ts TEXT
);
CREATE INDEX IF NOT EXISTS record_thread ON record (thread_key, seq);
CREATE INDEX IF NOT EXISTS record_dispatch ON record (dispatch, seq);
CREATE INDEX IF NOT EXISTS record_open ON record (channel, thread_key, seq) WHERE state <> 'delivered';
CREATE TABLE IF NOT EXISTS thread (
    thread_key TEXT NOT NULL,
    channel TEXT NOT NULL,
    channel_id TEXT,
    ts TEXT,
    posting INTEGER NOT NULL DEFAULT 0,
    fallback_level INTEGER NOT NULL DEFAULT 0,
    headline TEXT,
    shown TEXT,
    stale INTEGER NOT NULL DEFAULT 0,
    born_at REAL,
    posted_at REAL,
    updated_at REAL,
    PRIMARY KEY (thread_key, channel)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS thread_stale ON thread (channel) WHERE stale;
CREATE TABLE IF NOT EXISTS channel (
    name TEXT PRIMARY KEY,
    next_post_at REAL NOT NULL DEFAULT 0,
    quiet_until REAL NOT NULL DEFAULT 0,
    trouble TEXT
) WITHOUT ROWID;
"""
VERSION = 2
MIGRATIONS = {
    1: """
    ALTER TABLE record RENAME COLUMN family TO thread_key;
    ALTER TABLE record RENAME COLUMN progress TO state;
    ALTER TABLE record RENAME COLUMN plainness TO fallback_level;
    ALTER TABLE thread RENAME COLUMN family TO thread_key;
    ALTER TABLE thread RENAME COLUMN plainness TO fallback_level;
    DROP INDEX record_family;
    """,
}
"""From a version to the one that follows it."""


class DeliveryState(StrEnum):
    """How far a record has got. Where a process died or an answer was lost, it stays ``sending``."""

    PENDING = "pending"
    SENDING = "sending"
    PARKED = "parked"  # Slack does not take it, in any form; tried again by the next process
    DELIVERED = "delivered"


@dataclass(frozen=True)
class Record:
    """One fact as it is kept. ``fallback_level`` counts the plainer forms that Slack was offered."""

    seq: int
    id: str
    event: AuditEvent
    state: DeliveryState
    fallback_level: int
    attempts: int
    trouble: str | None
    ts: str | None


@dataclass(frozen=True)
class Thread:
    """A thread in Slack. ``ts`` is its root's, once it is known; ``posting`` says that one may be there.
    ``headline`` is what another controller's root begins with.

    Times are of the wall clock, as they outlive this process.
    """

    thread_key: str
    channel: str
    channel_id: str | None = None
    ts: str | None = None
    posting: bool = False
    fallback_level: int = 0
    headline: str | None = None
    shown: str | None = None
    stale: bool = False
    born_at: float | None = None
    posted_at: float | None = None
    updated_at: float | None = None


@dataclass(frozen=True)
class Channel:
    """What a channel lets us do, and when. ``trouble`` is what Slack said last, where that was no."""

    name: str
    next_post_at: float = 0.0
    quiet_until: float = 0.0
    trouble: str | None = None


@dataclass(frozen=True)
class Counts:
    """How many records have been told, are to be told, and wait for somebody to mend something."""

    delivered: int
    pending: int
    held: int

    def as_dict(self) -> dict[str, int]:
        """JSON-ready form."""
        return {"delivered": self.delivered, "pending": self.pending, "held": self.held}


def outbox_path(environ: Mapping[str, str]) -> Path:
    """``$XDG_STATE_HOME/dx-fleet/outbox.db``, by default in ``~/.local/state``."""
    return state_folder(environ) / "outbox.db"


class Outbox:
    """Records and threads of all dispatches of this user on this machine.

    Safe for many processes, threads and forks. Every method raises :class:`~..errors.AuditError` where the
    file can't be used.

    Args:
        path: The database file.
        max_bytes: How large it may grow; see :meth:`append`.
    """

    def __init__(self, path: Path, *, max_bytes: int = MAX_BYTES) -> None:
        self.path = path
        self._max_bytes = max_bytes
        self._database = Database(path, SCHEMA, VERSION, MIGRATIONS)

    def close(self) -> None:
        """Close this process' connection; the next use opens another."""
        self._database.close()

    # --- recording ---

    def append(self, event: AuditEvent, channel: str) -> bool:
        """Keep an event: it survives the death of this process. What tells of a step that is about to be
        taken survives a loss of power as well, before the step.

        Returns:
            False where this fact is recorded already.

        Raises:
            AuditError: ``outbox_full`` where so much is undelivered that the file would outgrow its bound;
                what is delivered is dropped before, oldest first. Or see :class:`~.database.Database`.
        """
        data = json.dumps(event.as_dict(), ensure_ascii=True)

        def work(connection: sqlite3.Connection) -> bool:
            self._make_room(connection)
            added = connection.execute(
                "INSERT OR IGNORE INTO record (id, thread_key, dispatch, channel, event)"
                " VALUES (?, ?, ?, ?, ?)",
                (event.id, event.thread_key, event.subject.dispatch, channel, data),
            )
            if added.rowcount == 0:
                return False
            connection.execute(
                "INSERT INTO thread (thread_key, channel, stale) VALUES (?, ?, 1)"
                " ON CONFLICT (thread_key, channel) DO UPDATE SET stale = 1",
                (event.thread_key, channel),
            )
            return True

        return self._database.write(work, durable=event.kind in BEFORE_A_STEP)

    # --- looking ---

    def thread_records(self, thread_key: str, channel: str | None = None) -> list[Record]:
        """All records of a thread, in the order in which they were recorded."""
        rows = self._rows(
            f"{_SELECT} WHERE thread_key = ? AND (? IS NULL OR channel = ?) ORDER BY seq",
            thread_key,
            channel,
            channel,
        )
        return [_record(row) for row in rows]

    def trail(self, name: str | None = None, limit: int = 1000) -> list[Record]:
        """The last records of a dispatch, a thread, a bead (its ``BEAD@ATTEMPT``s) or of all, in order."""
        rows = self._rows(
            f"SELECT * FROM ({_SELECT} WHERE ? IS NULL OR dispatch = ? OR thread_key = ?"  # noqa: S608 - our own names
            " OR substr(dispatch, 1, length(?) + 1) = ? || '@' ORDER BY seq DESC LIMIT ?)"
            " ORDER BY seq",
            *(name,) * 5,
            limit,
        )
        return [_record(row) for row in rows]

    def undelivered(self, limit: int = 1000) -> list[Record]:
        """What is not told yet, in order."""
        rows = self._rows(f"{_SELECT} WHERE state <> 'delivered' ORDER BY seq LIMIT ?", limit)
        return [_record(row) for row in rows]

    def counts(self, dispatch: str | None = None) -> Counts:
        """Counts of a dispatch's records, or of all."""
        rows = self._rows(
            "SELECT r.state, c.trouble IS NOT NULL, count(*) FROM record r"
            " LEFT JOIN channel c ON c.name = r.channel"
            " WHERE ? IS NULL OR r.dispatch = ? GROUP BY 1, 2",
            dispatch,
            dispatch,
        )
        delivered = sum(row[2] for row in rows if row[0] == DeliveryState.DELIVERED)
        held = sum(
            row[2]
            for row in rows
            if row[0] == DeliveryState.PARKED or (row[0] != DeliveryState.DELIVERED and row[1])
        )
        return Counts(delivered, sum(row[2] for row in rows) - delivered - held, held)

    def last_seq(self) -> int:
        """Number of the record that was added last."""
        row = self._row("SELECT max(seq) FROM record")
        return int(row[0] or 0) if row else 0

    def open_until(self, seq: int) -> int:
        """How many records up to this number are on their way."""
        row = self._row("SELECT count(*) FROM record WHERE state IN ('pending', 'sending') AND seq <= ?", seq)
        return int(row[0]) if row else 0

    def unshown_until(self, seq: int) -> int:
        """How many roots show less than the records up to this number."""
        row = self._row(
            "SELECT count(*) FROM thread t WHERE stale AND ts IS NOT NULL AND NOT EXISTS ("
            " SELECT 1 FROM record r"
            " WHERE r.thread_key = t.thread_key AND r.channel = t.channel AND r.seq > ?)",
            seq,
        )
        return int(row[0]) if row else 0

    # --- delivering; by the one process that holds the delivery lock ---

    def channels(self) -> list[Channel]:
        """The channels in which something is to be told or shown anew."""
        rows = self._rows(
            "SELECT w.channel, c.next_post_at, c.quiet_until, c.trouble FROM ("
            " SELECT channel FROM record WHERE state IN ('pending', 'sending')"
            " UNION SELECT channel FROM thread WHERE stale"
            ") w LEFT JOIN channel c ON c.name = w.channel ORDER BY 1"
        )
        return [Channel(row[0], row[1] or 0.0, row[2] or 0.0, row[3]) for row in rows]

    def waiting(self, channel: str) -> list[Thread]:
        """The threads of a channel that have something to tell; the one that waits for longest first."""
        rows = self._rows(
            f"SELECT {_THREAD} FROM thread t JOIN ("  # noqa: S608 - our own names
            " SELECT thread_key, min(seq) AS first FROM record"
            " WHERE channel = ? AND state IN ('pending', 'sending') GROUP BY thread_key"
            ") r ON r.thread_key = t.thread_key WHERE t.channel = ? ORDER BY r.first LIMIT 300",
            channel,
            channel,
        )
        return [_thread(row) for row in rows]

    def stale(self, channel: str) -> list[Thread]:
        """The threads whose root shows less than what is known; the one that was shown longest ago first."""
        rows = self._rows(
            f"SELECT {_THREAD} FROM thread t WHERE channel = ? AND stale"  # noqa: S608 - our own names
            " ORDER BY coalesce(updated_at, 0) LIMIT 300",
            channel,
        )
        return [_thread(row) for row in rows]

    def thread(self, thread_key: str, channel: str) -> Thread:
        """One thread as it is kept now."""
        row = self._row(
            f"SELECT {_THREAD} FROM thread t WHERE thread_key = ? AND channel = ?",  # noqa: S608 - our own names
            thread_key,
            channel,
        )
        return _thread(row) if row else Thread(thread_key, channel)

    def mark(
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
        self._database.write(
            lambda connection: connection.executemany(
                "UPDATE record SET state = ?, ts = coalesce(?, ts), trouble = ?,"
                " fallback_level = fallback_level + ?,"
                " attempts = attempts + ? WHERE seq = ? AND state <> 'delivered'",
                values,
            ),
            # That a message may be in Slack must be known whatever happens while it is being sent.
            durable=state is DeliveryState.SENDING,
        )

    def delivered(self, thread_key: str, channel: str, ids: Mapping[str, str]) -> None:
        """Records that were found in Slack: id -> ts of the message."""
        values = [(ts, name, thread_key, channel) for name, ts in ids.items()]
        self._database.write(
            lambda connection: connection.executemany(
                "UPDATE record SET state = 'delivered', ts = ?, trouble = NULL"
                " WHERE id = ? AND thread_key = ? AND channel = ?",
                values,
            )
        )

    def keep_thread(self, thread: Thread, **changes: object) -> Thread:
        """Write down some fields of a thread; returns it as it is then."""
        names = [name for name in changes if name in _THREAD_FIELDS]
        assert len(names) == len(changes), changes
        setting = ", ".join(f"{name} = ?" for name in names)
        self._database.write(
            lambda connection: connection.execute(
                f"UPDATE thread SET {setting} WHERE thread_key = ? AND channel = ?",  # noqa: S608 - our own names
                (*changes.values(), thread.thread_key, thread.channel),
            ),
            durable="posting" in changes,
        )
        return self.thread(thread.thread_key, thread.channel)

    def shown(self, thread: Thread, digest: str, seq: int, at: float | None) -> None:
        """A root shows all records up to a number; it is stale where there are more by now."""
        self._database.write(
            lambda connection: connection.execute(
                "UPDATE thread SET shown = ?, updated_at = ?, stale = EXISTS ("
                " SELECT 1 FROM record r WHERE r.thread_key = thread.thread_key"
                " AND r.channel = thread.channel AND r.seq > ?) WHERE thread_key = ? AND channel = ?",
                (digest, at, seq, thread.thread_key, thread.channel),
            )
        )

    def keep_channel(self, name: str, **changes: object) -> None:
        """Write down some fields of a channel."""
        assert set(changes) <= {"next_post_at", "quiet_until", "trouble"}, changes
        setting = ", ".join(f"{field} = ?" for field in changes)

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("INSERT OR IGNORE INTO channel (name) VALUES (?)", (name,))
            connection.execute(f"UPDATE channel SET {setting} WHERE name = ?", (*changes.values(), name))  # noqa: S608

        self._database.write(work)

    def unpark(self) -> None:
        """Try again what Slack did not take, in its full form."""
        self._database.write(
            lambda connection: connection.execute(
                "UPDATE record SET state = 'pending', fallback_level = 0 WHERE state = 'parked'"
            )
        )

    # --- inside ---

    def _make_room(self, connection: sqlite3.Connection) -> None:
        while _used_bytes(connection) >= self._max_bytes:
            dropped = connection.execute(
                "DELETE FROM record WHERE seq IN (SELECT seq FROM record WHERE state = 'delivered'"
                " ORDER BY seq LIMIT ?)",
                (PRUNED_AT_ONCE,),
            ).rowcount
            connection.execute(
                "DELETE FROM thread WHERE NOT EXISTS ("
                " SELECT 1 FROM record r WHERE r.thread_key = thread.thread_key)"
            )
            if dropped == 0:
                waiting = connection.execute("SELECT count(*) FROM record").fetchone()[0]
                raise AuditError(
                    f"{self.path}: full: {waiting} records wait to be delivered to Slack",
                    reason_code="outbox_full",
                    next_action="dx-dispatch --flush-audit",
                )

    def _rows(self, statement: str, *values: object) -> Sequence[tuple[Any, ...]]:
        return self._database.read(lambda connection: connection.execute(statement, values).fetchall())

    def _row(self, statement: str, *values: object) -> tuple[Any, ...] | None:
        rows = self._rows(statement, *values)
        return rows[0] if rows else None


def _used_bytes(connection: sqlite3.Connection) -> int:
    def pragma(name: str) -> int:
        return int(connection.execute(f"PRAGMA {name}").fetchone()[0])

    return (pragma("page_count") - pragma("freelist_count")) * pragma("page_size")


_SELECT = "SELECT seq, id, event, state, fallback_level, attempts, trouble, ts FROM record"

_THREAD_FIELDS = tuple(field.name for field in fields(Thread))
_THREAD = ", ".join(f"t.{name}" for name in _THREAD_FIELDS)


def _record(row: tuple[Any, ...]) -> Record:
    seq, name, event, state, fallback_level, attempts, trouble, ts = row
    try:
        read = AuditEvent.from_dict(json.loads(event))
    except (ValueError, KeyError, TypeError):
        # Of a later version, or broken: it is shown as what it is, and holds nothing up.
        read = AuditEvent(Kind.TASK_FAILED, f"(record {seq} can't be read)", Subject(dispatch=str(name)))
    return Record(seq, name, read, DeliveryState(state), fallback_level, attempts, trouble, ts)


def _thread(row: tuple[Any, ...]) -> Thread:
    found = dict(zip(_THREAD_FIELDS, row, strict=True))
    return Thread(**{**found, "posting": bool(found["posting"]), "stale": bool(found["stale"])})
