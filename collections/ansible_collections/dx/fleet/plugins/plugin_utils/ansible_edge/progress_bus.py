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
from dataclasses import replace

from ..domain.progress import ProgressEvent
from ..text.printable import shortened

__all__ = ["ProgressBus", "is_open", "open_bus", "send"]

CLOSING_NOTICED_S = 0.05
MAX_DATAGRAM = 60_000  # bytes; the receiver reads a little more, so that one that is too long is noticed
FIELD_WIDTH = 500  # characters of each field of an event that is too long

_sender: socket.socket | None = None


class ProgressBus:
    """The controller's end."""

    def __init__(self, receiver: socket.socket, sender: socket.socket) -> None:
        self._receiver = receiver
        self._sender = sender
        self._receiver.settimeout(CLOSING_NOTICED_S)
        self._closing = False

    def receive(self) -> ProgressEvent | None:
        """Wait for the next event; None once the bus is closed and empty. What is no event is skipped."""
        while True:
            closing = self._closing  # read before the socket: what is sent until then is still received
            try:
                data = self._receiver.recv(MAX_DATAGRAM + 1)
            except TimeoutError:
                if closing:
                    return None
                continue
            if not data:
                return None  # the empty one came after all others
            if (event := _event_in(data)) is not None:
                return event

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


def send(event: ProgressEvent) -> None:
    """Send one event; it is dropped where nobody reads fast enough: a worker never waits for a screen."""
    if _sender is None:
        return
    data = _datagram(event)
    if len(data) > MAX_DATAGRAM:
        fields = {name: shortened(str(value), FIELD_WIDTH) for name, value in event.fields.items()}
        data = _datagram(replace(event, fields=fields))
    with suppress(OSError):
        _sender.send(data)


def _datagram(event: ProgressEvent) -> bytes:
    return json.dumps(event.as_dict()).encode()


def _event_in(data: bytes) -> ProgressEvent | None:
    """The event in a datagram; None where it was cut off, or comes from another version of this code."""
    try:
        return ProgressEvent.from_dict(json.loads(data))
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
