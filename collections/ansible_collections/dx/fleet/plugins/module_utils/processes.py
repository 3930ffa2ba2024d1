# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs on this host, as far as the system shows it: /proc on Linux, `lsof` elsewhere."""

from __future__ import annotations

import os
import subprocess
import typing as t
from dataclasses import dataclass

__all__ = ["Process", "command_of", "descendants_of", "marked", "process_ids", "working_in"]

PROC = "/proc"


@dataclass(frozen=True)
class Process:
    """One process; ``command`` is for a person."""

    pid: int
    command: str


def process_ids() -> list[int]:
    """Every process, where there is a /proc."""
    try:
        return [int(name) for name in os.listdir(PROC) if name.isdigit()]
    except OSError:
        return []


def working_in(folder: str) -> list[Process]:
    """The processes whose working directory is a folder or below it, other than this one.

    Those of other users can't be seen.
    """
    folder = os.path.realpath(folder)
    found = _by_proc() if os.path.isdir(os.path.join(PROC, "self")) else _by_lsof()
    inside = folder.rstrip("/") + "/"
    return [
        Process(pid, command_of(pid))
        for pid, directory in found
        if pid != os.getpid() and (directory == folder or directory.startswith(inside))
    ]


def descendants_of(pid: int) -> list[int]:
    """The processes that a process has started, and those that these have, which have not ended.

    Without a /proc there are none to be seen.
    """
    children: dict[int, list[int]] = {}
    ended: set[int] = set()
    for other in process_ids():
        parent, state = _parent(other)
        if parent is not None:
            children.setdefault(parent, []).append(other)
        if state == "Z":  # its children are on their way to another parent
            ended.add(other)
    found: list[int] = []
    todo = [pid]
    while todo:
        new = children.get(todo.pop(), [])
        found += new
        todo += new
    return [other for other in found if other not in ended]


def marked(variable: str) -> list[int]:
    """The processes, other than this one, that were started with ``NAME=value`` in their environment."""
    if os.path.isdir(os.path.join(PROC, "self")):
        wanted = variable.encode()
        return [pid for pid in process_ids() if pid != os.getpid() and wanted in _environment_of(pid)]
    words = ["ps", "-axEo", "pid=,command="]  # macOS
    done = subprocess.run(words, capture_output=True, timeout=30, check=False)
    lines = done.stdout.decode("utf-8", "replace").splitlines()
    return [int(line.split()[0]) for line in lines if f" {variable}" in line]


def command_of(pid: int) -> str:
    """The command line of a process, for a person."""
    try:
        with open(f"{PROC}/{pid}/cmdline", "rb") as file:
            text = file.read().replace(b"\0", b" ").decode("utf-8", "replace").strip()
    except OSError:
        text = ""
    return "".join(char if char.isprintable() else " " for char in text)[:100] or "a process"


def _environment_of(pid: int) -> list[bytes]:
    try:
        with open(f"{PROC}/{pid}/environ", "rb") as file:
            return file.read().split(b"\0")
    except OSError:
        return []


def _parent(pid: int) -> tuple[int | None, str]:
    """The parent of a process, and its state."""
    try:
        with open(f"{PROC}/{pid}/stat", "rb") as file:
            state, parent = (
                file.read().rpartition(b")")[2].split()[:2]
            )  # the name before it may hold anything
        return int(parent), state.decode()
    except (OSError, ValueError):
        return None, ""


def _by_proc() -> t.Iterator[tuple[int, str]]:
    for pid in process_ids():
        try:
            directory = os.readlink(f"{PROC}/{pid}/cwd")
        except OSError:
            continue
        yield pid, directory[: -len(" (deleted)")] if directory.endswith(" (deleted)") else directory


def _by_lsof() -> t.Iterator[tuple[int, str]]:
    try:
        done = subprocess.run(
            ["lsof", "-a", "-d", "cwd", "-Fpn"], capture_output=True, timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return
    pid = 0
    for line in done.stdout.decode("utf-8", "surrogateescape").splitlines():
        if line.startswith("p"):
            pid = int(line[1:])
        elif line.startswith("n"):
            yield pid, line[1:]
