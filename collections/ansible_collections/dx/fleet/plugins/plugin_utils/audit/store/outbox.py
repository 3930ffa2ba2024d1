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
from ..facts.event import AuditEvent
from .database import Database
from .ledger import Ledger
from .records import RECORD, Counts, DeliveryState, Record, record_of
from .schema import MIGRATIONS, SCHEMA, VERSION

__all__ = ["Outbox", "outbox_path"]

MAX_BYTES = 64 * 1024 * 1024
PRUNED_AT_ONCE = 500

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

    def close(self) -> None:
        """Close this process' connection; the next use opens another."""
        self.database.close()

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

        return self.database.write(work, durable=event.kind in BEFORE_A_STEP)

    # --- looking ---

    def trail(self, name: str | None = None, limit: int = 1000) -> list[Record]:
        """The last records of a dispatch, a thread, a bead (its ``BEAD@ATTEMPT``s) or of all, in order."""
        rows = self.database.rows(
            f"SELECT * FROM (SELECT {RECORD} FROM record WHERE ? IS NULL OR dispatch = ? OR thread_key = ?"  # noqa: S608 - our own names
            " OR substr(dispatch, 1, length(?) + 1) = ? || '@' ORDER BY seq DESC LIMIT ?)"
            " ORDER BY seq",
            *(name,) * 5,
            limit,
        )
        return [record_of(row) for row in rows]

    def undelivered(self, limit: int = 1000) -> list[Record]:
        """What is not told yet, in order."""
        rows = self.database.rows(
            f"SELECT {RECORD} FROM record WHERE state <> 'delivered' ORDER BY seq LIMIT ?",  # noqa: S608 - our own names
            limit,
        )
        return [record_of(row) for row in rows]

    def counts(self, dispatch: str | None = None) -> Counts:
        """Counts of a dispatch's records, or of all."""
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
        return Counts(delivered, sum(row[2] for row in rows) - delivered - held, held)

    def last_seq(self) -> int:
        """Number of the record that was added last."""
        row = self.database.row("SELECT max(seq) FROM record")
        return int(row[0] or 0) if row else 0

    def open_until(self, seq: int) -> int:
        """How many records up to this number are on their way."""
        row = self.database.row(
            "SELECT count(*) FROM record WHERE state IN ('pending', 'sending') AND seq <= ?", seq
        )
        return int(row[0]) if row else 0

    def unshown_until(self, seq: int) -> int:
        """How many roots show less than the records up to this number."""
        row = self.database.row(
            "SELECT count(*) FROM thread t WHERE stale AND ts IS NOT NULL AND NOT EXISTS ("
            " SELECT 1 FROM record r"
            " WHERE r.thread_key = t.thread_key AND r.channel = t.channel AND r.seq > ?)",
            seq,
        )
        return int(row[0]) if row else 0

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
                    next_action="dx-fleet audit flush",
                )


def _used_bytes(connection: sqlite3.Connection) -> int:
    def pragma(name: str) -> int:
        return int(connection.execute(f"PRAGMA {name}").fetchone()[0])

    return (pragma("page_count") - pragma("freelist_count")) * pragma("page_size")
