# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs on this host, as far as the system shows it: /proc on Linux, `lsof` elsewhere."""

from __future__ import annotations

import os
import subprocess
import typing as t
from dataclasses import dataclass

__all__ = ["Process", "children_of", "environment_of", "process_ids", "working_in"]

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
        Process(pid, _command(pid))
        for pid, directory in found
        if pid != os.getpid() and (directory == folder or directory.startswith(inside))
    ]


def children_of(pid: int) -> list[int]:
    """The direct children of a process that have not been waited for, where there is a /proc."""
    return [other for other in process_ids() if _parent(other) == pid]


def environment_of(pid: int) -> list[bytes]:
    """A process' environment at its start, ``NAME=value`` each; empty where it can't be seen."""
    try:
        with open(f"{PROC}/{pid}/environ", "rb") as file:
            return file.read().split(b"\0")
    except OSError:
        return []


def _parent(pid: int) -> int | None:
    try:
        with open(f"{PROC}/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[1])  # the name before it may hold anything
    except (OSError, ValueError, IndexError):
        return None


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


def _command(pid: int) -> str:
    try:
        with open(f"{PROC}/{pid}/cmdline", "rb") as file:
            text = file.read().replace(b"\0", b" ").decode("utf-8", "replace").strip()
    except OSError:
        text = ""
    return "".join(char if char.isprintable() else " " for char in text)[:100] or "a process"
