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
import re
import socket
import subprocess
from enum import Enum
from pathlib import Path

__all__ = ["Liveness", "liveness_of", "this_dispatcher"]

_UNKNOWN = "unknown"


class Liveness(Enum):
    """Whether a dispatcher lives. ``UNSEEN``: that can't be seen from here."""

    ALIVE = "alive"
    GONE = "gone"
    UNSEEN = "unseen"


_PID = re.compile(r"[1-9][0-9]{0,8}")


def this_dispatcher() -> str:
    """The name of the process that runs the playbook: this one, or the one that forked this worker."""
    parent = multiprocessing.parent_process()
    pid = parent.pid if parent is not None and parent.pid is not None else os.getpid()
    return f"{socket.gethostname()}/{_system()}/{pid}/{_began(pid) or _UNKNOWN}"


def liveness_of(dispatcher: str | None) -> Liveness:
    """Whether that process lives, as far as this system can see it."""
    parts = (dispatcher or "").rsplit("/", 3)
    if len(parts) != 4 or parts[1] != _system() or not _PID.fullmatch(parts[2]) or parts[3] == _UNKNOWN:
        return Liveness.UNSEEN
    began = _began(int(parts[2]))
    if began is None:
        return Liveness.UNSEEN
    return Liveness.ALIVE if began == parts[3] else Liveness.GONE


def _system() -> str:
    """One boot of one machine, and one space of process ids in it."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        space = os.readlink("/proc/self/ns/pid")
    except OSError:  # macOS
        boot, space = _said_by("sysctl", "-n", "kern.bootsessionuuid"), socket.gethostname()
    return hashlib.sha256(f"{boot} {space}".encode()).hexdigest()[:12]


def _began(pid: int) -> str | None:
    """When a process began, in whatever the system counts; "" where there is none; None: it is hidden."""
    try:
        # The name in parentheses may hold anything; the 20th field behind it is the start (proc_pid_stat(5)).
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        return "" if fields[0] in "ZX" else fields[19]
    except OSError:
        pass
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        pass  # another user's, which hidepid of proc(5) keeps from us
    if Path("/proc/self/stat").exists():
        return None
    return "".join(filter(str.isalnum, _said_by("ps", "-o", "lstart=", "-p", str(pid)))) or None


def _said_by(*command: str) -> str:
    # A time in the words of whoever asks would be another one for each of them.
    environment = {**os.environ, "LC_ALL": "C", "TZ": "UTC"}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=5, check=False, env=environment
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()
