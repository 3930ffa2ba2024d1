# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How many tests ran, how they ended, and which: by a JUnit report, else by the last lines of a runner.

Sources differ about the same run (pytest prints xfailed tests apart, its report calls them skipped), so a
count always comes with its source.
"""

from __future__ import annotations

import os
import stat
import typing as t
from dataclasses import dataclass
from xml.parsers import expat

__all__ = ["Counts", "ReportUnreadable", "content", "junit"]

MAX_REPORT = 16 << 20  # bytes
MAX_NAMES = 20_000
_SKIPPED = ("notrun", "disabled", "skipped", "ignored")  # GoogleTest's `status` and `result`


class ReportUnreadable(Exception):
    """A report that is no JUnit XML, is too large, or holds what no report needs."""


@dataclass(frozen=True)
class Counts:
    """Tests of one run.

    Attributes:
        source: Where the numbers come from: ``junit``, or ``output: RUNNER``.
        passed, failed, errors, skipped: How many.
        failed_names: The names of those that failed or erred, as far as they are known.
        ids: Every test as ``CLASSNAME::NAME``, sorted; None where the source does not have them.
        says_none: Whether the runner itself said that it found no test.
    """

    source: str
    passed: int = 0
    failed: int = 0
    errors: int = 0
    skipped: int = 0
    failed_names: tuple[str, ...] = ()
    ids: tuple[str, ...] | None = None
    says_none: bool = False

    @property
    def ran(self) -> int:
        """How many ran to an end: a skipped test shows nothing."""
        return self.passed + self.failed + self.errors

    @property
    def total(self) -> int:
        """All of them."""
        return self.ran + self.skipped


def junit(paths: t.Iterable[str]) -> Counts:
    """The tests of some JUnit reports; each ``<testcase>`` is one, whatever a suite's attributes say.

    Raises:
        ReportUnreadable: One of them can't be read.
    """
    reader = _Reader()
    for path in paths:
        reader.read(path)
    return Counts(
        "junit",
        reader.count["passed"],
        reader.count["failed"],
        reader.count["errors"],
        reader.count["skipped"],
        tuple(dict.fromkeys(reader.failed))[:MAX_NAMES],
        tuple(sorted(reader.ids))[:MAX_NAMES],
    )


class _Reader:
    """Collects the test cases of any number of reports."""

    def __init__(self) -> None:
        self.count = {"passed": 0, "failed": 0, "errors": 0, "skipped": 0}
        self.failed: list[str] = []
        self.ids: set[str] = set()
        self._name: str | None = None
        self._end = "passed"

    def read(self, path: str) -> None:
        parser = expat.ParserCreate()
        parser.StartDoctypeDeclHandler = self._refuse
        parser.StartElementHandler = self._started
        parser.EndElementHandler = self._ended
        self._name, self._depth = None, 0
        try:
            parser.Parse(content(path), True)
        except (expat.ExpatError, ValueError, LookupError) as error:
            raise ReportUnreadable(f"{os.path.basename(path)} is no JUnit XML: {error}") from error

    def _refuse(self, *_: object) -> None:
        raise ReportUnreadable("it declares a document type, which no report needs")

    def _started(self, tag: str, attributes: dict[str, str]) -> None:
        tag = tag.rpartition(":")[2]
        if self._depth == 0 and tag not in ("testsuites", "testsuite"):
            raise ReportUnreadable(f"its root is <{tag[:40]}>, not <testsuites> or <testsuite>")
        self._depth += 1
        if tag == "testcase":
            names = [attributes.get("classname"), attributes.get("name")]
            self._name = "::".join(filter(None, names))[:500] or "a test without a name"
            skipped = {attributes.get("status"), attributes.get("result")} & set(_SKIPPED)
            self._end = "skipped" if skipped else "passed"
        elif self._name is not None and tag in _ENDS and _RANK[_ENDS[tag]] > _RANK[self._end]:
            self._end = _ENDS[tag]

    def _ended(self, tag: str) -> None:
        self._depth -= 1
        if tag.rpartition(":")[2] != "testcase" or self._name is None:
            return
        self.count[self._end] += 1
        self.ids.add(self._name)
        if self._end in ("failed", "errors"):
            self.failed.append(self._name)
        self._name = None


_ENDS = {"failure": "failed", "error": "errors", "skipped": "skipped"}
_RANK = {"passed": 0, "skipped": 1, "failed": 2, "errors": 3}


def content(path: str) -> bytes:
    """The bytes of a regular file within bounds; nothing else is opened, or waited for.

    Raises:
        ReportUnreadable: It is none, or larger.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise ReportUnreadable(f"{os.path.basename(path)} is no file")
            if status.st_size > MAX_REPORT:
                raise ReportUnreadable(f"{os.path.basename(path)} is larger than {MAX_REPORT >> 20} MiB")
            return file.read(MAX_REPORT + 1)
    except OSError as error:
        raise ReportUnreadable(f"{os.path.basename(path)} can't be read: {error.strerror}") from error
