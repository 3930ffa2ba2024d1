# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the way through SSH adds to a request."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from ansible_collections.dx.fleet.plugins.plugin_utils.opencode.client import OpenCode
from ansible_collections.dx.fleet.plugins.plugin_utils.opencode.forward import SshConnection
from ansible_collections.dx.fleet.plugins.plugin_utils.opencode.vm_transport import VMTransport

from tests.lab import Lab

from .figure import Figure, Setting

__all__ = ["ssh"]

REQUESTS = 50  # of each kind in a round


def ssh(setting: Setting) -> list[Figure]:
    """A request to a real server through SSH, against the same one over TCP; both kept alive, taken in turn."""
    if not setting.lab.has_ssh:
        return []
    over_tcp, over_ssh, first = asyncio.run(_measured(setting.lab, setting.rounds * REQUESTS))
    medians = statistics.median(over_tcp), statistics.median(over_ssh)
    tails = _p95(over_tcp), _p95(over_ssh)
    return [
        Figure(
            "a request, through SSH / over TCP",
            medians[1] / medians[0],
            1.5,
            "x",
            f"medians {1000 * medians[1]:.2f} ms / {1000 * medians[0]:.2f} ms, p95 {1000 * tails[1]:.1f} ms"
            f" / {1000 * tails[0]:.1f} ms; the first one, with the connection, {first:.2f} s",
        )
    ]


async def _measured(lab: Lab, rounds: int) -> tuple[list[float], list[float], float]:
    """Seconds of each request over TCP, of each through SSH, and of the first one through SSH."""
    vm = lab.vms["epyc6"]
    transport = VMTransport(vm.url, "ssh", vm.host, lambda: _connection(lab), lab.root / "bench")
    over_tcp: list[float] = []
    over_ssh: list[float] = []
    async with OpenCode(vm.url) as direct, OpenCode(vm.url, transport=transport) as forwarded:
        first = await _seconds(forwarded.paths)
        await direct.paths()
        for _ in range(rounds):
            over_tcp.append(await _seconds(direct.paths))
            over_ssh.append(await _seconds(forwarded.paths))
    return over_tcp, over_ssh, first


async def _seconds(ask: Callable[[], Awaitable[object]]) -> float:
    began = time.perf_counter()
    await ask()
    return time.perf_counter() - began


def _connection(lab: Lab) -> SshConnection:
    user, _, address = str(lab.vms["epyc6"].ssh).partition("@")
    host, _, port = address.partition(":")
    options = {
        "User": user,
        "Port": port,
        "ControlMaster": "auto",
        "ControlPersist": 60,
        "ControlPath": _path(lab),
    }
    words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    return SshConnection(("ssh", "-F", str(lab.ssh_files.config), *words), host, f"-p {port} {user}@{host}")


def _path(lab: Lab) -> Path:
    return lab.root / "bench.master"


def _p95(values: list[float]) -> float:
    return statistics.quantiles(values, n=20)[-1]
