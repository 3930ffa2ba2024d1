# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An event loop whose time passes only when nobody has anything to do: hours of waiting take no time at all."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

__all__ = ["LoopClock", "VirtualTime", "run"]

T = TypeVar("T")


class _Asleep(selectors.SelectSelector):
    """Never waits: the loop's time goes on instead."""

    loop: _VirtualLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("everybody waits for somebody else")
        self.loop.now += max(timeout, 0)
        return super().select(0)


class _VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        selector = _Asleep()
        selector.loop = self
        self.now = 0.0
        super().__init__(selector)

    def time(self) -> float:
        return self.now


class LoopClock:
    """The clock of such a loop."""

    def time(self) -> float:
        return 1_800_000_000 + self.monotonic()

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def block(self, seconds: float) -> None:
        raise AssertionError("nothing blocks an event loop")


class VirtualTime(asyncio.DefaultEventLoopPolicy):
    """For the fixture ``event_loop_policy``: asynchronous tests in such loops."""

    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        return _VirtualLoop()


def run(work: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that uses no real sockets."""
    with asyncio.Runner(loop_factory=_VirtualLoop) as runner:
        return runner.run(work)
