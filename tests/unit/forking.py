# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Forked children of a test's own process, as Ansible's workers are."""

from __future__ import annotations

import os
import posix
import signal
import sys

__all__ = ["fork"]

LIFE_S = 60


def fork() -> int:
    """Like :func:`os.fork`; a child that hangs dies of SIGALRM, and its parent sees that it did.

    The coverage of a child is not measured, nor saved when it ends: a lock of the measuring could be held by
    another thread of its parent, and would then be so for good.
    """
    pid = os.fork()
    if pid == 0:
        sys.settrace(None)
        os._exit = posix._exit
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(LIFE_S)
    return pid
