# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who delivers: one process of this machine at a time.

A lock of the kernel's, so it ends with its holder, however that ends. A POSIX record lock and not flock:
workers that are forked from the holder don't have it, and so don't keep it when they outlive it.
"""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path

__all__ = ["Lease"]

# Record locks are a process', so two holders in one process would not see each other.
_held: dict[tuple[int, str], Lease] = {}
_changing = threading.Lock()


class Lease:
    """The right to deliver an outbox.

    Args:
        path: The lock file, beside the outbox.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd: int | None = None

    def take(self) -> bool:
        """Take it, if nobody has it. True where it is held then.

        Raises:
            OSError: The file can't be opened.
        """
        key = (os.getpid(), str(self._path))
        with _changing:
            holder = _held.get(key)
            if holder is not None:
                return holder is self
            # Closing any descriptor of the file would end the process' lock on it, so there is only one.
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError):  # either is said of a lock that another has
                os.close(fd)
                return False
            _held[key] = self
            self._fd = fd
            return True

    def give_back(self) -> None:
        """Let others have it."""
        key = (os.getpid(), str(self._path))
        with _changing:
            if _held.get(key) is self and self._fd is not None:
                del _held[key]
                os.close(self._fd)
                self._fd = None
