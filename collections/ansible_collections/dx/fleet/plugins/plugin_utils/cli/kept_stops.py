# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stops of VMs that could not be reached, on disk until they can be: one file each, in the state folder.

There is at most one for a VM and what is to be stopped there; a later one takes the place of an earlier one.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..config.folders import state_folder
from ..domain.person import shown_person
from ..text.age import age

__all__ = ["KeptStop", "KeptStops", "as_section"]

EXPIRES_S = 7 * 86400.0
"""A stop that was asked for so long ago is dropped: whoever wanted it has seen to it otherwise."""


@dataclass(frozen=True)
class KeptStop:
    """A stop that is still to be done, by the server of this URL: VMs of other fleets may have the same name.

    ``what`` is a session, bead or dispatch; None is all that the VM does. ``asked_at`` is when it
    was asked for, in seconds since the epoch: what began later is left alone.
    """

    vm: str
    what: str | None
    by: str
    reason: str
    asked_at: float
    url: str

    def in_words(self, now: float) -> str:
        """``bd-1 on epyc6, asked for by feng 3 min ago: wrong branch``."""
        why = f": {self.reason}" if self.reason else ""
        asked = f"asked for by {shown_person(self.by)} {age(now - self.asked_at)} ago"
        return f"{self.what or 'all work'} on {self.vm}, {asked}{why}"

    def is_expired(self, now: float) -> bool:
        """Whether it is too old to be done."""
        return now - self.asked_at > EXPIRES_S

    @classmethod
    def read(cls, text: str) -> KeptStop:
        """The reverse of what is written.

        Raises:
            ValueError, KeyError, TypeError: It is none.
        """
        data = json.loads(text)
        known = {name: data[name] for name in ("vm", "what", "by", "reason", "asked_at", "url")}
        texts = [known["vm"], known["by"], known["reason"], known["url"], known["what"] or ""]
        if not all(isinstance(each, str) for each in texts) or not math.isfinite(known["asked_at"]):
            raise ValueError("not a kept stop")
        return cls(**known)


class KeptStops:
    """All kept stops of this user on this machine.

    Args:
        environ: The environment, which names the state folder.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._folder = state_folder(environ) / "stops"

    def keep(self, stop: KeptStop) -> None:
        """Keep it; once this returns it outlives this process and the machine's next start.

        Raises:
            OSError: It can't be kept.
        """
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._path(stop.vm, stop.what)
        new = path.with_suffix(f".{os.getpid()}.new")
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with open(descriptor, "w", encoding="utf-8") as stream:
            json.dump(asdict(stop), stream)
            stream.flush()
            os.fsync(stream.fileno())
        new.replace(path)

    def all(self) -> list[KeptStop]:
        """Every kept stop that can be read, the oldest first."""
        found = []
        for path in sorted(self._folder.glob("*.json")):
            with suppress(OSError, ValueError, KeyError, TypeError):  # somebody's own, or just removed
                found.append(KeptStop.read(path.read_text(encoding="utf-8")))
        return sorted(found, key=lambda stop: (stop.asked_at, stop.vm, stop.what or ""))

    def forget(self, vm: str, what: str | None) -> list[KeptStop]:
        """Drop what is kept for a VM and that, or all that is kept for the VM (None); returns what it was."""
        dropped = [each for each in self.all() if each.vm == vm and what in (None, each.what)]
        for each in dropped:
            self.done(each)
        return dropped

    def done(self, stop: KeptStop) -> None:
        """Drop this one, unless a later one has taken its place."""
        path = self._path(stop.vm, stop.what)
        with suppress(OSError, ValueError, KeyError, TypeError):
            if KeptStop.read(path.read_text(encoding="utf-8")) == stop:
                path.unlink()

    @contextmanager
    def being_done(self) -> Iterator[bool]:
        """Whether this process alone carries out kept stops meanwhile."""
        if not self._folder.is_dir():
            yield False
            return
        with open(self._folder / "lock", "a", encoding="utf-8") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                yield False
                return
            yield True

    def _path(self, vm: str, what: str | None) -> Path:
        name = hashlib.sha256(json.dumps([vm, what]).encode()).hexdigest()[:24]
        return self._folder / f"{name}.json"


def as_section(stops: list[KeptStop]) -> list[dict[str, Any]]:
    """For the JSON document."""
    return [asdict(stop) for stop in stops]
