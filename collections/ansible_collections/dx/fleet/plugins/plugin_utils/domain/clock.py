# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Time as a port: whoever decides by the time takes a clock, which is the system's or a test's."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol

__all__ = ["SYSTEM_CLOCK", "Clock"]


class Clock(Protocol):
    """What decides by the time asks this. All of it is in seconds."""

    def time(self) -> float:
        """The wall clock, since the epoch: for what outlives this process or is compared with other hosts."""
        ...

    def monotonic(self) -> float:
        """A clock that only goes forward, from any start: for how long something takes."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Pause this task; the others go on."""
        ...

    def block(self, seconds: float) -> None:
        """Pause this thread and all in it: only where no event loop runs."""
        ...


class SystemClock:
    """The clock of this machine."""

    def time(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def block(self, seconds: float) -> None:
        time.sleep(seconds)


SYSTEM_CLOCK: Clock = SystemClock()
