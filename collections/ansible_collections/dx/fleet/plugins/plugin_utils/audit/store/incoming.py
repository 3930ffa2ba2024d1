# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where an event waits while another process holds the database: a file for each, in a folder beside it.

Whoever records may be an event loop that serves many sessions, so it never waits for a lock. The next process
that gets the database takes the files in, in their order.
"""

from __future__ import annotations

import itertools
import json
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..facts.event import AuditEvent

__all__ = ["Incoming", "Waiting"]

_numbers = itertools.count()


@dataclass(frozen=True)
class Waiting:
    """An event in the folder, and the channel in which it is to be posted."""

    path: Path
    event: AuditEvent
    channel: str


class Incoming:
    """The events that wait for the database.

    Args:
        folder: Made with the first of them, for this user alone.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, event: AuditEvent, channel: str, *, durable: bool) -> None:
        """Keep an event; where it is durable, it survives a loss of power when this returns.

        Raises:
            OSError: The folder can't be written.
        """
        self._folder.mkdir(mode=0o700, exist_ok=True)
        name = f"{time.time_ns():020d}-{os.getpid()}-{next(_numbers)}"
        written = self._folder / f".{name}"
        data = json.dumps({"channel": channel, "event": event.as_dict()}).encode()
        fd = os.open(written, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, data)
            if durable:
                os.fsync(fd)
        finally:
            os.close(fd)
        written.rename(self._folder / f"{name}.json")
        if durable:
            self._sync_folder()

    def waiting(self) -> list[Waiting]:
        """The events that wait, in their order. A file that is none of ours is set aside."""
        return [found for path in self._files() if (found := self._read(path)) is not None]

    def taken(self, waiting: Iterable[Waiting]) -> None:
        """These are in the database now."""
        for one in waiting:
            one.path.unlink(missing_ok=True)

    def _files(self) -> list[Path]:
        try:
            with os.scandir(self._folder) as entries:
                names = sorted(entry.name for entry in entries if entry.name.endswith(".json"))
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            return []  # what is wrong with the folder above, the database says
        return [self._folder / name for name in names]

    def _read(self, path: Path) -> Waiting | None:
        try:
            data = json.loads(path.read_bytes())
            return Waiting(path, AuditEvent.from_dict(data["event"]), str(data["channel"]))
        except FileNotFoundError:  # another process has taken it in
            return None
        except (ValueError, KeyError, TypeError):
            path.rename(path.with_suffix(".unreadable"))
            return None

    def _sync_folder(self) -> None:
        fd = os.open(self._folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
