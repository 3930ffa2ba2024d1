# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The event stream of one server: kept up, and doubted as long as it is new."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...domain.clock import Clock
from ...opencode.client import OpenCode
from ...opencode.errors import OpenCodeError
from . import pace

__all__ = ["Stream"]


class Stream:
    """Passes on the events of a server, over all breaks.

    Args:
        server: The server.
        event: Called with the type and the properties of each.
        gap: Called when events may have been missed: state is to be read again.
        clock: The time.
    """

    def __init__(
        self,
        server: OpenCode,
        event: Callable[[str, dict[str, Any]], None],
        gap: Callable[[], None],
        clock: Clock,
    ) -> None:
        self._server = server
        self._event = event
        self._gap = gap
        self._clock = clock
        self._deaf_until = 0.0

    def is_deaf(self) -> bool:
        """Whether it is too new to be relied upon: events may be lost till the first one comes."""
        return self._clock.monotonic() < self._deaf_until

    async def follow(self) -> None:
        """Run for ever."""
        pause_s = pace.RECONNECT_S
        while True:
            heard = False
            try:
                async with self._server.events(pace.STREAM_SILENCE_S) as events:
                    async for event in events:
                        heard = self._take(event) or heard
            except OpenCodeError:
                pass  # what it means for the sessions is decided by the looks, which fail as well
            # A stream that closes as soon as it is open is none.
            pause_s = pace.RECONNECT_S if heard else pause_s
            self._gap()
            await self._clock.sleep(pause_s)
            pause_s = min(pause_s * 2, pace.RECONNECT_MOST_S)

    def _take(self, event: dict[str, Any]) -> bool:
        """Pass an event on; whether it was more than the greeting."""
        payload = event.get("payload")
        if not isinstance(payload, dict) or payload.get("type") == "sync":  # each durable event comes twice
            return False
        kind, properties = str(payload.get("type")), payload.get("properties")
        if kind == "server.connected":
            self._deaf_until = self._clock.monotonic() + pace.DEAF_S
            self._gap()
        elif self.is_deaf():  # no longer; what it missed until now was for any of them
            self._deaf_until = 0.0
            self._gap()
        if isinstance(properties, dict):
            self._event(kind, properties)
        return kind != "server.connected"
