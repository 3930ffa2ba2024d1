# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Processes that are forks of one that has imported what they need: that is most of what their start takes."""

from __future__ import annotations

import io
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence

from tests.command import CHECKOUT

__all__ = ["Forked", "Forks", "words_of_fork"]


def words_of_fork() -> list[str]:
    """Fork whenever :class:`Forks` orders it, and say how each ended; returns in the fork, with its words."""
    orders, (woken, wake) = io.FileIO(0, closefd=False), os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    while True:
        ready, _, _ = select.select([orders, woken], [], [])
        if woken in ready:
            os.read(woken, 100)
            _say(os.waitstatus_to_exitcode(os.wait()[1]))
            continue
        order = orders.readline()
        if not order:
            sys.exit()
        pid = os.fork()
        if pid == 0:
            break
        _say(pid)
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    null = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((null, 0), (2, 1)):
        os.dup2(source, target)
    for fd in (null, woken, wake):
        os.close(fd)
    given = json.loads(order)
    os.environ.clear()
    os.environ.update(given["env"])
    words: list[str] = given["words"]
    return words


def _say(number: int) -> None:
    os.write(1, f"{number}\n".encode())


class Forked:
    """One of them, used as a :class:`subprocess.Popen`."""

    def __init__(self, forks: Forks) -> None:
        self._forks = forks
        self._code: int | None = None
        self.pid = forks.next_number()

    def poll(self) -> int | None:
        """How it ended; None if it lives."""
        if self._code is None and self._forks.has_number(0):
            self._code = self._forks.next_number()
        return self._code

    def wait(self, timeout_s: float) -> int:
        """How it ended, as soon as it has.

        Raises:
            TimeoutError: It has not.
        """
        if self._code is None and not self._forks.has_number(timeout_s):
            raise TimeoutError(f"process {self.pid} has not ended within {timeout_s} s")
        code = self.poll()
        assert code is not None
        return code

    def send_signal(self, number: signal.Signals) -> None:
        """Nothing if it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)


class Forks:
    """Starts them, one at a time: the one before has ended.

    Args:
        script: Of the process that is forked, which imports and then calls :func:`words_of_fork`.
    """

    def __init__(self, script: str) -> None:
        command = [sys.executable, "-c", script]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self._process = subprocess.Popen(command, cwd=CHECKOUT, bufsize=0, **pipes)

    def start(self, words: Sequence[str], env: Mapping[str, str]) -> Forked:
        """A fork with these words and this environment."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"words": list(words), "env": dict(env)}).encode() + b"\n")
        return Forked(self)

    def has_number(self, timeout_s: float) -> bool:
        """Whether there is a number to be read, as soon as there is."""
        return bool(select.select([self._process.stdout], [], [], timeout_s)[0])

    def next_number(self) -> int:
        """What was said next: the id of a process that was started, or how it ended."""
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())

    def close(self) -> None:
        """End it."""
        self._process.communicate(timeout=30)
