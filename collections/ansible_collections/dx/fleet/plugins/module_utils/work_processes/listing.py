# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which processes there are: from /proc on Linux, from ps and lsof elsewhere."""

from __future__ import annotations

import os
import subprocess
import typing as t
from contextlib import suppress

__all__ = ["MODULE", "CannotList", "Process", "processes", "tool"]

MODULE = "DX_FLEET_MODULE"
"""In the environment of what a module of ours runs: that module's process."""


class CannotList(Exception):
    """The processes of this host can't be listed. The message says what is missing."""


class Process(t.NamedTuple):
    """One process.

    ``cwd`` is None where it is hidden; ``began`` is in whatever the system counts, and tells two processes of
    one id apart; ``has_terminal``: it belongs to somebody's terminal. ``server`` is the process of OpenCode
    in whose shell it was begun, as its environment says (OpenCode 1.18), also after it left its parents;
    ``came_from`` are the directories that its environment names; ``module`` is the process of the module of
    ours that runs it.
    """

    pid: int
    parent: int
    began: str
    command: str
    cwd: str | None
    has_terminal: bool
    uid: int
    server: int | None = None
    came_from: tuple[str, ...] = ()
    module: int | None = None

    def as_dict(self) -> dict[str, t.Any]:
        """For a result: its id, and what it runs, shortened."""
        return {"pid": self.pid, "began": self.began, "command": self.command[:200], "cwd": self.cwd}


def tool() -> str:
    """What the processes are listed with: ``proc``, else ``ps and lsof``."""
    return "proc" if os.path.exists("/proc/self/stat") else "ps and lsof"


def processes() -> list[Process]:
    """Every process that still runs.

    Raises:
        CannotList: There is neither /proc nor ps and lsof.
    """
    return _of_proc() if tool() == "proc" else _of_ps()


def _of_proc() -> list[Process]:
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            # It may end while it is looked at, which is as well.
            with suppress(OSError, IndexError, ValueError):
                process = _one_of_proc(int(name))
                if process is not None:
                    found.append(process)
    return found


def _one_of_proc(pid: int) -> Process | None:
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
        head, _, rest = file.read().rpartition(")")
    fields = rest.split()  # proc_pid_stat(5), from the third field on
    if fields[0] in "ZX":
        return None
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        words = file.read().replace(b"\0", b" ").decode(errors="replace").strip()
    try:
        cwd: str | None = os.readlink(f"/proc/{pid}/cwd")
    except OSError:
        cwd = None
    environment = _environment(pid)
    return Process(
        pid=pid,
        parent=int(fields[1]),
        began=fields[19],
        command=words or head.partition("(")[2],
        cwd=cwd,
        has_terminal=fields[4] != "0",
        uid=os.stat(f"/proc/{pid}").st_uid,
        server=_process(environment.get("OPENCODE_PID")),
        came_from=tuple(environment[name] for name in ("PWD", "OLDPWD") if name in environment),
        module=_process(environment.get(MODULE)),
    )


def _process(word: str | None) -> int | None:
    return int(word) if word and word.isdecimal() else None


def _environment(pid: int) -> dict[str, str]:
    """What a process was begun with; empty where it is another user's."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            words = file.read().decode(errors="replace").split("\0")
    except OSError:
        return {}
    return {name: value for name, _, value in (word.partition("=") for word in words)}


def _of_ps() -> list[Process]:
    """macOS and others. A folder that lsof does not show counts as hidden."""
    listed = _said_by("ps", "-axo", "pid=,ppid=,uid=,tty=,lstart=,command=")
    folders = _folders(_said_by("lsof", "-w", "-d", "cwd", "-Fpn"))
    found = []
    for line in listed.splitlines():
        words = line.split(None, 9)
        if len(words) < 10 or not words[0].isdigit():
            continue
        pid, parent, uid = (int(word) for word in words[:3])
        found.append(
            Process(
                pid=pid,
                parent=parent,
                began=" ".join(words[4:9]),
                command=words[9],
                cwd=folders.get(pid),
                has_terminal=words[3] not in ("?", "??", "-"),
                uid=uid,
            )
        )
    return found


def _folders(text: str) -> dict[int, str]:
    """Working directories in the answer of ``lsof -Fpn``: a line pPID, then a line nPATH."""
    found, pid = {}, 0
    for line in text.splitlines():
        if line[:1] == "p" and line[1:].isdigit():
            pid = int(line[1:])
        elif line[:1] == "n" and pid:
            found[pid] = line[1:]
    return found


def _said_by(*command: str) -> str:
    environment = {**os.environ, "LC_ALL": "C"}
    try:
        # lsof ends with 1 where it could not see everything.
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=20,
            check=False,
            env=environment,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CannotList(
            f"{command[0]} can't be used: {getattr(error, 'strerror', None) or error}"
        ) from error
    return done.stdout
