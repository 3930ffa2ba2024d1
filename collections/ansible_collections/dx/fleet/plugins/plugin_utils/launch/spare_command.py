# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A process that has imported what a command of ours needs before there is one, and waits for its words.

A stop that is asked for in Slack begins 0.6 s earlier so, and 1.5 s on a machine whose cores are all busy.
The process reads Ansible's configuration when it begins; what else is configured, when it gets its words. One
that has read what was changed since, as has one of an older installation of this collection, runs nothing.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from .ansible_settings import config_file

__all__ = ["SpareCommand", "wait_for_words"]

_ENTRY = "from ansible_collections.dx.fleet.plugins.plugin_utils.cli.entry import spare_main; spare_main()"
STREAMS = 3  # standard input, output and error are the first descriptors that come with the words
MOST_FDS = 8
GIVE_S = 1.0  # longest for words that fill the socket, while they are not read


class SpareCommand:
    """The process, from its start on. It ends when this one does, unless it was given a command."""

    def __init__(self) -> None:
        self._read = _versions()
        self._socket, theirs = socket.socketpair()
        self._socket.settimeout(GIVE_S)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _ENTRY, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )

    def give(
        self, program: str, words: Sequence[str], streams: tuple[int, int, int], kept: Sequence[int]
    ) -> subprocess.Popen[Any] | None:
        """Have it run a command; returns its process, or None where it can't, has ended and runs nothing.

        Args:
            program: ``dx-dispatch`` or ``dx-fleet``.
            words: Those after its name.
            streams: Its standard input, output and error.
            kept: Descriptors that it holds open as long as it lives.
        """
        with self._socket:
            if self._process.poll() is None and self._read == _versions():
                with suppress(OSError):  # half of the words are none: it has not begun
                    socket.send_fds(self._socket, [b"\0"], [*streams, *kept])
                    self._socket.sendall(json.dumps([program, *words]).encode())
                    return self._process
            self._process.kill()
            self._process.wait()
            return None


def _versions() -> list[tuple[str, int, int] | None]:
    """Which files a process that begins now has read: Ansible's configuration, and this code."""
    found: list[tuple[str, int, int] | None] = []
    for path in (config_file(os.environ), Path(__file__)):
        try:
            seen = path.stat()
            found.append((str(path), seen.st_ino, seen.st_mtime_ns))
        except OSError:
            found.append(None)
    return found


def wait_for_words(descriptor: int) -> list[str] | None:
    """In the process itself: the program and its words, with the standard streams that came with them.

    Args:
        descriptor: The socket to whoever began this process.

    Returns:
        None where that one has died, or has no command.
    """
    with socket.socket(fileno=descriptor) as giver:
        _, descriptors, _, _ = socket.recv_fds(giver, 1, MOST_FDS)
        written = b"".join(iter(lambda: giver.recv(1 << 16), b""))
    try:
        words = [str(word) for word in json.loads(written)]
    except ValueError:
        return None  # what begins to come and does not end was cut off by the death of the giver
    for each in descriptors:
        os.set_inheritable(each, False)
    for number, stream in enumerate(descriptors[:STREAMS]):
        os.dup2(stream, number)
        os.close(stream)
    return words
