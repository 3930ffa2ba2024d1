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
from contextlib import contextmanager
from dataclasses import asdict

from .progress import Progress

__all__ = ["ProgressBus", "is_open", "open_bus", "send"]

_sender: socket.socket | None = None


class ProgressBus:
    """The controller's end. ``closed`` bus: :meth:`receive` returns None."""

    def __init__(self, receiver: socket.socket) -> None:
        self._receiver = receiver

    def receive(self) -> Progress | None:
        """The next progress, waiting for it; None once the bus is closed."""
        datagram = self._receiver.recv(65536)
        return Progress(**json.loads(datagram)) if datagram else None


@contextmanager
def open_bus() -> Iterator[ProgressBus]:
    """Open the bus for all workers that are forked meanwhile."""
    global _sender
    receiver, sender = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    sender.setblocking(False)
    _sender = sender
    try:
        yield ProgressBus(receiver)
    finally:
        _sender = None
        sender.setblocking(True)
        sender.send(b"")  # an empty datagram ends the receiver's loop
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
    except (BlockingIOError, OSError):
        return
