# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A lock of ours per bead, held around "look, then write".

`bd update --claim` excludes other actors, never another dispatch of the same actor (bd 1.0 to 1.2: four of
four "win"). The kernel holds this lock and lets go of it when the holder dies, however it dies.
"""

from __future__ import annotations

import hashlib
import os
import typing as t
from contextlib import ExitStack, contextmanager

from ..file_lock import Held, file_lock
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
        The descriptor that holds it. Who inherits that (a server that bd starts) holds the lock as well.

    Raises:
        LockBusy: It is held by another process, which is named.
        WorkspaceUnusable: The lock can't be made there.
    """
    path = os.path.join(own_folder(workspace), hashlib.sha256(bead.encode()).hexdigest()[:24] + ".lock")
    with ExitStack() as stack:
        try:
            descriptor = stack.enter_context(file_lock(path, holder, timeout_s))
        except OSError as error:  # also a file system without locks
            raise unusable(path, error) from error
        except Held as held:
            raise LockBusy(
                f"{bead} is locked by {held} for more than {timeout_s:g} s",
                "wait for it, or see what that process does",
            ) from None
        yield descriptor
