# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How progress gets from a worker process to the screen while its task still runs.

A datagram socket pair, opened in the controller before Ansible forks its workers and inherited by them.
Without an open bus (plain ansible-playbook) a line goes through Ansible's display.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict

from ..domain.progress import Progress

__all__ = ["ProgressBus", "is_open", "open_bus", "send"]

CLOSING_NOTICED_S = 0.05

_sender: socket.socket | None = None


class ProgressBus:
    """The controller's end."""

    def __init__(self, receiver: socket.socket, sender: socket.socket) -> None:
        self._receiver = receiver
        self._sender = sender
        self._receiver.settimeout(CLOSING_NOTICED_S)
        self._closing = False

    def receive(self) -> Progress | None:
        """The next progress, waiting for it; None once the bus is closed and empty."""
        while True:
            closing = self._closing  # read before the socket: what is sent until then is still received
            try:
                data = self._receiver.recv(65536)
            except TimeoutError:
                if closing:
                    return None
                continue
            return Progress(**json.loads(data)) if data else None  # the empty one came after all others

    def close(self) -> None:
        """Let :meth:`receive` end, after all that was sent."""
        self._closing = True
        with suppress(OSError):  # a full bus must hold nobody: what reads it notices soon
            self._sender.send(b"")


@contextmanager
def open_bus() -> Iterator[ProgressBus]:
    """Open the bus for all workers that are forked meanwhile."""
    global _sender
    receiver, sender = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    sender.setblocking(False)
    _sender = sender
    bus = ProgressBus(receiver, sender)
    try:
        yield bus
    finally:
        _sender = None
        bus.close()
        sender.close()


def is_open() -> bool:
    """Whether a bus was open when this process began."""
    return _sender is not None


def send(progress: Progress) -> None:
    """Send one progress; it is dropped where nobody reads fast enough: a worker never waits for a screen."""
    if _sender is None:
        return
    try:
        _sender.send(json.dumps(asdict(progress)).encode())
    except OSError:
        return
