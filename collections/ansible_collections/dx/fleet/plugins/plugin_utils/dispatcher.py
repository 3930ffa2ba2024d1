# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The process that dispatches, under a name by which others can see whether it still lives.

The name is ``HOST/SYSTEM/PID/BEGAN``: SYSTEM stands for one boot and one space of process ids, BEGAN for when
the process began, so that neither a reboot, nor a container, nor a process id used again looks like life.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import socket
import subprocess
from pathlib import Path

__all__ = ["is_gone", "this_dispatcher"]


def this_dispatcher() -> str:
    """The name of the process that runs the playbook: this one, or the one that forked this worker."""
    parent = multiprocessing.parent_process()
    pid = parent.pid if parent is not None and parent.pid is not None else os.getpid()
    return f"{socket.gethostname()}/{_system()}/{pid}/{_began(pid)}"


def is_gone(dispatcher: str | None) -> bool | None:
    """Whether that process is gone; None where that can't be seen from here, as it is another system's."""
    parts = (dispatcher or "").rsplit("/", 3)
    if len(parts) != 4 or parts[1] != _system() or not parts[2].isdecimal():
        return None
    return _began(int(parts[2])) != parts[3]


def _system() -> str:
    """One boot of one machine, and one space of process ids in it."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        space = os.readlink("/proc/self/ns/pid")
    except OSError:  # macOS
        boot, space = _said_by("sysctl", "-n", "kern.bootsessionuuid"), socket.gethostname()
    return hashlib.sha256(f"{boot} {space}".encode()).hexdigest()[:12]


def _began(pid: int) -> str:
    """When a process began, in whatever the system counts; "" where there is no such process."""
    try:
        # The name in parentheses may hold anything; the 20th field behind it is the start (proc_pid_stat(5)).
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if fields[0] in "ZX" else fields[19]
    except OSError:
        if Path("/proc/self/stat").exists():
            return ""
    return "".join(filter(str.isalnum, _said_by("ps", "-o", "lstart=", "-p", str(pid))))


def _said_by(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()
