# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An outbox that another process holds, and how long an event loop stands still meanwhile."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ansible_collections.dx.fleet.plugins.plugin_utils.audit.store.database import PATIENCE_S
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.store.outbox import Outbox

__all__ = ["BLOCKED_S", "holding", "longest_stop"]

BLOCKED_S = (
    PATIENCE_S / 2
)  # a loop that waits for the outbox stands still for the whole of it; a busy machine does not


@contextmanager
def holding(outbox: Outbox) -> Iterator[Callable[[], None]]:
    """A writer that does not end until it is released."""
    other = sqlite3.connect(outbox.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    def release() -> None:
        if other.in_transaction:
            other.execute("ROLLBACK")

    try:
        yield release
    finally:
        release()
        other.close()


async def longest_stop(for_s: float) -> float:
    """The longest time in which the running loop did nothing, in seconds."""
    longest, before = 0.0, time.monotonic()
    end = before + for_s
    while before < end:
        await asyncio.sleep(0.005)
        now = time.monotonic()
        longest, before = max(longest, now - before), now
    return longest
