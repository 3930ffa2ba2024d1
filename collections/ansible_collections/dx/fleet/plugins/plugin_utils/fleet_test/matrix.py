# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""VMs beside each other: the tests of each suite on each, those that differ between them, the flaky ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from .results import Case, CaseState, FleetTest, VMTest

__all__ = ["Cell", "Difference", "Failing", "Flaky", "Matrix", "Seen"]


class Seen(StrEnum):
    """What became of one test in all runs on one VM, from what a person wants to see first to the rest."""

    FAILED = "failed"
    ERROR = "error"
    FLAKY = "flaky"
    MISSING = "missing"
    SKIPPED = "skipped"
    PASSED = "passed"


@dataclass(frozen=True)
class Cell:
    """One suite on one VM: how many of its tests are in each state."""

    counts: Mapping[Seen, int]

    @property
    def bad(self) -> bool:
        """Whether any of its tests failed in any run."""
        return any(self.counts.get(seen) for seen in (Seen.FAILED, Seen.ERROR, Seen.FLAKY))

    @property
    def passed(self) -> bool:
        """Whether none failed, and not all were skipped."""
        return not self.bad and bool(self.counts.get(Seen.PASSED))


@dataclass(frozen=True)
class Difference:
    """A test that did not end the same on all VMs that ran."""

    id: str
    vms: Mapping[str, Seen]


@dataclass(frozen=True)
class Flaky:
    """A test that failed in some runs on a VM, and not in others."""

    id: str
    vm: str
    failed: int
    runs: int


@dataclass(frozen=True)
class Failing:
    """A test that failed on a VM, and what it printed the first time."""

    id: str
    vm: str
    message: str


@dataclass(frozen=True)
class Matrix:
    """What the tests of all VMs show together.

    Attributes:
        vms: Those whose tests are known one by one, in the order of the run.
        cells: Suite -> VM -> cell; a VM without any test of the suite is missing.
        differences: The tests that differ, the failed ones first.
        flaky: The flaky ones, by id.
        failing: What failed in any run, by VM.
    """

    vms: tuple[str, ...]
    cells: Mapping[str, Mapping[str, Cell]]
    differences: tuple[Difference, ...]
    flaky: tuple[Flaky, ...]
    failing: tuple[Failing, ...]

    @classmethod
    def of(cls, test: FleetTest) -> Matrix:
        """The matrix of a fleet test."""
        known = [vm for vm in test.vms if any(run.cases is not None for run in vm.runs)]
        seen = {vm.vm: _seen(vm) for vm in known}
        suites = {case.id: case.suite for vm in known for run in vm.runs for case in run.cases or ()}
        return cls(
            vms=tuple(seen),
            cells=_cells(seen, suites),
            differences=_differences(seen, suites) if len(seen) > 1 else (),
            flaky=tuple(flaky for vm in known for flaky in _flaky(vm)),
            failing=tuple(failing for vm in known for failing in _failing(vm)),
        )


def _by_test(vm: VMTest) -> dict[str, list[CaseState]]:
    """The states of each test, one per run in which it was. Of an id that is twice in a run, the worst."""
    found: dict[str, list[CaseState]] = {}
    order = list(CaseState)
    for run in vm.runs:
        worst: dict[str, CaseState] = {}
        for case in run.cases or ():
            worst[case.id] = max(worst.get(case.id, case.state), case.state, key=order.index)
        for name, state in worst.items():
            found.setdefault(name, []).append(state)
    return found


def _seen(vm: VMTest) -> dict[str, Seen]:
    return {name: _together(states) for name, states in _by_test(vm).items()}


def _together(states: Sequence[CaseState]) -> Seen:
    bad = [state for state in states if state.bad]
    if bad and len(bad) < len(states):
        return Seen.FLAKY
    if bad:
        return Seen.ERROR if all(state is CaseState.ERROR for state in bad) else Seen.FAILED
    return Seen.PASSED if CaseState.PASSED in states else Seen.SKIPPED


def _cells(seen: Mapping[str, Mapping[str, Seen]], suites: Mapping[str, str]) -> dict[str, dict[str, Cell]]:
    counts: dict[str, dict[str, Counter[Seen]]] = {}
    for vm, tests in seen.items():
        for name, state in tests.items():
            counts.setdefault(suites[name], {}).setdefault(vm, Counter())[state] += 1
    return {suite: {vm: Cell(dict(of_vm)) for vm, of_vm in counts[suite].items()} for suite in sorted(counts)}


def _differences(seen: Mapping[str, Mapping[str, Seen]], names: Mapping[str, str]) -> tuple[Difference, ...]:
    found = [
        Difference(name, {vm: tests.get(name, Seen.MISSING) for vm, tests in seen.items()}) for name in names
    ]
    order = list(Seen)
    differing = [each for each in found if len(set(each.vms.values())) > 1]
    return tuple(sorted(differing, key=lambda each: (min(map(order.index, each.vms.values())), each.id)))


def _flaky(vm: VMTest) -> list[Flaky]:
    return [
        Flaky(name, vm.vm, failed=sum(state.bad for state in states), runs=len(states))
        for name, states in sorted(_by_test(vm).items())
        if _together(states) is Seen.FLAKY
    ]


def _failing(vm: VMTest) -> list[Failing]:
    first: dict[str, Case] = {}
    for run in vm.runs:
        for case in run.cases or ():
            if case.state.bad:
                first.setdefault(case.id, case)
    return [Failing(name, vm.vm, case.message) for name, case in sorted(first.items())]
