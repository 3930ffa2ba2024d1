# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An independent witness: when a server itself said that something happened."""

from __future__ import annotations

import json
import threading
import time
from types import TracebackType
from typing import Any, Self

import httpx

__all__ = ["Witness"]


class Witness:
    """Listens to `/global/event` of one server in a thread and notes when what was heard.

    ``created`` and ``idle`` are wall-clock seconds by session.
    """

    def __init__(self, url: str) -> None:
        self.created: dict[str, float] = {}
        self.idle: dict[str, float] = {}
        self._url = url
        self._connected = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._connected.wait(30):
            raise RuntimeError(f"{self._url} sends no events")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping = True  # the next heartbeat, within 10 s, ends the thread; it is a daemon

    def _listen(self) -> None:
        try:
            self._follow()
        except httpx.HTTPError:
            if not self._stopping:  # else the server ended with the lab
                raise

    def _follow(self) -> None:
        with httpx.stream("GET", f"{self._url}/global/event", timeout=None) as response:
            for line in response.iter_lines():
                if self._stopping:
                    return
                if line.startswith("data:"):
                    self._take(json.loads(line[5:]).get("payload") or {}, time.time())

    def _take(self, payload: dict[str, Any], now: float) -> None:
        kind, properties = payload.get("type"), payload.get("properties") or {}
        if kind == "server.connected":
            self._connected.set()
        elif kind == "session.created":
            self.created.setdefault(properties["info"]["id"], now)
        elif kind == "session.idle":
            self.idle.setdefault(properties["sessionID"], now)
