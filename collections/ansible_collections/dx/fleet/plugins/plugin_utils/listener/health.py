# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the listener is: a file that it writes for ``dx-fleet status``, and the lock that there is one."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ..config.folders import state_folder
from ..domain.clock import SYSTEM_CLOCK, Clock
from ..domain.errors import UsageError
from ..text.age import age

__all__ = ["Health", "Seen", "health_file"]


BEAT_S = 5.0
STALE_S = 30.0
"""A listener that lives shows it more often."""


@dataclass(frozen=True)
class Seen:
    """What is known of the listener; times are Unix times in seconds.

    Attributes:
        process: Its process id.
        started: When it began.
        alive: When it wrote last that it lives.
        connected: Since when it is connected to Slack; None: it is not.
        heard: When it heard something last that concerns it.
        others: How many connections of other listeners the same app has.
        runs: Whether the process is there.
    """

    process: int
    started: float
    alive: float
    connected: float | None = None
    heard: float | None = None
    others: int = 0
    runs: bool = True

    def in_words(self, now: float) -> str:
        """``listening for 3 min, process 123; last heard 20 s ago``."""
        if not self.runs:
            return f"not running; process {self.process} ended {age(now - self.alive)} ago: dx-fleet listen"
        if now - self.alive > STALE_S:
            return f"process {self.process} hangs: no sign of life for {age(now - self.alive)}"
        if self.connected is None:
            return f"process {self.process}, not connected to Slack"
        heard = f"; last heard {age(now - self.heard)} ago" if self.heard else ""
        others = (
            f"; {self.others} other connections of this app get a part of the commands" if self.others else ""
        )
        return f"listening for {age(now - self.connected)}, process {self.process}{heard}{others}"


def health_file(environ: Mapping[str, str]) -> Path:
    """``$XDG_STATE_HOME/dx-fleet/listener.json``."""
    return state_folder(environ) / "listener.json"


class Health:
    """Belongs to the one listener of this user on this machine.

    Args:
        path: Of the file; beside it lies the lock.
        clock: What is written down.
    """

    def __init__(self, path: Path, clock: Clock = SYSTEM_CLOCK) -> None:
        self._clock = clock
        self._path = path
        now = self._clock.time()
        self._seen = Seen(os.getpid(), now, now)
        self._lock: int | None = None

    def begin(self) -> None:
        """Be the one listener.

        Raises:
            UsageError: ``listener_runs``: there is one.
        """
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(self._path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise UsageError(
                "a listener runs already on this machine",
                reason_code="listener_runs",
                next_action="dx-fleet status",
            ) from None
        self._lock = lock
        self._write()

    def end(self) -> None:
        """It was ended by somebody, so that nobody misses it."""
        self._path.unlink(missing_ok=True)

    def connected(self, connections: int) -> None:
        """Slack has greeted; it counts this connection too."""
        self._write(connected=self._clock.time(), others=max(0, connections - 1))

    def beat(self, *, is_connected: bool) -> None:
        """The listener lives; a connection that is lost is no longer one."""
        if self._clock.time() - self._seen.alive >= BEAT_S or is_connected != (
            self._seen.connected is not None
        ):
            self._write(**({} if is_connected else {"connected": None}))

    def heard(self) -> None:
        """Something was heard."""
        self._write(heard=self._clock.time())

    def _write(self, **changes: Any) -> None:
        self._seen = replace(self._seen, alive=self._clock.time(), **changes)
        beside = self._path.with_suffix(".new")
        beside.write_text(json.dumps(asdict(self._seen)))
        beside.replace(self._path)

    @staticmethod
    def read(path: Path) -> Seen | None:
        """What the listener wrote last, and whether it runs; None where there never was one."""
        try:
            seen = Seen(**json.loads(path.read_text()))
        except (OSError, ValueError, TypeError):
            return None
        return replace(seen, runs=_is_locked(path.with_suffix(".lock")))


def _is_locked(path: Path) -> bool:
    try:
        lock = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False
