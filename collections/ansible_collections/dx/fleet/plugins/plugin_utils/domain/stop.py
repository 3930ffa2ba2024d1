# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A stop: who wants what to stop and why, and what proves that it did. Plain data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from .person import shown_person

__all__ = ["Clause", "StopMark"]

KEY = "dx_stop"


@dataclass(frozen=True)
class Clause:
    """One thing that must be so for a stop to be proven, and what was seen of it."""

    name: str
    proven: bool
    evidence: str

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return asdict(self)


@dataclass(frozen=True)
class StopMark:
    """The note of a stop in a session's metadata: it reaches whoever sends or follows the task.

    ``at`` is in seconds since the epoch. ``dispatch`` and ``message`` name the task that is stopped: a later
    one in the same session is another.
    """

    by: str
    why: str
    at: float
    dispatch: str | None
    message: str | None

    @classmethod
    def read(cls, metadata: Mapping[str, Any]) -> StopMark | None:
        """The mark in a session's metadata; None where there is none, or something else."""
        kept = metadata.get(KEY)
        if not isinstance(kept, Mapping):
            return None
        by, why, at = (kept.get(name) for name in ("by", "why", "at"))
        named = [kept.get(name) for name in ("dispatch", "message")]
        if not isinstance(by, str) or not isinstance(why, str) or not _is_time(at):
            return None
        dispatch, message = (name if isinstance(name, str) else None for name in named)
        return cls(by, why, float(at or 0), dispatch, message)

    def added_to(self, metadata: Mapping[str, Any]) -> dict[str, Any]:
        """A session's metadata with the mark: a change of metadata replaces all of it (OpenCode 1.18)."""
        return {**metadata, KEY: asdict(self)}

    def is_about(self, dispatch: str | None, message: str | None) -> bool:
        """Whether it stops this task."""
        return (dispatch is not None and dispatch == self.dispatch) or (
            message is not None and message == self.message
        )

    def words(self) -> str:
        """For a person: who stopped it, and why."""
        return f"stopped by {shown_person(self.by)}" + (f": {self.why}" if self.why else "")


def _is_time(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
