# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A process that holds a lab with work under way, for the tests to end in some way.

``python -m tests.lab_selftest.holder WAY`` prints one JSON line when the work runs, then waits for a line on
its standard input (or a signal) and ends in that way: ``return``, ``raise``, ``exit`` (at once, no clean-up).
"""

from __future__ import annotations

import json
import os
import sys
import time

import psutil

from tests.lab import Lab
from tests.lab.processes import lab_processes

from .sessions import Sessions

# A child as usual, one in a session of its own, and one that also has thrown its environment away.
_WORK = "setsid sleep 301 & env -i $(command -v setsid) $(command -v sleep) 302 & sleep 300"


def main(way: str) -> None:
    """Hold a lab with one VM till told to end."""
    with Lab(vms=("solo",)) as lab, Sessions(lab.vms["solo"]) as sessions:
        sessions.new().send(f"@bash {_WORK}")
        sleepers = _sleepers(lab)
        print(json.dumps(_report(lab, sleepers)), flush=True)
        sys.stdin.readline()
        if way == "raise":
            raise RuntimeError("as wanted")
        if way == "exit":
            os._exit(9)


def _sleepers(lab: Lab) -> list[int]:
    """The process ids of the three children, when all of them run."""
    keeper = next(p for p in lab_processes(lab.lab_id) if "tests.lab.keeper" in p.cmdline())
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        found = [p.pid for p in keeper.children(recursive=True) if _name(p) == "sleep"]
        if len(found) == 3:
            return found
        time.sleep(0.05)
    raise TimeoutError("the children did not start")


def _name(process: psutil.Process) -> str:
    try:
        return process.name()
    except psutil.NoSuchProcess:
        return ""


def _report(lab: Lab, sleepers: list[int]) -> dict[str, object]:
    processes = [process.pid for process in lab_processes(lab.lab_id)]
    vm = lab.vms["solo"]
    return {
        "lab_id": lab.lab_id,
        "root": str(lab.root),
        "pids": sorted({*processes, *sleepers}),
        "address": [vm.host, vm.port],
    }


if __name__ == "__main__":
    main(sys.argv[1])
