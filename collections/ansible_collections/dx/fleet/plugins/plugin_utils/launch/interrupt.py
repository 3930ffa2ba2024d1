# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ctrl-C while a playbook runs in this process.

What Ansible does of itself (2.19) ends well only most of the time. Its KeyboardInterrupt is swallowed where
it comes in the middle of a fork, its handler trips over a worker that it has closed already, and a worker
that it ends in the middle of handing over a result keeps the lock for which the clean-up then waits for ever.
So nothing is raised and nothing cleaned up: the last words are said, and the process ends there and then. A
worker that is only being born, and can't be named yet, notices that by itself (see ``ansible_action``).
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["leaving_by", "take_over"]

_leave: Callable[[], int] | None = None
_owner = 0


@contextmanager
def leaving_by(leave: Callable[[], int]) -> Iterator[None]:
    """Have Ctrl-C end this process; afterwards it is ignored, since all that is left to do is to report.

    Args:
        leave: Says the last words, and returns the exit code.
    """
    global _leave, _owner
    _leave, _owner = leave, os.getpid()
    take_over()
    try:
        yield
    finally:
        _leave = None
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def take_over() -> None:
    """Take SIGINT from Ansible, which sets a handler of its own when a run begins."""
    if _leave is not None:
        signal.signal(signal.SIGINT, _interrupted)


def _interrupted(_number: int, _frame: FrameType | None) -> None:
    if os.getpid() != _owner or _leave is None:  # a worker that has no handler of its own yet
        os._exit(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    code = 1
    try:
        code = _leave()
        sys.stdout.flush()
        _end_workers()
    finally:
        os._exit(code)


def _end_workers() -> None:
    workers = multiprocessing.active_children()
    for worker in workers:
        worker.kill()
    for worker in workers:
        worker.join(1)
