# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whole processes, measured from outside."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

__all__ = ["Run", "median", "paired", "run"]


@dataclass(frozen=True)
class Run:
    """One finished process. Times in seconds; ``cpu_s`` includes its children; ``began_at`` is wall-clock."""

    began_at: float
    wall_s: float
    cpu_s: float
    out: str


def run(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Run:
    """Run a command that must succeed.

    Raises:
        RuntimeError: It failed; the text has the end of what it printed.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began_at, began = time.time(), time.perf_counter()
    done = subprocess.run(
        command,
        env=_with_byte_code(environment or os.environ),
        cwd=tempfile.gettempdir(),  # away from the checkout's ansible.cfg
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    wall_s = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise RuntimeError(
            f"{command} ended with {done.returncode}: {done.stdout[-800:]}{done.stderr[-800:]}"
        )
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Run(began_at, wall_s, cpu_s, done.stdout)


def _with_byte_code(environment: Mapping[str, str]) -> dict[str, str]:
    """As installed code has it. A shell that keeps Python from writing it would have us compiled in every run."""
    return {name: value for name, value in environment.items() if name != "PYTHONDONTWRITEBYTECODE"}


def paired(rounds: int, *makers: Callable[[], Run]) -> list[list[Run]]:
    """Each maker's runs, taken in turn, so that a drift of the machine meets all alike; one warm-up each."""
    for make in makers:
        make()
    taken: list[list[Run]] = [[] for _ in makers]
    for _ in range(rounds):
        for runs, make in zip(taken, makers, strict=True):
            runs.append(make())
    return taken


def median(runs: Sequence[Run], field: str) -> float:
    """Median of one field."""
    return statistics.median(getattr(run, field) for run in runs)
