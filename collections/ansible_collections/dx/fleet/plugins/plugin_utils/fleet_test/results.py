# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run of a repo's tests on several VMs came to. Plain data, no I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from ..domain.outcome import ExitCode

__all__ = ["Case", "CaseState", "Counts", "FleetTest", "Run", "RunState", "Trouble", "VMTest"]


class CaseState(StrEnum):
    """What became of one test in one run, from the best to the worst."""

    PASSED = "passed"
    SKIPPED = "skipped"
    FAILED = "failed"
    ERROR = "error"

    @property
    def bad(self) -> bool:
        """Whether the test speaks against the commit."""
        return self in (CaseState.FAILED, CaseState.ERROR)


class RunState(StrEnum):
    """What a run of the tests, or all runs on a VM, or on all VMs, say of the commit."""

    PASSED = "passed"
    FAILED = "failed"
    UNKNOWN = "unknown"
    """It could not be said: no test counted, a time-out, a VM that could not run them."""


@dataclass(frozen=True)
class Case:
    """One test in one run.

    ``id`` is ``CLASSNAME::NAME`` and the same on every VM. ``message`` is what a failed one printed.
    """

    id: str
    suite: str
    state: CaseState
    seconds: float = 0.0
    message: str = ""


@dataclass(frozen=True)
class Counts:
    """How many tests ended how."""

    passed: int = 0
    failed: int = 0
    errors: int = 0
    skipped: int = 0

    @property
    def ran(self) -> int:
        """All but the skipped ones."""
        return self.passed + self.failed + self.errors


@dataclass(frozen=True)
class Run:
    """One run of the tests on one VM.

    ``counts`` is None where no test was counted; ``cases`` is None where the tests that ran are not known one
    by one. ``output`` is the end of what the command printed.
    """

    number: int
    state: RunState
    reason_code: str
    message: str
    seconds: float | None = None
    counts: Counts | None = None
    cases: tuple[Case, ...] | None = None
    output: str = ""


@dataclass(frozen=True)
class Trouble:
    """Why a VM could not run the tests."""

    reason_code: str
    message: str
    next_action: str | None = None


@dataclass(frozen=True)
class VMTest:
    """The runs on one VM, at the commit that was checked out there; or its trouble."""

    vm: str
    runs: tuple[Run, ...] = ()
    commit: str | None = None
    trouble: Trouble | None = None

    @property
    def state(self) -> RunState:
        """``failed`` if any run failed; else ``unknown`` if any can't be judged, or there is none."""
        states = [run.state for run in self.runs]
        if self.trouble is not None or not states:
            states.append(RunState.UNKNOWN)
        return _worst(states)


@dataclass(frozen=True)
class FleetTest:
    """All VMs of a run. ``ref`` is what was asked for; ``seconds`` is the time of all of it."""

    repo: str
    ref: str
    command: str
    vms: tuple[VMTest, ...]
    started_at: str
    seconds: float

    @property
    def state(self) -> RunState:
        """``failed`` if any VM's is; else ``unknown`` if any VM's is."""
        return _worst([vm.state for vm in self.vms] or [RunState.UNKNOWN])

    @property
    def commit(self) -> str | None:
        """The commit that was tested on every VM that ran; None where none did."""
        found = [vm.commit for vm in self.vms if vm.commit is not None and vm.trouble is None]
        return found[0] if found else None

    @property
    def exit_code(self) -> ExitCode:
        """``FAILED`` (3), ``UNVERIFIED`` (10) or ``DONE`` (0)."""
        return {
            RunState.FAILED: ExitCode.FAILED,
            RunState.UNKNOWN: ExitCode.UNVERIFIED,
            RunState.PASSED: ExitCode.DONE,
        }[self.state]


def _worst(states: Sequence[RunState]) -> RunState:
    return next(state for state in (RunState.FAILED, RunState.UNKNOWN, RunState.PASSED) if state in states)
