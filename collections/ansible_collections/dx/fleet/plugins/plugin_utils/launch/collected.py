# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tasks of a run returned, and the file through which it comes from Ansible's callback."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Collected", "ResultFile", "record"]

SURVEY = ("url", "version", "home", "sessions", "session_counts", "permissions", "questions")
OF_THE_TESTS = "dx.fleet.fleet_test_report"
OF_THE_WORKTREES = "dx.fleet.worktree_reap"
OF_THE_TRACKER = ("dx.fleet.beads_info", "dx.fleet.beads_reap")
NOT_OURS = ("invocation", "warnings", "deprecations", "diff")  # of Ansible, and of any size


@dataclass
class Collected:
    """By host: the last outcome, the last survey, and faults of our own.

    ``elsewhere``: the VM on which the work of a host's bead goes on. ``tracker``: what was last returned of
    all claims. ``fleet_test``: what the last task of a fleet test returned. ``stops``: what was stopped, with
    its proof. ``requests``: what waits for an answer, or has it. ``worktrees``: what ``worktree_reap``
    returned.
    """

    outcomes: dict[str, dict[str, Any]] = field(default_factory=dict)
    surveys: dict[str, dict[str, Any]] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)
    elsewhere: dict[str, str] = field(default_factory=dict)
    tracker: dict[str, Any] | None = None
    fleet_test: dict[str, Any] | None = None
    stops: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    requests: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    worktrees: dict[str, dict[str, Any]] = field(default_factory=dict)

    def take(
        self, host: str, result: Mapping[str, Any], *, failed: bool = False, action: str | None = None
    ) -> None:
        """Take the result of one task on one host; ``action`` is the task's, if that is of interest."""
        if action in OF_THE_TRACKER:
            self.tracker = dict(result)
            return
        if action == OF_THE_WORKTREES and "worktrees" in result:
            self.worktrees[host] = dict(result)
            return
        if action == OF_THE_TESTS and "fleet_test" in result:
            self.fleet_test = dict(result)
            return
        if "requests" in result:
            self.requests[host] = list(result["requests"])
        if "stops" in result:
            self.stops[host] = list(result["stops"])
        if "elsewhere" in result:
            self.elsewhere[host] = result["elsewhere"]
        if isinstance(outcome := result.get("outcome"), dict):
            self.outcomes[host] = dict(outcome)
        elif failed:
            self.outcomes.pop(host, None)  # what an earlier task saw is not what became of it
            self.faults.setdefault(host, str(result.get("msg") or result.get("exception") or "a task failed"))
        elif "session_counts" in result:
            self.surveys[host] = {key: result[key] for key in SURVEY}  # and nothing that Ansible adds


class ResultFile:
    """The results of one run. It has no name, so nothing is left of it, however the run ends.

    Args:
        descriptor: Where another process has opened it already.
    """

    def __init__(self, descriptor: int | None = None) -> None:
        self._file = (
            tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the run
            if descriptor is None
            else os.fdopen(descriptor, "rb+", buffering=0)
        )

    @property
    def descriptor(self) -> int:
        """What :func:`record` writes to, in this process or in one that inherits it."""
        return self._file.fileno()

    def collected(self) -> Collected:
        """All results that were recorded until now."""
        found = Collected()
        for line in self._lines():
            host, action, failed, result = json.loads(line)
            found.take(host, result, failed=failed, action=action)
        return found

    def _lines(self) -> Iterator[bytes]:
        # By position: another process may be writing, and the position in the file is shared with it.
        data = os.pread(self.descriptor, os.fstat(self.descriptor).st_size, 0)
        yield from data.split(b"\n")[:-1]  # a line that is still being written has no end yet


def record(
    descriptor: int, host: str, result: Mapping[str, Any], *, failed: bool = False, action: str | None = None
) -> None:
    """Record the result of one task on one host; the arguments are those of :meth:`Collected.take`."""
    kept = {name: value for name, value in result.items() if name not in NOT_OURS}
    line = memoryview(json.dumps([host, action, failed, kept], default=str).encode() + b"\n")
    while line:
        line = line[os.write(descriptor, line) :]
