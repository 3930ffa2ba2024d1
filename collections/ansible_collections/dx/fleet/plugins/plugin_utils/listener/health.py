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

from ..config.folders import state_folder
from ..domain.clock import SYSTEM_CLOCK, Clock
from ..domain.errors import UsageError

__all__ = ["Health", "Seen", "health_file"]


@dataclass(frozen=True)
class Seen:
    """Unix times in seconds; ``connected`` is None until Slack has greeted, ``others`` counts connections of
    other listeners of the same app."""

    process: int
    started: float
    connected: float | None = None
    heard: float | None = None
    others: int = 0

    def in_words(self, now: float) -> str:
        """``listening for 3 min, process 123; last heard 20 s ago``."""
        if self.connected is None:
            return f"process {self.process}, not connected to Slack"
        heard = f"; last heard {now - self.heard:.0f} s ago" if self.heard else ""
        others = (
            f"; {self.others} other connections of this app get a part of the commands" if self.others else ""
        )
        return f"listening for {now - self.connected:.0f} s, process {self.process}{heard}{others}"


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
        self._seen = Seen(os.getpid(), self._clock.time())
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

    def connected(self, connections: int) -> None:
        """Slack has greeted; it counts this connection too."""
        others = max(0, connections - 1)
        self._seen = replace(self._seen, connected=self._clock.time(), others=others)
        self._write()

    def heard(self) -> None:
        """Something was heard."""
        self._seen = replace(self._seen, heard=self._clock.time())
        self._write()

    def _write(self) -> None:
        beside = self._path.with_suffix(".new")
        beside.write_text(json.dumps(asdict(self._seen)))
        beside.replace(self._path)

    @staticmethod
    def read(path: Path) -> Seen | None:
        """What a living listener wrote last; None where none runs."""
        try:
            lock = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            try:
                return Seen(**json.loads(path.read_text()))
            except (OSError, ValueError, TypeError):
                return None
        finally:
            os.close(lock)
        return None
