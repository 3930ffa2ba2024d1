# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One task on three VMs, against the same by plain HTTP.

Three servers share this machine's cores, so they take longer than one whoever asks them: what is compared is how
much longer, by ours and by plain HTTP.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import httpx

from tests.lab import Lab

from .figure import Figure, Setting
from .processes import Run, median, paired

__all__ = ["fan_out"]

TASK = "@bash sleep 5"
ONE = ("epyc6",)
LOOK_EVERY_S = 0.05


def fan_out(setting: Setting) -> list[Figure]:
    """A task of five seconds on three VMs and on one, by ours and by plain HTTP."""
    every = tuple(setting.lab.vms)
    rounds = max(3, setting.rounds // 2)
    ours, our_one, theirs, their_one = paired(
        rounds,
        lambda: setting.dispatch("--all", "affordabot", TASK),
        lambda: setting.dispatch(*ONE, "affordabot", TASK),
        lambda: _by_http(setting.lab, every),
        lambda: _by_http(setting.lab, ONE),
    )
    three, one = median(ours, "wall_s"), median(our_one, "wall_s")
    http_three, http_one = median(theirs, "wall_s"), median(their_one, "wall_s")
    return [
        Figure(
            "--all, against plain HTTP to the same three servers",
            (three / one) / (http_three / http_one),
            1.05,
            "x",
            f"three VMs take {three / one:.2f}x of one ({three:.2f} s / {one:.2f} s), by plain HTTP"
            f" {http_three / http_one:.2f}x ({http_three:.2f} s / {http_one:.2f} s); medians of {rounds}, 5 s task",
        )
    ]


def _by_http(lab: Lab, vms: Sequence[str]) -> Run:
    began_at, began = time.time(), time.monotonic()
    with ThreadPoolExecutor(len(vms)) as pool:
        list(pool.map(lambda vm: _task(lab, vm), vms))
    return Run(wall_s=time.monotonic() - began, cpu_s=0.0, began_at=began_at, out="")


def _task(lab: Lab, vm: str) -> None:
    """Make a session, send the task, and look till it is over."""
    session, directory = f"ses_bench-{secrets.token_hex(6)}", str(lab.vms[vm].repo("affordabot"))
    with lab.vms[vm].http() as server:
        _ask(server, "POST", "/api/session", {"id": session, "location": {"directory": directory}})
        body = {"parts": [{"type": "text", "text": TASK}]}
        _ask(server, "POST", f"/session/{session}/prompt_async", body)
        while not _has_ended(server, session):
            time.sleep(LOOK_EVERY_S)


def _has_ended(server: httpx.Client, session: str) -> bool:
    last = _ask(server, "GET", f"/session/{session}/message").json()[-1:]
    return bool(last) and last[0]["info"].get("finish") == "stop"


def _ask(server: httpx.Client, method: str, path: str, body: object = None) -> httpx.Response:
    return server.request(method, path, json=body).raise_for_status()
