# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which address each VM gets: its own loopback address and OpenCode's usual port, or whatever is free."""

from __future__ import annotations

import fcntl
import os
import random
import socket
import tempfile
from collections.abc import Sequence
from pathlib import Path

__all__ = ["PORT", "Addresses", "free_port"]

PORT = 4105
_FIRST = 11
_FREE_PORTS = range(15000, 32000)


class Addresses:
    """The addresses 127.0.0.11, .12, ... port 4105, as far as they are free.

    Only one lab at a time has them; a file lock says which, and ends with its process. Another lab, or a
    machine that has 127.0.0.1 only (macOS), gets free ports of 127.0.0.1.
    """

    def __init__(self, lock: Path | None = None) -> None:
        self._lock = _take(lock or Path(tempfile.gettempdir()) / f"dx-lab-{PORT}.lock")

    def choose(self, vms: Sequence[str]) -> dict[str, tuple[str, int]]:
        """VM -> host and port, by its place in the list."""
        return {vm: self._choose(f"127.0.0.{_FIRST + place}") for place, vm in enumerate(vms)}

    def release(self) -> None:
        """Let another lab have the addresses."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _choose(self, host: str) -> tuple[str, int]:
        if self._lock is not None and _can_bind(host, PORT):
            return host, PORT
        return "127.0.0.1", free_port()


def free_port() -> int:
    """A port of 127.0.0.1 that nobody uses now.

    It is below those that the system gives to outgoing connections, so that none of them takes it while a
    server is down.
    """
    for port in random.sample(_FREE_PORTS, 200):
        if _can_bind("127.0.0.1", port):
            return port
    raise OSError("no free port of 127.0.0.1")


def _take(lock: Path) -> int | None:
    try:
        descriptor = os.open(lock, os.O_RDONLY | os.O_CREAT, 0o666)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _can_bind(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError:
            return False
    return True
