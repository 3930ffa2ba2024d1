# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a machine says of itself, read by commands that Linux and macOS have, and what is wrong with it."""

from __future__ import annotations

import ipaddress
import re
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from testinfra.host import Host

__all__ = [
    "Listener",
    "Process",
    "Worktree",
    "abandoned",
    "clock_skew_s",
    "free_mib",
    "is_exposed",
    "listeners",
    "orphans",
    "place_of_remote",
    "processes",
    "worktrees",
]

_DAY_S = 86400.0


@dataclass(frozen=True)
class Listener:
    """A process that listens at an address; ``pid`` is None where the user may not see it."""

    address: str
    pid: int | None


@dataclass(frozen=True)
class Process:
    """A process; ``tty`` is whether it has a terminal, ``cwd`` the directory in which it is, if that is known."""

    pid: int
    parent: int
    tty: bool
    name: str
    cwd: str | None = None


@dataclass(frozen=True)
class Worktree:
    """A worktree of a clone. ``lock`` is why it is locked, None where it is not; ``age_s`` since its last change."""

    path: str
    lock: str | None
    prunable: bool
    age_s: float = 0.0


def listeners(host: Host, port: int) -> list[Listener]:
    """Who listens on a TCP port, on whatever address."""
    if host.exists("ss"):
        return listeners_of_ss(host.check_output("ss -Hltnp sport = :%s", str(port)))
    return listeners_of_lsof(host.run("lsof -nP -iTCP:%s -sTCP:LISTEN -Fpn", str(port)).stdout)


def listeners_of_ss(text: str) -> list[Listener]:
    """Of the lines of ``ss -Hltnp``."""
    found = []
    for line in text.splitlines():
        address = line.split()[3].rpartition(":")[0].strip("[]").partition("%")[0]
        pids = [int(pid) for pid in re.findall(r"pid=(\d+)", line)] or [None]
        found += [Listener(address, pid) for pid in pids]
    return found


def listeners_of_lsof(text: str) -> list[Listener]:
    """Of the fields of ``lsof -Fpn``."""
    found, pid = [], 0
    for line in text.splitlines():
        if line.startswith("p"):
            pid = int(line[1:])
        elif line.startswith("n"):
            found.append(Listener(line[1:].rpartition(":")[0].strip("[]"), pid))
    return found


def is_exposed(found: Iterable[Listener]) -> bool:
    """Whether any of them can be reached from another machine."""
    return any(not _is_loopback(each.address) for each in found)


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:  # ``*``, every address
        return False


def processes(host: Host) -> list[Process]:
    """Every process that the user may see."""
    listed = host.check_output("ps -axo pid=,ppid=,tty=,comm=")
    if host.file("/proc/self").exists:
        links = host.run(
            "ls -l /proc/[0-9]*/cwd"
        ).stdout  # not all are the user's to read: the rest is listed
        return processes_of(listed, dict(re.findall(r"^l.* /proc/(\d+)/cwd -> (.*)$", links, re.MULTILINE)))
    fields = host.run("lsof -nP -a -d cwd -Fpn").stdout.splitlines()
    pairs = [(fields[at][1:], fields[at + 2][1:]) for at in range(0, len(fields) - 2, 3)]
    return processes_of(listed, dict(pairs))


def processes_of(listed: str, cwds: Mapping[str, str]) -> list[Process]:
    """Of the lines of ``ps`` and the directories by process id."""
    found = []
    for line in listed.splitlines():
        pid, parent, tty, name = line.split(None, 3)
        found.append(Process(int(pid), int(parent), not tty.startswith("?"), name, cwds.get(pid) or None))
    return found


def orphans(
    found: Collection[Process], folders: Collection[str], reapers: Collection[int] = (1,)
) -> list[Process]:
    """What an agent left: processes in its folders without a terminal, whose parent is gone.

    Args:
        found: All processes.
        folders: Clones and folders of worktrees, links resolved.
        reapers: The processes to which children of a dead one go.
    """
    return [
        each
        for each in found
        if each.parent in reapers and not each.tty and each.cwd is not None and _is_in(each.cwd, folders)
    ]


def _is_in(path: str, folders: Collection[str]) -> bool:
    return any(path == folder or path.startswith(folder.rstrip("/") + "/") for folder in folders)


def worktrees(host: Host, clone: str) -> list[Worktree]:
    """The worktrees of a clone, without the clone itself."""
    listed = host.check_output("git -C %s worktree list --porcelain", clone)
    found = worktrees_of(listed)[1:]
    return [Worktree(each.path, each.lock, each.prunable, _age_s(host, each.path)) for each in found]


def worktrees_of(listed: str) -> list[Worktree]:
    """Of the lines of ``git worktree list --porcelain``."""
    found = []
    for block in listed.strip().split("\n\n"):
        facts = dict([*line.split(" ", 1), ""][:2] for line in block.splitlines())
        found.append(Worktree(facts["worktree"], facts.get("locked"), "prunable" in facts))
    return found


def _age_s(host: Host, path: str) -> float:
    changed = host.file(f"{path}/.git")
    return time.time() - changed.mtime.timestamp() if changed.exists else 0.0


def abandoned(found: Iterable[Worktree], *, keep_days: float) -> list[str]:
    """The worktrees that nobody will come back to, with the reason."""
    wrong = []
    for each in found:
        if each.prunable:
            wrong.append(f"{each.path}: its folder is gone")
        elif each.lock == "initializing" and each.age_s > 3600:
            wrong.append(f"{each.path}: it was never finished")
        elif each.age_s > keep_days * _DAY_S:
            wrong.append(f"{each.path}: nothing changed for {each.age_s / _DAY_S:.0f} days")
    return wrong


def clock_skew_s(host: Host) -> float:
    """How many seconds the machine's clock is ahead of this one's, as far as that is certain."""
    before = time.time()
    there = float(host.check_output("python3 -c 'import time; print(time.time())'"))
    after = time.time()
    return max(there - after, 0.0) + min(there - before, 0.0)


def free_mib(host: Host, path: str) -> int:
    """How much room a user has where a path is."""
    line = host.check_output("df -Pk %s", path).splitlines()[-1]
    return int(line.split()[3]) // 1024


def place_of_remote(url: str) -> str:
    """What a remote's URL names, however it is written: ``github.com/me/affordabot``."""
    plain = re.sub(r"^[a-z+]+://", "", url.strip())
    if plain == url.strip() and not plain.startswith(("/", ".")):
        plain = plain.replace(":", "/", 1)
    plain = plain.rpartition("@")[2] if "@" in plain.partition("/")[0] else plain
    return re.sub(r"(\.git)?/*$", "", plain)
