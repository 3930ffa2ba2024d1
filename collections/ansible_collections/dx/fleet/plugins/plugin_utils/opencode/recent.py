# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sessions of a server that may be at work; it keeps all that there ever were."""

from __future__ import annotations

from .client import OpenCode
from .models import Session

__all__ = ["recent_sessions"]

NEWEST = 100
PAGE = 1000
RECENT_MS = 24 * 3600 * 1000.0  # what has not taken a step for a day is no load


async def recent_sessions(server: OpenCode) -> list[Session]:
    """The newest hundred of all directories, and all that took a step within a day of these; newest first.

    Raises:
        OpenCodeError: They can't be read.
    """
    found: list[Session] = []
    cursor: str | None = None
    while True:
        page, cursor = await server.sessions_before(cursor, limit=PAGE)
        found += page
        since = found[0].time.updated - RECENT_MS if found else 0.0
        if cursor is None or not page or page[-1].time.updated < since:
            return [each for rank, each in enumerate(found) if rank < NEWEST or each.time.updated >= since]
