# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ctrl-C while a playbook runs in this process, and SIGTERM and SIGHUP, which mean the same.

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
from typing import TextIO

from ..config.folders import runtime_folder
from ..opencode.forward import remove_left_sockets

__all__ = ["leaving_by", "take_over"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_leave: Callable[[], int] | None = None
_owner = 0
_stdout: TextIO | None = None
_ignored: tuple[signal.Signals, ...] = ()


@contextmanager
def leaving_by(leave: Callable[[], int]) -> Iterator[None]:
    """Have Ctrl-C end this process; afterwards it is ignored, since all that is left to do is to report.

    What whoever started it has ignored stays so: nohup, for SIGHUP.

    Args:
        leave: Says the last words on standard output, and returns the exit code.
    """
    global _leave, _owner, _stdout, _ignored
    _leave, _owner, _stdout = leave, os.getpid(), sys.stdout
    _ignored = tuple(each for each in _SIGNALS[1:] if signal.getsignal(each) is signal.SIG_IGN)
    take_over()
    try:
        yield
    finally:
        _leave = None
        _set(signal.SIG_IGN)


def take_over() -> None:
    """Take the signals from Ansible, which sets handlers of its own when a run begins."""
    if _leave is not None:
        _set(_interrupted)


def _set(handler: Callable[[int, FrameType | None], None] | signal.Handlers) -> None:
    for each in _SIGNALS:
        if each not in _ignored:
            signal.signal(each, handler)


def _interrupted(_number: int, _frame: FrameType | None) -> None:
    if os.getpid() != _owner or _leave is None:  # a worker that has no handler of its own yet
        os._exit(1)
    _set(signal.SIG_IGN)
    code = 1
    try:
        sys.stdout = _stdout  # it may be another one while Ansible runs
        code = _leave()
        _end_workers()
    finally:
        os._exit(code)


def _end_workers() -> None:
    workers = multiprocessing.active_children()
    for worker in workers:
        worker.kill()
    for worker in workers:
        worker.join(1)
    remove_left_sockets(runtime_folder(os.environ))
