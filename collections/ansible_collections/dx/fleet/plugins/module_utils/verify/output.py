# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a command prints, within bounds: its beginning and its end, in a file that only its user reads."""

from __future__ import annotations

import os
import re
import typing as t

__all__ = ["Output", "folder", "plain"]

KEPT_FILES = 50
_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")


class Output:
    """A file of at most ``limit`` bytes; what does not fit is left out in the middle, and counted.

    Args:
        path: The file; it is written anew.
        limit: Its size in bytes.
    """

    def __init__(self, path: str, limit: int) -> None:
        self.path = path
        self._half = max(1, limit // 2)
        self._written = 0
        self._end = bytearray()
        self._left_out = 0
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        self._file = os.open(path, flags, 0o600)

    def write(self, data: bytes) -> None:
        """Take in some bytes."""
        first = data[: max(0, self._half - self._written)]
        if first:
            os.write(self._file, first)
            self._written += len(first)
        self._end += data[len(first) :]
        if len(self._end) > 2 * self._half:
            self._trim()

    def close(self) -> None:
        """Write the end."""
        self._trim()
        if self._left_out:
            os.write(self._file, b"\n[%d bytes left out]\n" % self._left_out)
        os.write(self._file, bytes(self._end))
        os.close(self._file)

    def _trim(self) -> None:
        over = len(self._end) - self._half
        if over > 0:
            del self._end[:over]
            self._left_out += over


def folder(environ: t.Mapping[str, str]) -> str:
    """Where outputs are kept: ``dx-fleet/checks`` in the user's state folder; old ones are removed.

    Raises:
        OSError: It can't be made.
    """
    base = environ.get("XDG_STATE_HOME", "")
    if not os.path.isabs(base):
        base = os.path.join(os.path.expanduser("~"), ".local", "state")
    path = os.path.join(base, "dx-fleet", "checks")
    os.makedirs(path, mode=0o700, exist_ok=True)
    files = [entry for entry in os.scandir(path) if entry.name.endswith(".log") and entry.is_file()]
    for entry in sorted(files, key=lambda entry: -entry.stat().st_mtime)[KEPT_FILES:]:
        os.unlink(entry.path)
    return path


def plain(text: str) -> str:
    """Text as a terminal shows it: without colours; of a line that was drawn anew, its last state."""
    return "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in _ANSI.sub("", text).split("\n"))
