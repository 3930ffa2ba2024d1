# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Clocks for tests: time that passes only when the code under test sleeps, and the time of another with leaps in it."""

from __future__ import annotations

import asyncio

from ansible_collections.dx.fleet.plugins.plugin_utils.domain.clock import SYSTEM_CLOCK, Clock

__all__ = ["Leaps", "ManualClock"]


class ManualClock:
    """A clock that goes on only where somebody sleeps by it. ``slept_s`` is how long was slept in all."""

    def __init__(self, started_at: float = 1_000_000.0) -> None:
        self.now = started_at
        self.slept_s = 0.0

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        """Let the others run; the time goes on by itself."""
        self.slept_s += seconds
        self.now += seconds
        await asyncio.sleep(0)

    def block(self, seconds: float) -> None:
        self.slept_s += seconds
        self.now += seconds


class Leaps:
    """The time of another clock, and leaps forward in it."""

    def __init__(self, clock: Clock = SYSTEM_CLOCK) -> None:
        self._clock = clock
        self._ahead_s = 0.0

    def leap(self, seconds: float) -> None:
        """So much time has passed."""
        self._ahead_s += seconds

    def time(self) -> float:
        return self._clock.time() + self._ahead_s

    def monotonic(self) -> float:
        return self._clock.monotonic() + self._ahead_s

    async def sleep(self, seconds: float) -> None:
        await self._clock.sleep(seconds)

    def block(self, seconds: float) -> None:
        self._clock.block(seconds)
