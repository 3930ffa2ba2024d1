# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A file that one process at a time holds; the kernel lets go of it when the holder dies, however it dies."""

from __future__ import annotations

import fcntl
import json
import os
import time
import typing as t
from contextlib import contextmanager, suppress

__all__ = ["Held", "file_lock"]


class Held(Exception):
    """Another process holds the lock; the text names it."""


@contextmanager
def file_lock(path: str, holder: str, timeout_s: float, mode: int = 0o660) -> t.Iterator[int]:
    """Hold a lock file, which is made if it is not there.

    Args:
        path: The file. It stays: to remove a lock file is to let two processes lock two files of one name.
        holder: Who wants it, for whoever waits meanwhile.
        timeout_s: Longest wait, in seconds.
        mode: Of a new file.

    Yields:
        The descriptor that holds it. Who inherits that holds the lock as well.

    Raises:
        Held: It is held by another process for longer than that.
        OSError: It can't be made, or the file system has no locks.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, mode)
    try:
        _acquire(descriptor, timeout_s)
        with suppress(OSError):  # a full disk: who holds it is only for those who wait
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps({"holder": holder, "pid": os.getpid()}).encode(), 0)
        try:
            yield descriptor
        finally:
            # Not only closed: whoever inherited it may live on.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        os.close(descriptor)


def _acquire(descriptor: int, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    pause_s = 0.01
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise Held(_holder(descriptor)) from None
        time.sleep(pause_s)
        pause_s = min(pause_s * 2, 0.2)


def _holder(descriptor: int) -> str:
    try:
        data = json.loads(os.pread(descriptor, 4096, 0))
        return f"{data['holder']} (pid {data['pid']})"
    except (ValueError, KeyError, TypeError, OSError):
        return "another process"
