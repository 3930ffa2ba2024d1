# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finding and ending every process of a lab, whatever became of its parents, and what they wrote."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import sys
from collections.abc import Collection
from pathlib import Path

import psutil

from .plan import LAB_ID_VARIABLE, VM_VARIABLE

__all__ = [
    "ServerStartError",
    "adopt_orphans",
    "die_with_parent",
    "kill_lab",
    "lab_processes",
    "reap_adopted",
    "remove_tree",
]

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


class ServerStartError(RuntimeError):
    """A server did not come up; the text ends with the tail of its log."""


def adopt_orphans() -> None:
    """From now on descendants that lose their parent become this process' children (Linux; else nothing)."""
    if _libc is not None:
        _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def die_with_parent() -> None:
    """For a child before it executes its program: be killed when the parent dies (Linux; else nothing)."""
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def reap_adopted(own: Collection[int]) -> None:
    """Collect dead children that this process did not start itself; nobody else waits for them."""
    for child in psutil.Process().children():
        if child.pid not in own and _is_zombie(child):
            try:
                os.waitpid(child.pid, os.WNOHANG)
            except ChildProcessError:
                continue


def lab_processes(lab_id: str, vm: str | None = None) -> list[psutil.Process]:
    """All live processes of a lab, or of one of its VMs, found by their environment; never this process."""
    wanted = {LAB_ID_VARIABLE: lab_id} | ({} if vm is None else {VM_VARIABLE: vm})
    return [
        process
        for process in psutil.process_iter()
        if process.pid != os.getpid() and wanted.items() <= _environment(process).items()
    ]


def kill_lab(lab_id: str, *, descendants: bool = False, rounds: int = 20) -> list[psutil.Process]:
    """Kill all processes of a lab; returns those that would not die.

    With ``descendants`` also all of this process, for those that have thrown their environment away. Several
    rounds, since a process may start another one while it is looked for.
    """
    victims: list[psutil.Process] = []
    for _ in range(rounds):
        own = psutil.Process().children(recursive=True) if descendants else []
        victims = [process for process in {*lab_processes(lab_id), *own} if _lives(process)]
        if not victims:
            break
        for victim in victims:
            try:
                victim.kill()
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs(victims, timeout=1)
    return victims


def remove_tree(root: Path, *, rounds: int = 5) -> None:
    """Remove a directory; several rounds, since a dying process may have written a last file meanwhile."""
    for _ in range(rounds):
        shutil.rmtree(root, ignore_errors=True)
        if not root.exists():
            break


def _environment(process: psutil.Process) -> dict[str, str]:
    try:
        return process.environ()
    except (psutil.Error, OSError):
        # Gone, a zombie, or another user's; none of them is ours to end.
        return {}


def _lives(process: psutil.Process) -> bool:
    return process.is_running() and not _is_zombie(process)


def _is_zombie(process: psutil.Process) -> bool:
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
