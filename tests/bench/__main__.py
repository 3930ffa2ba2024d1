# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure, print a table, write bench-results/bench.json.

    python -m tests.bench [--rounds N] [--only NAME ...]

Bounded: about three minutes on two cores with ten rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.lab import Lab

from .beads import beads
from .figures import FIGURES as BASIC
from .figures import Figure, Setting
from .ssh import ssh
from .stop import stop
from .worktrees import worktrees

FIGURES = BASIC | {"beads": beads, "ssh": ssh, "stop": stop, "worktrees": worktrees}
RESULTS = Path(__file__).parents[2] / "bench-results"


def main() -> None:
    """Run the chosen figures."""
    parser = argparse.ArgumentParser(prog="make bench", description="Measure what the product promises.")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--only", nargs="*", choices=sorted(FIGURES), default=sorted(FIGURES))
    chosen = parser.parse_args()
    taken: list[Figure] = []
    with Lab() as lab:
        setting = Setting(lab, chosen.rounds)
        for name in chosen.only:
            Console(stderr=True).print(f"measuring {name} ...", style="dim")
            taken += FIGURES[name](setting)
    _print(taken)
    RESULTS.mkdir(exist_ok=True)
    machine = {"cpus": os.cpu_count(), "python": platform.python_version(), "load": os.getloadavg()}
    data = {"machine": machine, "rounds": chosen.rounds, "figures": [asdict(figure) for figure in taken]}
    (RESULTS / "bench.json").write_text(json.dumps(data, indent=2) + "\n")


def _print(figures: list[Figure]) -> None:
    table = Table("figure", "measured", "at most", "", "how")
    for figure in figures:
        verdict = "ok" if figure.value <= figure.limit else "over"
        table.add_row(
            figure.name,
            f"{figure.value:.3g} {figure.unit}",
            f"{figure.limit:g} {figure.unit}",
            verdict,
            figure.how,
        )
    Console(width=160).print(table)


if __name__ == "__main__":
    main()
