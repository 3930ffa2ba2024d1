# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ending the processes of the work in a directory, and showing that nothing of it goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import time
import typing as t
from contextlib import suppress

from .belonging import Belonging, belonging
from .listing import CannotList, Process, processes, tool

__all__ = ["Found", "of_options", "work_processes"]

POLITE_S = 2.0  # between TERM and KILL
PATIENCE_S = 15.0  # for what even KILL does not end at once: it is in the kernel
PAUSE_S = 0.02
LOOK_EVERY_S = 0.25  # at the commit that is checked out
LONGEST_S = 3600.0  # of a watch; what began before that is of another start of the machine


class Found:
    """What was seen in one directory.

    ``processes`` still run; None: they can't be listed (``why``). ``unsure`` work there, for whomever.
    ``ended`` were ended. ``head`` is the commit that was checked out at the end of ``watched_s`` seconds, in
    which it moved or not; None where there is no repository, no commit yet, or it can't be read (``unread``
    says why). ``began`` is when this look began, ``moment`` when the commit was first read, both in seconds
    since the start of the machine. ``dirty`` counts files with changes that are in no commit.
    """

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self.listed_with = tool()
        self.processes: list[dict[str, t.Any]] | None = None
        self.unsure: list[dict[str, t.Any]] = []
        self.ended: list[dict[str, t.Any]] = []
        self.why: str | None = None
        self.head: str | None = None
        self.head_before: str | None = None
        self.unread: str | None = None
        self.watched_s = 0.0
        self.began = time.monotonic()
        self.moment = 0.0
        self.dirty: int | None = None


def of_options(options: t.Mapping[str, t.Any], check: bool) -> dict[str, t.Any]:
    """The result of the module ``work_processes``.

    Args:
        options: Those of the module, with all defaults.
        check: End nothing, and watch nothing.
    """
    found = work_processes(
        options["directory"],
        exclusive=options["exclusive"],
        end=options["state"] == "ended" and not check,
        watch_s=0.0 if check else options["watch"],
        since=options["since"],
    )
    return {"changed": bool(found.ended), **vars(found)}


def work_processes(
    directory: str,
    *,
    exclusive: bool,
    end: bool,
    watch_s: float,
    since: t.Mapping[str, t.Any] | None = None,
) -> Found:
    """Find the processes of a directory; end them if that is wanted, and watch its commit for a while.

    Args:
        directory: Where the work is.
        exclusive: Whether nobody else works there.
        end: Whether they are ended: by TERM, two seconds later by KILL, and again while new ones appear.
        watch_s: How long the checked out commit and the processes are watched afterwards.
        since: ``moment`` and ``head`` of an earlier run. Where nothing had to be ended meanwhile, the watch
            began with it. Its ``processes`` belong to the work still, wherever they went.
    """
    found = Found(os.path.realpath(directory))
    known = {(each["pid"], each["began"]) for each in (since or {}).get("processes") or ()}
    now = _listed(found, lambda: (_end_all if end else _look)(found, exclusive, known))
    _watch(found, watch_s, None if found.ended else since)
    if now is not None and watch_s:
        now = _listed(found, lambda: _look(found, exclusive, known))
    if now is not None:
        found.processes = [process.as_dict() for process in now.surely]
        found.unsure = [process.as_dict() for process in now.perhaps]
    return found


def _listed(found: Found, look: t.Callable[[], Belonging]) -> Belonging | None:
    try:
        return look()
    except CannotList as error:
        found.why = str(error)
        return None


def _look(found: Found, exclusive: bool, known: set[tuple[int, str]]) -> Belonging:
    now = belonging(processes(), found.directory, exclusive=exclusive, known=known, me=os.getpid())
    known.update((process.pid, process.began) for process in now.surely)
    return now


def _end_all(found: Found, exclusive: bool, known: set[tuple[int, str]]) -> Belonging:
    """What is left after all that could be done."""
    began = time.monotonic()
    asked: dict[int, str] = {}
    now = _look(found, exclusive, known)
    while now.surely and time.monotonic() - began < PATIENCE_S:
        late = time.monotonic() - began >= POLITE_S
        for process in now.surely:
            _signal(process, asked, found, late=late)
        time.sleep(PAUSE_S)
        now = _look(found, exclusive, known)
    return now


def _signal(process: Process, asked: dict[int, str], found: Found, *, late: bool) -> None:
    first = asked.get(process.pid) != process.began
    if first:
        asked[process.pid] = process.began
        found.ended.append(process.as_dict())
    if first or late:
        # Gone meanwhile, or another user's: what is left is seen by the next look.
        with suppress(ProcessLookupError, PermissionError):
            os.kill(process.pid, signal.SIGKILL if late else signal.SIGTERM)


def _watch(found: Found, watch_s: float, since: t.Mapping[str, t.Any] | None) -> None:
    found.head_before = found.head = _git(found.directory, "rev-parse", "HEAD")
    began = found.moment = time.monotonic()
    if since is not None and 0.0 <= began - since["moment"] < LONGEST_S:
        began, found.head_before = since["moment"], since["head"]
    found.dirty = _dirty(found.directory)  # not after the watch, whose end is waited for
    while found.head == found.head_before and (left := began + watch_s - time.monotonic()) > 0:
        time.sleep(min(LOOK_EVERY_S, left))
        found.head = _git(found.directory, "rev-parse", "HEAD")
    found.watched_s = round(time.monotonic() - began, 3)
    found.unread = _unread(found.directory) if found.head is None else None


def _unread(directory: str) -> str | None:
    """Why no commit could be read, where there is a repository; None also where that has no commit yet."""
    above = [directory]
    while above[-1] != os.path.dirname(above[-1]):
        above.append(os.path.dirname(above[-1]))
    if not any(os.path.lexists(os.path.join(each, ".git")) for each in above):
        return None
    if _git(directory, "rev-parse", "--git-dir") is not None:
        return None
    return "git can't read the repository there: it is missing, or the repository is another user's or broken"


def _dirty(directory: str) -> int | None:
    listed = _git(directory, "status", "--porcelain", "-z")
    return None if listed is None else len([line for line in listed.split("\0") if line])


def _git(directory: str, *words: str) -> str | None:
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0"}
    try:
        done = subprocess.run(
            ["git", "-C", directory, *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=20,
            check=False,
            env=environment,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip("\n") if done.returncode == 0 else None
