# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which address each VM gets: its own loopback address and OpenCode's usual port, or whatever is free."""

from __future__ import annotations

import fcntl
import os
import socket
import tempfile
from collections.abc import Sequence
from pathlib import Path

__all__ = ["PORT", "Addresses"]

PORT = 4105
SSH_PORT = 2222
_FIRST = 11
_PLACES = 100
_FIRST_PORT = 15000
_PORTS = 100


class Addresses:
    """The addresses of one lab among all that run on this machine.

    Each lab takes a place, the first that is free; a file lock per place says which are, and ends with its
    process. In the first place are the addresses 127.0.0.11, .12, ... port 4105. The others, and a machine
    that has 127.0.0.1 only (macOS), have a hundred ports of 127.0.0.1 each: no two labs ever try the same.
    """

    def __init__(self, locks: Path | None = None) -> None:
        self._place, self._lock = _take(locks or Path(tempfile.gettempdir()))
        # Below those that the system gives to outgoing connections, so that none of them takes a port while
        # its server is down.
        first = _FIRST_PORT + self._place * _PORTS
        self._ports = iter(range(first, first + _PORTS))

    def choose(self, vms: Sequence[str]) -> dict[str, tuple[str, int]]:
        """VM -> host and port, by its place in the list."""
        return {vm: self._choose(f"127.0.0.{_FIRST + place}") for place, vm in enumerate(vms)}

    def port(self) -> int:
        """A free port of 127.0.0.1 that no other lab uses."""
        for port in self._ports:
            if _can_bind("127.0.0.1", port):
                return port
        raise OSError("no free port of 127.0.0.1")

    def beside(self, host: str) -> tuple[str, int]:
        """Host and port for another server of the VM that has that host."""
        if host != "127.0.0.1" and _can_bind(host, SSH_PORT):
            return host, SSH_PORT
        return "127.0.0.1", self.port()

    def release(self) -> None:
        """Let another lab have the addresses."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _choose(self, host: str) -> tuple[str, int]:
        if self._place == 0 and _can_bind(host, PORT):
            return host, PORT
        return "127.0.0.1", self.port()


def _take(locks: Path) -> tuple[int, int | None]:
    """The number of the first free place, and what holds it."""
    for place in range(_PLACES):
        if (lock := _locked(locks / f"dx-lab-{place}.lock")) is not None:
            return place, lock
    raise OSError(f"{_PLACES} labs run here already, or {locks} is not to be written to")


def _locked(path: Path) -> int | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CREAT, 0o666)
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
