# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the listener heard and what it did about it: a SQLite file, so that each act has exactly one effect.

An act is kept before Slack gets its acknowledgement, and is done after that. Its ``key`` makes a second
delivery of the same act known. What it shall do is decided once, and kept as its ``plan`` before it is begun:
a listener that dies in the middle is followed by one that carries out the same plan, whose steps may be
repeated.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..audit.store.database import Database
from ..domain.clock import SYSTEM_CLOCK
from .acts import Act, Click, Message, NativeStop, Slash

__all__ = ["Entry", "Inbox"]

# Slack delivers again for some six minutes, and the history is read from the mark on.
KEPT_S = 7 * 86400.0
# Messages may arrive in another order than they were written in, and a listener may die between two of them.
OVERLAP_S = 600.0

_SCHEMA = """
CREATE TABLE IF NOT EXISTS act (
    key TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    act TEXT NOT NULL,
    heard REAL NOT NULL,
    plan TEXT,
    effect TEXT
);
CREATE TABLE IF NOT EXISTS mark (channel TEXT PRIMARY KEY, ts TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS first_mark (channel TEXT PRIMARY KEY, ts TEXT NOT NULL);
"""

_KINDS: Mapping[str, type[Act]] = {
    "message": Message,
    "click": Click,
    "native_stop": NativeStop,
    "slash": Slash,
}


@dataclass(frozen=True)
class Entry:
    """An act that has not had its whole effect yet. ``plan`` is None until it is decided what to do."""

    act: Act
    heard: float
    plan: Mapping[str, Any] | None = None


class Inbox:
    """The acts, in the order in which they were heard.

    Args:
        path: The file.
        now: Unix time in seconds.

    Every method raises :class:`AuditError` where the file can't be used.
    """

    def __init__(self, path: Path, now: Callable[[], float] = SYSTEM_CLOCK.time) -> None:
        self._database = Database(path, _SCHEMA, 1)
        self._now = now

    def keep(self, act: Act) -> bool:
        """Keep an act; it survives a loss of power. False where it is known already."""
        kind = next(name for name, type_ in _KINDS.items() if isinstance(act, type_))
        row = (act.key, kind, json.dumps(asdict(act)), self._now())

        def insert(connection: sqlite3.Connection) -> bool:
            connection.execute(
                "DELETE FROM act WHERE effect IS NOT NULL AND heard < ?", (self._now() - KEPT_S,)
            )
            return (
                connection.execute(
                    "INSERT OR IGNORE INTO act (key, kind, act, heard) VALUES (?, ?, ?, ?)", row
                ).rowcount
                == 1
            )

        return self._database.write(insert, durable=True)

    def unfinished(self) -> list[Entry]:
        """What was heard and has not had its whole effect, the oldest first."""
        rows = self._database.read(
            lambda connection: connection.execute(
                "SELECT kind, act, heard, plan FROM act WHERE effect IS NULL ORDER BY rowid"
            ).fetchall()
        )
        return [
            Entry(_KINDS[kind](**json.loads(act)), heard, json.loads(plan) if plan else None)
            for kind, act, heard, plan in rows
        ]

    def decide(self, key: str, plan: Mapping[str, Any]) -> Mapping[str, Any]:
        """Keep what an act shall do, and return what was kept first: a plan is decided once."""

        def update(connection: sqlite3.Connection) -> str:
            connection.execute(
                "UPDATE act SET plan = ? WHERE key = ? AND plan IS NULL", (json.dumps(plan), key)
            )
            kept: str = connection.execute("SELECT plan FROM act WHERE key = ?", (key,)).fetchone()[0]
            return kept

        found: Mapping[str, Any] = json.loads(self._database.write(update, durable=True))
        return found

    def finish(self, key: str, effect: Mapping[str, Any]) -> None:
        """The act has had its effect, or is ignored: it is never done again."""
        self._database.write(
            lambda connection: connection.execute(
                "UPDATE act SET effect = ? WHERE key = ? AND effect IS NULL", (json.dumps(effect), key)
            ),
            durable=True,
        )

    def begin_at(self, channel: str, ts: str) -> None:
        """Nobody has listened to this channel before: what was written until this message is not for us."""

        def insert(connection: sqlite3.Connection) -> None:
            for table in ("first_mark", "mark"):
                statement = f"INSERT OR IGNORE INTO {table} (channel, ts) VALUES (?, ?)"  # noqa: S608
                connection.execute(statement, (channel, ts))

        self._database.write(insert, durable=True)

    def heard_until(self, channel: str) -> str | None:
        """From which message on the channel's history is read after a pause; None where nobody listened yet.

        That is some minutes before the last message that was heard: what is read twice is known by its key.
        """
        row = self._database.row("SELECT ts FROM mark WHERE channel = ?", channel)
        if row is None:
            return None
        first = self._database.row("SELECT ts FROM first_mark WHERE channel = ?", channel)
        return max(f"{float(row[0]) - OVERLAP_S:.6f}", first[0] if first else "0", key=float)

    def set_mark(self, channel: str, ts: str) -> None:
        """The channel has been heard until this message; an older one changes nothing."""
        self._database.write(
            lambda connection: connection.execute(
                "INSERT INTO mark (channel, ts) VALUES (?, ?)"
                " ON CONFLICT (channel) DO UPDATE SET ts = excluded.ts"
                " WHERE CAST(excluded.ts AS REAL) > CAST(mark.ts AS REAL)",
                (channel, ts),
            )
        )
