# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which processes belong to the work in a directory. No I/O.

A process belongs to it if OpenCode's server began it (as its parents show, or its environment), and it works
in the directory, or was begun by one that does. Of one that left its parents and has another environment only
the directory is known: it belongs to the work in a worktree that is the work's own; in a folder that people
use as well, that is not known. What a module of ours runs there is not of the work: a dispatch that is being
stopped lets go of its worktree meanwhile.
"""

from __future__ import annotations

import os
import typing as t

from .listing import Process

__all__ = ["Belonging", "belonging"]


class Belonging(t.NamedTuple):
    """``surely``: they belong to the work. ``perhaps``: they work in the directory, for whomever."""

    surely: tuple[Process, ...] = ()
    perhaps: tuple[Process, ...] = ()


def belonging(
    listed: t.Sequence[Process],
    directory: str,
    *,
    exclusive: bool,
    known: t.AbstractSet[tuple[int, str]],
    me: int,
) -> Belonging:
    """The processes of the work in a directory.

    Args:
        listed: Every process.
        directory: Its path, without symbolic links.
        exclusive: Whether nobody else works there.
        known: Processes (id and when it began) that were found to belong to it before: they do so still,
            wherever they went.
        me: This process, which with those above it is left out.
    """
    by_id = {process.pid: process for process in listed}
    spared = {me} | {process.pid for process in _above(by_id, me)}
    spared |= {process.pid for process in listed if _is_server(process)}
    surely: dict[int, Process] = {}
    perhaps: list[Process] = []
    for process in listed:
        if process.pid in spared:
            continue
        line = [process, *_above(by_id, process.pid)]
        inside = [each for each in line if _was_inside(each, directory) and each.pid not in spared]
        of_server = any(_is_server(each) or _of_server(each, by_id) for each in line)
        if (process.pid, process.began) in known or (inside and of_server):
            surely[process.pid] = process
        elif process.module in {each.pid for each in line[1:]}:
            continue
        elif inside and not any(each.has_terminal for each in line):
            if exclusive:
                surely[process.pid] = process
            elif _is_inside(process.cwd, directory):
                perhaps.append(process)
    return Belonging(tuple(surely.values()), tuple(perhaps))


def _above(by_id: t.Mapping[int, Process], pid: int) -> list[Process]:
    """The parents of a process, up to the first one."""
    found: list[Process] = []
    seen = {pid}
    process = by_id.get(pid)
    while process is not None and process.parent not in seen and process.parent in by_id:
        process = by_id[process.parent]
        seen.add(process.pid)
        found.append(process)
    return found


def _is_server(process: Process) -> bool:
    words = process.command.split()
    named = any(os.path.basename(word).startswith("opencode") for word in words[:3])
    return named and "serve" in words[1:4]


def _of_server(process: Process, by_id: t.Mapping[int, Process]) -> bool:
    """Whether a server began it that serves, or is gone: not the program of a person at a terminal."""
    if process.server is None:
        return False
    server = by_id.get(process.server)
    return server is None or _is_server(server)


def _was_inside(process: Process, directory: str) -> bool:
    """Whether it works in the directory, or left it: bash passes on where it came from."""
    left = process.server is not None and any(_is_inside(folder, directory) for folder in process.came_from)
    return left or _is_inside(process.cwd, directory)


def _is_inside(cwd: str | None, directory: str) -> bool:
    if cwd is None:
        return False
    cwd = cwd[: -len(" (deleted)")] if cwd.endswith(" (deleted)") else cwd
    return cwd == directory or cwd.startswith(directory.rstrip("/") + "/")
