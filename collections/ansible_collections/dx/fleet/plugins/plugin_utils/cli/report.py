# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a command prints at its end, for people or as one JSON document, and its exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from ..domain.errors import FleetError
from ..domain.outcome import ExitCode, Outcome, State, exit_code
from ..launch.collected import Collected
from .document import document, encoded
from .terminal import printable, summary_lines

__all__ = ["OWN_FAULT", "Report", "graded", "left", "outcomes_of", "own_fault", "show", "show_error", "warn"]

OWN_FAULT = "own_fault"


@dataclass(frozen=True)
class Report:
    """What came of a command.

    ``lines`` are for people; so is a summary of each outcome after them, unless ``summaries`` is off.
    ``sections`` are the document's own: ``vms``, ``claims``, ``trail``.
    """

    code: ExitCode
    outcomes: Sequence[Outcome] = ()
    lines: Sequence[str] = ()
    sections: Mapping[str, Any] = field(default_factory=dict)
    summaries: bool = True


def show(report: Report, as_json: bool) -> int:
    """Print it; returns its exit code."""
    if as_json:
        return _print([encoded(document(report.code, report.outcomes, **report.sections))], report.code)
    lines = [printable(line, sys.stdout) for line in report.lines]
    for outcome in report.outcomes if report.summaries else ():
        lines += summary_lines(outcome, sys.stdout)
    return _print(lines, report.code)


def _print(lines: Sequence[str], code: ExitCode) -> int:
    """Print the result on standard output; returns the exit code, which is not that of success without it."""
    try:
        print("\n".join(lines), end="\n" if lines else "", flush=True)
    except OSError as error:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - the interpreter flushes it at its end
        if not isinstance(error, BrokenPipeError):  # whoever closed the pipe has read all that they wanted
            warn(f"the result can't be written to standard output: {error.strerror}", "dx-fleet")
        return int(code or ExitCode.OWN_FAULT)
    return int(code)


def show_error(error: FleetError, as_json: bool, code: ExitCode, program: str) -> int:
    """Print what kept a command from running; returns the exit code."""
    if as_json:
        return _print([encoded(document(code, error=error))], code)
    warn(f"{error.message} ({error.reason_code})", program)
    if error.next_action:
        with suppress(OSError):
            print(printable(f"next: {error.next_action}", sys.stderr), file=sys.stderr)
    return int(code)


def warn(line: str, program: str) -> None:
    """Print a line of a program's on standard error, if anybody reads that."""
    with suppress(OSError):
        print(printable(f"{program}: {line}", sys.stderr), file=sys.stderr, flush=True)


def graded(outcomes: Sequence[Outcome], answered: int = 0) -> ExitCode:
    """The exit code of these outcomes; ``answered``: of how many others there is nothing bad to say."""
    if any(outcome.reason_code == OWN_FAULT for outcome in outcomes):
        return ExitCode.OWN_FAULT
    return exit_code([outcome.state for outcome in outcomes] + [State.RUNNING] * answered)


def outcomes_of(vms: Sequence[str], collected: Collected, again: str) -> list[Outcome]:
    """One outcome per VM. A VM without one met a fault of ours, and its outcome says so."""
    return [
        Outcome.from_dict(collected.outcomes[vm])
        if vm in collected.outcomes
        else own_fault(vm, collected.faults.get(vm, "its run ended without an outcome"), again)
        for vm in vms
    ]


def own_fault(vm: str, why: str, again: str) -> Outcome:
    """The outcome of a VM's run that broke off; ``again`` is the command that looks closer."""
    return Outcome(State.FAILED, OWN_FAULT, f"our own fault: {why}", next_action=again, vm=vm)


def left() -> int:
    """The exit code after Ctrl-C where nothing was begun, so that nothing is left to say."""
    return int(ExitCode.DETACHED)
