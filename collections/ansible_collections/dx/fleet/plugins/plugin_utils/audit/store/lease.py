# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who delivers: one process of this machine at a time.

A lock of the kernel's (flock), so it ends with its holder, however that ends. It belongs to an open file, so
whoever starts the deliverer hands it over with the start: at no moment could two be started.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

__all__ = ["Lease"]

WANTED_S = 2.0


class Lease:
    """The right to deliver an outbox.

    Args:
        outbox: The outbox's file; the lock file lies beside it.
        fd: A descriptor of the lock file that another process has locked and handed over.
    """

    def __init__(self, outbox: Path, fd: int | None = None) -> None:
        self._path = outbox.with_name("deliver.lock")
        self._wanted = outbox.with_name("deliver.wanted")
        self._fd = fd
        if fd is not None:
            os.set_inheritable(fd, False)

    @property
    def fd(self) -> int | None:
        """The locked descriptor, for a program that it is handed over to; None where it is not held."""
        return self._fd

    def take(self) -> bool:
        """Take it, if nobody has it. True where it is held then.

        Raises:
            OSError: The file can't be opened.
        """
        if self._fd is not None:
            return True
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return False
        except BaseException:
            os.close(fd)
            raise
        self._fd = fd
        return True

    def ask_for(self) -> None:
        """Ask whoever has it to give it back: for a person who wants to deliver now, and can't wait.

        Raises:
            OSError: That can't be written down.
        """
        self._wanted.touch(0o600)

    def is_wanted(self) -> bool:
        """Whether somebody has asked for it just now."""
        try:
            return time.time() - self._wanted.stat().st_mtime < WANTED_S
        except FileNotFoundError:
            return False

    def give_back(self) -> None:
        """Let others have it; a program to which it was handed over keeps it."""
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)
