# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The facts that were recorded, on this machine's disk, and how far each has got on its way to Slack."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from pathlib import Path

from ...config.folders import state_folder
from ...domain.errors import AuditError
from ...domain.event_kind import EventKind
from ...domain.identity import EVERY_VM
from ..facts.event import AuditEvent, Step, thread_key_of
from .bound import make_room
from .database import Database
from .incoming import Incoming
from .ledger import Ledger
from .records import RECORD, Counts, DeliveryState, Record, record_of
from .schema import MIGRATIONS, SCHEMA, VERSION

__all__ = ["Outbox", "outbox_path"]

MAX_BYTES = 64 * 1024 * 1024
RECORD_PATIENCE_S = 0.01
"""Longer than another process' write takes, and short enough for an event loop."""

IN_ITS_THREAD = f"thread_key IN (?, ? || '{EVERY_VM}')"
"""Of one dispatch, or of those of a run that gave a group of VMs this id."""

BEFORE_A_STEP = frozenset(
    (EventKind.CLAIMED, EventKind.DISPATCHING, EventKind.ABORTING, EventKind.TAKEN_OVER)
)


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

    ``ledger`` is for the process that delivers.
    """

    def __init__(self, path: Path, *, max_bytes: int = MAX_BYTES) -> None:
        self.path = path
        self._max_bytes = max_bytes
        self.database = Database(path, SCHEMA, VERSION, MIGRATIONS)
        self.ledger = Ledger(self.database)
        self._incoming = Incoming(path.with_name("incoming"))

    def close(self) -> None:
        """Close this process' connection; the next use opens another."""
        self.database.close()

    # --- recording ---

    def append(self, event: AuditEvent, channel: str) -> bool:
        """Keep an event: it survives the death of this process. What tells of a step that is about to be
        taken survives a loss of power as well, before the step. Never waits for another process: while one
        holds the database, the event waits beside it.

        Returns:
            False where this fact is known to be recorded already.

        Raises:
            AuditError: ``outbox_full`` where so much is undelivered that the file would outgrow its bound;
                what is delivered is dropped before, oldest first. Or see :class:`~.database.Database`.
        """
        durable = event.kind in BEFORE_A_STEP
        waiting = self._incoming.waiting()

        def work(connection: sqlite3.Connection) -> bool:
            make_room(connection, self.path, self._max_bytes)
            for one in waiting:
                _insert(connection, one.event, one.channel)
            return _insert(connection, event, channel)

        try:
            added = self.database.write(work, durable=durable, patience_s=RECORD_PATIENCE_S)
        except AuditError as error:
            if error.reason_code != "outbox_busy":
                raise
            return self._put_beside(event, channel, durable=durable)
        self._incoming.taken(waiting)
        return added

    def _put_beside(self, event: AuditEvent, channel: str, *, durable: bool) -> bool:
        try:
            self._incoming.put(event, channel, durable=durable)
        except OSError as error:
            raise self.database.error(error) from error
        return True

    def take_in(self, *, patience_s: float = 0.0) -> None:
        """Take in the events that wait for the database; where another process still has it, they stay.

        Raises:
            AuditError: As :meth:`append`, but not ``outbox_busy``.
        """
        waiting = self._incoming.waiting()
        if not waiting:
            return

        def work(connection: sqlite3.Connection) -> None:
            make_room(connection, self.path, self._max_bytes)
            for one in waiting:
                _insert(connection, one.event, one.channel)

        try:
            self.database.write(work, durable=True, patience_s=patience_s)
        except AuditError as error:
            if error.reason_code != "outbox_busy":
                raise
            return
        self._incoming.taken(waiting)

    def note_step(self, step: Step, channel: str) -> None:
        """Keep what an agent is doing now, for the head of its thread. While another process holds the
        database it is left out: the next step follows soon.

        Raises:
            AuditError: As :meth:`append`, but not ``outbox_busy``.
        """
        thread_key = thread_key_of(step.subject.dispatch, step.subject.vm)

        def work(connection: sqlite3.Connection) -> None:
            connection.execute(
                "INSERT OR REPLACE INTO step (thread_key, channel, vm, words, at) VALUES (?, ?, ?, ?, ?)",
                (thread_key, channel, step.subject.vm or "", step.words, step.at.timestamp()),
            )
            connection.execute(
                "UPDATE thread SET stale = 1 WHERE thread_key = ? AND channel = ?", (thread_key, channel)
            )

        try:
            self.database.write(work, patience_s=0)
        except AuditError as error:
            if error.reason_code != "outbox_busy":
                raise

    def drop(self, name: str | None = None) -> list[Record]:
        """Drop what is not delivered and never will be.

        Args:
            name: A channel, a dispatch, a thread or a bead; without it, all that somebody must mend first.

        Returns:
            What was dropped.

        Raises:
            AuditError: The file can't be used.
        """
        self.take_in()

        def work(connection: sqlite3.Connection) -> list[Record]:
            rows = connection.execute(
                f"SELECT {RECORD} FROM record r WHERE state <> 'delivered' AND ("  # noqa: S608 - our own names
                " (? IS NULL AND (state = 'parked' OR EXISTS ("
                " SELECT 1 FROM channel c WHERE c.name = r.channel AND c.trouble IS NOT NULL)))"
                f" OR ? IN (channel, dispatch) OR {IN_ITS_THREAD}"
                " OR substr(dispatch, 1, length(?) + 1) = ? || '@') ORDER BY seq",
                (name,) * 6,
            ).fetchall()
            connection.executemany("DELETE FROM record WHERE seq = ?", [(row[0],) for row in rows])
            connection.execute(
                "DELETE FROM thread WHERE NOT EXISTS (SELECT 1 FROM record r"
                " WHERE r.thread_key = thread.thread_key AND r.channel = thread.channel)"
            )
            return [record_of(row) for row in rows]

        return self.database.write(work, durable=True)

    def warn_once(self, channel: str, code: str) -> bool:
        """Whether a person is to be warned of what Slack said of a channel: once, till it works again."""

        def work(connection: sqlite3.Connection) -> bool:
            changed = connection.execute(
                "UPDATE channel SET warned = ? WHERE name = ? AND warned IS NOT ?", (code, channel, code)
            )
            return changed.rowcount > 0

        return self.database.write(work)

    # --- looking ---

    def trail(self, name: str | None = None, limit: int = 1000) -> list[Record]:
        """The last records of a dispatch, a thread, a bead (its ``BEAD@ATTEMPT``s) or of all, in order."""
        self.take_in()
        rows = self.database.rows(
            f"SELECT * FROM (SELECT {RECORD} FROM record WHERE ? IS NULL OR dispatch = ? OR {IN_ITS_THREAD}"  # noqa: S608 - our own names
            " OR substr(dispatch, 1, length(?) + 1) = ? || '@' ORDER BY seq DESC LIMIT ?)"
            " ORDER BY seq",
            *(name,) * 6,
            limit,
        )
        return [record_of(row) for row in rows]

    def undelivered(self, limit: int = 1000) -> list[Record]:
        """What is not posted yet, in order."""
        self.take_in()
        rows = self.database.rows(
            f"SELECT {RECORD} FROM record WHERE state <> 'delivered' ORDER BY seq LIMIT ?",  # noqa: S608 - our own names
            limit,
        )
        return [record_of(row) for row in rows]

    def counts(self, dispatch: str | None = None) -> Counts:
        """Counts of a dispatch's records, or of all."""
        self.take_in()
        beside = sum(dispatch in (None, one.event.subject.dispatch) for one in self._incoming.waiting())
        rows = self.database.rows(
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
        return Counts(delivered, sum(row[2] for row in rows) - delivered - held + beside, held)

    def last_seq(self) -> int:
        """Number of the record that was added last."""
        self.take_in()
        row = self.database.row("SELECT max(seq) FROM record")
        return int(row[0] or 0) if row else 0

    def undelivered_since(self, seq: int, channel: str) -> tuple[int, int]:
        """How many records of a channel after this number are not delivered, and how many heads are not up
        to date with them."""
        self.take_in()
        records = self.database.row(
            "SELECT count(*) FROM record WHERE state <> 'delivered' AND seq > ? AND channel = ?", seq, channel
        )
        heads = self.database.row(
            "SELECT count(*) FROM thread t WHERE stale AND ts IS NOT NULL AND channel = ? AND EXISTS ("
            " SELECT 1 FROM record r"
            " WHERE r.thread_key = t.thread_key AND r.channel = t.channel AND r.seq > ?)",
            channel,
            seq,
        )
        waiting = sum(one.channel == channel for one in self._incoming.waiting())
        return (int(records[0]) if records else 0) + waiting, int(heads[0]) if heads else 0


def _insert(connection: sqlite3.Connection, event: AuditEvent, channel: str) -> bool:
    added = connection.execute(
        "INSERT OR IGNORE INTO record (id, thread_key, dispatch, channel, event) VALUES (?, ?, ?, ?, ?)",
        (
            event.id,
            event.thread_key,
            event.subject.dispatch,
            channel,
            json.dumps(event.as_dict(), ensure_ascii=True),
        ),
    )
    if added.rowcount == 0:
        return False
    connection.execute(
        "INSERT INTO thread (thread_key, channel, stale) VALUES (?, ?, 1)"
        " ON CONFLICT (thread_key, channel) DO UPDATE SET stale = 1",
        (event.thread_key, channel),
    )
    return True
