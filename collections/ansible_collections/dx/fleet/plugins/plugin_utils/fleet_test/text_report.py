# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fleet test in lines for a terminal, and in one line for Slack."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ..text.printable import shortened
from .matrix import Cell, Difference, Matrix, Seen
from .results import FleetTest, Run, RunState, VMTest

__all__ = ["cell_text", "lines_of", "sentence_of", "vm_text"]

ROWS = 25
NAMES = 20
NAME_WIDTH = 120
SUITE_WIDTH = 60

_ABSENT = "-"
_WORDS = {Seen.ERROR: "in error"}


def lines_of(test: FleetTest, matrix: Matrix) -> Iterator[str]:
    """The whole result: the matrix, what became of each VM, which tests differ and which are flaky."""
    commit = f" at {test.commit[:12]}" if test.commit else f" at {shortened(test.ref, 60)}"
    yield f"{shortened(test.repo, 60)}{commit}: {shortened(test.command, NAME_WIDTH)}"
    yield ""
    if matrix.cells:
        yield from _table(matrix)
        yield ""
    for vm in test.vms:
        yield f"{vm.vm}: {vm_text(vm)}"
        if vm.trouble is not None and vm.trouble.next_action:
            yield f"    next: {shortened(vm.trouble.next_action, 300)}"
    yield from _named("Failed", [f"{each.id} ({each.vm})" for each in matrix.failing])
    yield from _named("Different", [f"{each.id}: {difference_text(each)}" for each in matrix.differences])
    yield from _named(
        "Flaky",
        [f"{each.id} ({each.vm}: failed {each.failed} of {each.runs} times)" for each in matrix.flaky],
    )


def sentence_of(test: FleetTest, matrix: Matrix) -> str:
    """The result in one line, for Slack."""
    vms = "; ".join(f"{vm.vm} {vm_text(vm)}" for vm in test.vms)
    differ = (
        f". Different: {_list([each.id for each in matrix.differences], 3)}" if matrix.differences else ""
    )
    flaky = f". Flaky: {_list(sorted({each.id for each in matrix.flaky}), 3)}" if matrix.flaky else ""
    return f"{vms}{differ}{flaky}"


def vm_text(vm: VMTest) -> str:
    """What became of a VM: ``passed: 42 passed, 1 skipped``."""
    if vm.trouble is not None:
        return f"could not run: {shortened(vm.trouble.message, 300)} ({vm.trouble.reason_code})"
    if len(vm.runs) == 1:
        return _run_text(vm.runs[0])
    good = sum(run.state is RunState.PASSED for run in vm.runs)
    worst = next((run for run in vm.runs if run.state is vm.state), None)
    more = f"; run {worst.number} {_run_text(worst)}" if worst and worst.state is not RunState.PASSED else ""
    return f"{good} of {len(vm.runs)} runs passed{more}"


def cell_text(cell: Cell | None) -> str:
    """A suite on a VM: ``42``, or ``40 passed, 2 failed``; ``-`` where it has no test there."""
    if cell is None:
        return _ABSENT
    counts = [(seen, cell.counts[seen]) for seen in reversed(Seen) if cell.counts.get(seen)]
    return ", ".join(f"{count} {_WORDS.get(seen, seen.value)}" for seen, count in counts) or _ABSENT


def difference_text(difference: Difference) -> str:
    """``failed on macmini; missing on epyc6; passed on homedesktop``."""
    by_state: dict[Seen, list[str]] = {}
    for vm, seen in difference.vms.items():
        by_state.setdefault(seen, []).append(vm)
    ordered = sorted(by_state, key=list(Seen).index)
    return "; ".join(f"{seen.value} on {', '.join(by_state[seen])}" for seen in ordered)


def _run_text(run: Run) -> str:
    if run.state is RunState.UNKNOWN:
        return f"could not say: {shortened(run.message, 300)} ({run.reason_code})"
    return f"{run.state.value}: {shortened(run.message, 300)}"


def _table(matrix: Matrix) -> Iterator[str]:
    """Suites down, VMs across. Suites in which nothing is to be seen are left out where there are many."""
    rows = [(suite, [cells.get(vm) for vm in matrix.vms]) for suite, cells in matrix.cells.items()]
    notable = [row for row in rows if not _is_plain(row[1])]
    shown = rows if len(rows) <= ROWS else notable[:ROWS]
    table = [["suite", *matrix.vms]]
    table += [[shortened(suite, SUITE_WIDTH), *map(cell_text, cells)] for suite, cells in shown]
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    for row in table:
        yield "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
    if left := len(rows) - len(shown):
        plain = len(rows) - len(notable)
        words = "that passed everywhere" if left == plain else f"({plain} of them passed everywhere)"
        yield f"and {left} more suites {words}"


def _is_plain(cells: Sequence[Cell | None]) -> bool:
    """Whether all VMs have the same tests of the suite, and all of them passed or were skipped."""
    states: list[Mapping[Seen, int]] = [cell.counts if cell else {} for cell in cells]
    is_same = all(each == states[0] for each in states)
    return is_same and not any(cell.bad for cell in cells if cell)


def _named(title: str, entries: Sequence[str]) -> Iterator[str]:
    if not entries:
        return
    yield ""
    yield f"{title} ({len(entries)}):"
    for entry in entries[:NAMES]:
        yield f"  {shortened(entry, 2 * NAME_WIDTH)}"
    if len(entries) > NAMES:
        yield f"  and {len(entries) - NAMES} more; all of them are in the report"


def _list(names: Sequence[str], most: int) -> str:
    shown = ", ".join(shortened(name, NAME_WIDTH) for name in names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown
