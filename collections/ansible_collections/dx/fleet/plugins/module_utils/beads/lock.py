# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A lock of ours per bead, held around "look, then write".

`bd update --claim` excludes other actors, never another dispatch of the same actor (bd 1.0 to 1.2: four of
four "win"). The kernel holds this lock and lets go of it when the holder dies, however it dies.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
import typing as t
from contextlib import contextmanager, suppress

from .errors import LockBusy
from .workspace import own_folder, unusable

__all__ = ["bead_lock"]


@contextmanager
def bead_lock(workspace: str, bead: str, holder: str, timeout_s: float) -> t.Iterator[int]:
    """Hold the lock of a bead.

    Args:
        workspace: The ``.beads`` folder, which every dispatcher of the workspace shares.
        bead: Its full id.
        holder: Who wants it, for whoever waits meanwhile.
        timeout_s: Longest wait, in seconds.

    Yields:
        The descriptor that holds it. Who inherits that holds the lock as well.

    Raises:
        LockBusy: It is held by another process, which is named.
        WorkspaceUnusable: The lock can't be made there.
    """
    path = os.path.join(own_folder(workspace), hashlib.sha256(bead.encode()).hexdigest()[:24] + ".lock")
    # The file stays: to remove a lock file is to let two processes lock two files of one name.
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o660)
    except OSError as error:
        raise unusable(path, error) from error
    try:
        try:
            _acquire(descriptor, bead, timeout_s)
        except OSError as error:  # a file system without locks
            raise unusable(path, error) from error
        with suppress(OSError):  # a full disk: who holds it is only for those who wait
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps({"holder": holder, "pid": os.getpid()}).encode(), 0)
        try:
            yield descriptor
        finally:
            # Not only closed: a server that bd started for its store may have inherited it, and lives on.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        os.close(descriptor)


def _acquire(descriptor: int, bead: str, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    pause_s = 0.01
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise LockBusy(
                    f"{bead} is locked by {_holder(descriptor)} for more than {timeout_s:g} s",
                    "wait for it, or see what that process does",
                ) from None
        time.sleep(pause_s)
        pause_s = min(pause_s * 2, 0.2)


def _holder(descriptor: int) -> str:
    try:
        data = json.loads(os.pread(descriptor, 4096, 0))
        return f"{data['holder']} (pid {data['pid']})"
    except (ValueError, KeyError, TypeError, OSError):
        return "another process"
