# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The JUnit reports of one run: old ones are removed before it; only what it wrote counts after it."""

from __future__ import annotations

import base64
import glob
import os
import tempfile
import typing as t
import zlib
from contextlib import suppress

from ..git.command import Git
from .counts import ReportUnreadable, content

__all__ = ["Reports"]

State = t.Literal["fresh", "missing", "stale"]


class Reports:
    """The files that some patterns match in a worktree.

    A report that the work has committed can't be removed: it counts only if the run wrote it anew.

    Args:
        root: The worktree.
        patterns: Globs, relative to it; ``**`` matches any number of folders.
    """

    def __init__(self, root: str, patterns: t.Sequence[str]) -> None:
        self._root = os.path.realpath(root)
        self._patterns = patterns
        self._began_ns = 0
        self._there: dict[str, tuple[int, int, int]] = {}

    def clear(self, git: Git) -> None:
        """Before the run: remove what git does not have, and remember the rest."""
        for path in self.paths():
            if not git.ok("ls-files", "--error-unmatch", "--", path):
                with suppress(OSError):  # one that can't be removed must be written anew
                    os.unlink(path)
            if os.path.lexists(path):
                self._there[path] = _identity(path)
        # The clock of the file system, which need not be this host's. A file without a name: nothing of it is
        # left in the work, however this run ends.
        with tempfile.TemporaryFile(dir=self._root) as mark:
            self._began_ns = os.fstat(mark.fileno()).st_mtime_ns

    def written(self) -> tuple[State, list[str]]:
        """After the run: whether it wrote any, and which."""
        paths = self.paths()
        fresh = [path for path in paths if self._is_fresh(path)]
        return "fresh" if fresh else "stale" if paths else "missing", fresh

    def packed(self, limit: int) -> tuple[list[dict[str, str]], int]:
        """After the run: what it wrote, as ``path`` (in the worktree) and ``zlib`` (packed, in Base64).

        Args:
            limit: Bytes of all of them, as they are in the worktree.

        Returns:
            The reports, and how many were left out: beyond the limit, or unreadable.
        """
        packed: list[dict[str, str]] = []
        left_out = 0
        for path in self.written()[1]:
            try:
                data = content(path)
            except ReportUnreadable:
                left_out += 1
                continue
            if len(data) > limit:
                left_out += 1
                continue
            limit -= len(data)
            name = os.path.relpath(path, self._root)
            packed.append({"path": name, "zlib": base64.b64encode(zlib.compress(data)).decode("ascii")})
        return packed, left_out

    def paths(self) -> list[str]:
        """The files that match, and that lie in the worktree also when links are followed."""
        found: set[str] = set()
        for pattern in self._patterns:
            found.update(glob.glob(os.path.join(glob.escape(self._root), pattern), recursive=True))
        inside = self._root + os.sep
        return sorted(
            path
            for path in found
            if os.path.realpath(path).startswith(inside) and os.path.lexists(path) and not os.path.isdir(path)
        )

    def names(self) -> list[str]:
        """The same, relative to the worktree."""
        return [os.path.relpath(path, self._root) for path in self.paths()]

    def _is_fresh(self, path: str) -> bool:
        try:
            identity = _identity(path)
        except OSError:
            return False
        return identity[0] >= self._began_ns and identity != self._there.get(path)


def _identity(path: str) -> tuple[int, int, int]:
    status = os.stat(path)
    return status.st_mtime_ns, status.st_size, status.st_ino
