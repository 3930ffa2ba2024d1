# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a bead costs a dispatch: calls of `bd`, and the time beyond theirs."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tests.lab.tracker import Tracker, real_bd

from .figures import BIN, PROMPT, Figure, Setting
from .processes import Run, median, paired, run

__all__ = ["beads"]

# Notes when each call began and ended, and is otherwise the bd behind it.
_SHIM = """#!/bin/sh
began=$(date +%s.%N)
"$DX_BENCH_BD" "$@"
code=$?
echo "$began $(date +%s.%N) $*" | tr '\\n' ' ' >>"$DX_BENCH_LOG"
echo >>"$DX_BENCH_LOG"
exit $code
"""


def beads(setting: Setting) -> list[Figure]:
    """A trivial task from a bead, against the same in words."""
    with tempfile.TemporaryDirectory() as folder:
        tracker = Tracker.make(Path(folder, "tracker"))
        log = Path(folder, "calls")
        environment = setting.environment | _watched(tracker, Path(folder), log)
        environment |= _in_the_clone(setting.environment, Path(folder))

        def from_bead() -> Run:
            bead = tracker.create(PROMPT)
            words = [str(BIN / "dx-dispatch"), "epyc6", "affordabot", "--bead", bead, "--json"]
            return run(words, environment)

        from_bead()  # the first asks once what this bd can do
        log.unlink()
        with_bead, without = paired(
            setting.rounds, from_bead, lambda: setting.dispatch("epyc6", "affordabot", PROMPT)
        )
        calls = [line.split() for line in log.read_text().splitlines()]
    dispatches = sum("--claim" in words for words in calls)  # the rounds, and one before them
    in_bd = sum(float(words[1]) - float(words[0]) for words in calls) / dispatches
    wall = median(with_bead, "wall_s"), median(without, "wall_s")
    which = "real bd" if real_bd() else "the stand-in for bd"
    return [
        # One more than a task needs: what identifies a claim is written before the claim itself.
        Figure("bd calls per dispatch", len(calls) / dispatches, 5, "calls", f"{dispatches} with {which}"),
        Figure(
            "a bead, beyond its bd calls",
            wall[0] - wall[1] - in_bd,
            0.8,
            "s",
            f"medians {wall[0]:.2f} s / {wall[1]:.2f} s without, {in_bd:.2f} s in {which}",
        ),
    ]


def _in_the_clone(environment: Mapping[str, str], folder: Path) -> dict[str, str]:
    """What to add to work where a task in words does: what a worktree costs is another figure."""
    document = json.loads(Path(environment["DX_VM_ENDPOINTS"]).read_text())
    document["repos"] = {"affordabot": {"worktree": "never", "close_on": "completed"}}
    endpoints = folder / "vm-endpoints.json"
    endpoints.write_text(json.dumps(document))
    return {"DX_VM_ENDPOINTS": str(endpoints)}


def _watched(tracker: Tracker, folder: Path, log: Path) -> dict[str, str]:
    shim = folder / "shim"
    shim.mkdir()
    (shim / "bd").write_text(_SHIM)
    (shim / "bd").chmod(0o755)
    behind = str(tracker.folder / "bin" / "bd")
    path = os.pathsep.join((str(shim), os.environ.get("PATH", "")))
    return {**tracker.env, "PATH": path, "DX_BENCH_BD": behind, "DX_BENCH_LOG": str(log)}
