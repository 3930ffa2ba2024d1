# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The figures, each with its limit. All but memory are ratios or shares measured in one run."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil

from tests.lab.binaries import CHECKOUT, find_opencode

from .audit import hanging_slack, recording
from .events import Witness
from .fan_out import fan_out
from .figure import BIN, Figure, Setting
from .processes import median, paired, run

__all__ = ["FIGURES", "Figure", "Setting"]

PROMPT = "Say hello"


def end_to_end(setting: Setting) -> list[Figure]:
    """A trivial task by dx-dispatch, against OpenCode's own client."""
    vm = setting.lab.vms["epyc6"]
    opencode = str(find_opencode())
    repo = str(vm.repo("affordabot"))
    attach = [opencode, "run", "--attach", vm.url, "--dir", repo, PROMPT]
    own_home = setting.environment | {
        "OPENCODE_DISABLE_MODELS_FETCH": "1",
        "OPENCODE_DISABLE_AUTOUPDATE": "1",
    }
    with Witness(vm.url) as witness:
        ours, theirs, bare = paired(
            setting.rounds,
            lambda: setting.dispatch("epyc6", "affordabot", PROMPT),
            lambda: run(attach, own_home),
            setting.bare_playbook,
        )
        created, noticed = [], []
        for each in ours:
            result = json.loads(each.out)["results"][0]
            created.append(witness.created[result["session"]] - each.began_at)
            noticed.append(_seconds(result["evidence"]["noticed_at"]) - witness.idle[result["session"]])
    wall = median(ours, "wall_s"), median(theirs, "wall_s"), median(bare, "wall_s")
    cpu = median(ours, "cpu_s"), median(theirs, "cpu_s"), median(bare, "cpu_s")
    return [
        Figure(
            "wall, dx-dispatch / opencode run --attach",
            wall[0] / wall[1],
            0.8,
            "x",
            f"medians {wall[0]:.2f} s / {wall[1]:.2f} s (bare playbook {wall[2]:.2f} s)",
        ),
        Figure(
            "CPU, dx-dispatch / opencode run --attach",
            cpu[0] / cpu[1],
            0.6,
            "x",
            f"medians {cpu[0]:.2f} s / {cpu[1]:.2f} s (bare playbook {cpu[2]:.2f} s)",
        ),
        Figure(
            "session exists, against a bare playbook",
            statistics.median(created) / wall[2],
            1.5,
            "x",
            f"median {statistics.median(created):.2f} s after the start / {wall[2]:.2f} s",
        ),
        Figure(
            "idle event to noticed, p95",
            _p95(noticed) * 1000,
            100,
            "ms",
            f"{len(noticed)} runs, median {statistics.median(noticed) * 1000:.0f} ms",
        ),
    ]


def many_sessions(setting: Setting) -> list[Figure]:
    """Three hundred simulated sessions in one opencode_wait."""
    seconds = 40.0
    words = [sys.executable, "-m", "tests.bench.simulated_servers", "3", "300", str(seconds)]
    with (
        subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as servers,
        tempfile.TemporaryDirectory() as folder,
    ):
        try:
            assert servers.stdout is not None
            playbook = Path(folder, "wait.yml")
            playbook.write_text(json.dumps(_wait_playbook(json.loads(servers.stdout.readline()))))
            memory, share = _watched(setting, playbook, seconds)
        finally:
            servers.terminate()
    return [
        Figure(
            "300 sessions in one opencode_wait, memory",
            memory / 1e6,
            120,
            "MB",
            "ansible-playbook and its worker, at most",
        ),
        Figure(
            "300 sessions in one opencode_wait, CPU",
            share * 100,
            5,
            "%",
            f"of a core, both over {seconds - 15:.0f} s",
        ),
    ]


def _wait_playbook(servers: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    sessions = [
        {
            "vm": url,
            "url": url,
            "session": session,
            "message_id": f"msg_{session}",
        }
        for url, known in servers.items()
        for session in known["sessions"]
    ]
    task = {"dx.fleet.opencode_wait": {"sessions": sessions}, "run_once": True}
    return [{"hosts": "localhost", "gather_facts": False, "tasks": [task]}]


def _watched(setting: Setting, playbook: Path, seconds: float) -> tuple[int, float]:
    """Memory in bytes at most, and share of a core, of ansible-playbook with its worker while they wait.

    By the ansible.cfg of the checkout: by Ansible's defaults it takes 4 % more to look for results.
    Memory is the proportional set: pages that both share count once.
    """
    words = [str(BIN / "ansible-playbook"), "-i", "localhost,", str(playbook)]
    environment = setting.environment | {"ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg")}
    with subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL) as controller:
        began = time.monotonic()
        time.sleep(8)  # over the start
        both = [psutil.Process(controller.pid), *psutil.Process(controller.pid).children()]
        first, then = _cpu_s(both), time.monotonic()
        memory = 0
        while time.monotonic() - began < seconds - 7:
            memory = max(memory, sum(process.memory_full_info().pss for process in both))
            time.sleep(1)
        share = (_cpu_s(both) - first) / (time.monotonic() - then)
        if controller.wait(120):
            raise RuntimeError("the wait for simulated sessions failed")
    return memory, share


def _cpu_s(processes: list[psutil.Process]) -> float:
    return sum(sum(process.cpu_times()[:2]) for process in processes)


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()


def _p95(values: list[float]) -> float:
    return (
        sorted(values)[max(0, round(0.95 * len(values)) - 1)]
        if len(values) < 20
        else statistics.quantiles(values, n=20)[-1]
    )


FIGURES: dict[str, Callable[[Setting], list[Figure]]] = {
    "end-to-end": end_to_end,
    "fan-out": fan_out,
    "many-sessions": many_sessions,
    "hanging-slack": hanging_slack,
    "recording": recording,
}
