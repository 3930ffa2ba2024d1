# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How large the outbox may grow: what is delivered makes room, what is not is never dropped by itself."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from ...domain.errors import AuditError

__all__ = ["make_room"]

PRUNED_AT_ONCE = 500


def make_room(connection: sqlite3.Connection, path: Path, max_bytes: int) -> None:
    """Drop what is delivered, oldest first, until the file is below its bound.

    Raises:
        AuditError: ``outbox_full``: nothing that is left is delivered.
    """
    while _used_bytes(connection) >= max_bytes:
        dropped = connection.execute(
            "DELETE FROM record WHERE seq IN (SELECT seq FROM record WHERE state = 'delivered'"
            " ORDER BY seq LIMIT ?)",
            (PRUNED_AT_ONCE,),
        ).rowcount
        for table in ("thread", "step"):
            connection.execute(
                f"DELETE FROM {table} WHERE NOT EXISTS ("  # noqa: S608 - our own names
                f" SELECT 1 FROM record r WHERE r.thread_key = {table}.thread_key)"
            )
        if dropped == 0:
            waiting = connection.execute("SELECT count(*) FROM record").fetchone()[0]
            raise AuditError(
                f"{path}: full: {waiting} records wait to be delivered to Slack",
                reason_code="outbox_full",
                next_action="dx-fleet audit flush",
            )


def _used_bytes(connection: sqlite3.Connection) -> int:
    def pragma(name: str) -> int:
        return int(connection.execute(f"PRAGMA {name}").fetchone()[0])

    return (pragma("page_count") - pragma("freelist_count")) * pragma("page_size")
