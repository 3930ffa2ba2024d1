# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands of ours that run once each, although whoever started them may be killed.

A command reads and writes files, so that it needs nobody at the other end of a pipe, and it holds a lock
while it lives. Whoever comes after its parent waits for that lock, and reads what the command printed.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import json
import logging
import os
import subprocess
import sys
from collections.abc import Collection, Sequence
from pathlib import Path

from ..domain.clock import SYSTEM_CLOCK, Clock
from .own_command import Document, broken, entry_of, with_options
from .spare_command import SpareCommand

__all__ = ["KeptCommands"]

log = logging.getLogger("dx.fleet.listener")

LOOK_EVERY_S = 0.1
SPARE_AFTER_S = 0.5
"""After a command, so that another spare process takes no time from it, nor from telling what it printed."""


class KeptCommands:
    """The commands whose files are in a folder of this user.

    Args:
        folder: Where the files are; it is made.
        inventory: Of the fleet that the commands are about.
        clock: By which the lock of another process' command is looked at.
        spare: Whether a process is kept ready for the next command; it ends with this one.
    """

    def __init__(
        self, folder: Path, inventory: Path, clock: Clock = SYSTEM_CLOCK, *, spare: bool = False
    ) -> None:
        self._folder = folder
        self._inventory = inventory
        self._clock = clock
        self._keeps_spare = spare
        self._spare: SpareCommand | None = None
        self._keep_spare()

    async def run(
        self, key: str, argv: Sequence[str], *, stdin: str | None = None, prints: bool = False
    ) -> Document:
        """The JSON document that the command printed: it is run unless it has run under this key.

        A command that another process began and that still lives is waited for. One that was killed before it
        had printed its document is run again. Where this is cancelled, the command goes on.

        Args:
            key: Names this run; the same key means the same run.
            argv: ``dx-dispatch`` or ``dx-fleet``, and its words.
            stdin: What it reads, such as the text of a task.
            prints: It prints for people, and only looks; the document's ``text`` is what it printed.

        Raises:
            OSError: The files can't be written.
        """
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = _open(self._file(key, "lock"))
        try:
            while not _locked(lock):
                await self._clock.sleep(LOOK_EVERY_S)
            printed = None if prints else _document(self._file(key, "out"))
            if printed is not None:
                return printed
            child = self._begin(key, argv, stdin, lock)
        finally:
            os.close(lock)  # the command has it now, if it was begun
        code = await _end_of(child)
        asyncio.get_running_loop().call_later(SPARE_AFTER_S, self._keep_spare)
        out = self._file(key, "out")
        if prints:
            return {"text": out.read_text(errors="replace"), "exit_code": code}
        return _document(out) or broken(argv[0], code, _last_line(self._file(key, "err")))

    def forget_all_but(self, keys: Collection[str]) -> None:
        """Delete the files of all other runs; a command that lives goes on without them."""
        kept = {_name(key) for key in keys}
        for path in self._folder.glob("*.*"):
            if path.stem not in kept:
                path.unlink(missing_ok=True)

    def forget(self, key: str) -> None:
        """Delete the files of one run."""
        for kind in ("in", "out", "err", "lock"):
            self._file(key, kind).unlink(missing_ok=True)

    def _keep_spare(self) -> None:
        if not self._keeps_spare or self._spare is not None:
            return
        try:
            self._spare = SpareCommand()
        except OSError as error:  # it only saves time: each command can be begun without
            log.warning("no process is kept ready for the next command: %s", error)

    def _file(self, key: str, kind: str) -> Path:
        return self._folder / f"{_name(key)}.{kind}"

    def _begin(self, key: str, argv: Sequence[str], stdin: str | None, lock: int) -> _Child:
        program, *words = argv
        given, out, err = (_open(self._file(key, kind), os.O_TRUNC) for kind in ("in", "out", "err"))
        ended, end = os.pipe()
        try:
            os.write(given, (stdin or "").encode())
            os.lseek(given, 0, os.SEEK_SET)
            options = with_options(program, words, self._inventory)
            spare, self._spare = self._spare, None
            process = spare.give(program, options, (given, out, err), (lock, end)) if spare else None
            process = process or subprocess.Popen(
                [sys.executable, "-c", entry_of(program), *options],
                stdin=given,
                stdout=out,
                stderr=err,
                pass_fds=(lock, end),
                start_new_session=True,
            )
        except BaseException:
            os.close(ended)
            raise
        finally:
            for each in (given, out, err, end):
                os.close(each)
        return _Child(process, ended)


class _Child:
    """A command, and a pipe at whose other end nobody is when it has ended."""

    def __init__(self, process: subprocess.Popen[bytes], ended: int) -> None:
        self.process = process
        self.ended = ended


async def _end_of(child: _Child) -> int:
    loop, closed = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(child.ended, closed.set)
    try:
        await closed.wait()
    finally:
        loop.remove_reader(child.ended)
        os.close(child.ended)
    return child.process.wait()


def _name(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:32]


def _open(path: Path, flags: int = 0) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | flags, 0o600)


def _locked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _document(path: Path) -> Document | None:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _last_line(path: Path) -> str:
    lines = path.read_text(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "without a word")
