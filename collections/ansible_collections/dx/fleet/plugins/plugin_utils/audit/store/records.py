# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the outbox holds: records of facts, the threads that tell them, and the channels of those threads."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any

from ...domain.event_kind import EventKind
from ..facts.event import AuditEvent, Subject

__all__ = [
    "RECORD",
    "THREAD",
    "THREAD_FIELDS",
    "Channel",
    "Counts",
    "DeliveryState",
    "LastStep",
    "Record",
    "Thread",
    "record_of",
    "thread_of",
]


class DeliveryState(StrEnum):
    """How far a record has got. Where a process died or an answer was lost, it stays ``sending``."""

    PENDING = "pending"
    SENDING = "sending"
    PARKED = "parked"  # Slack does not take it, in any form; tried again by the next process
    DELIVERED = "delivered"


@dataclass(frozen=True)
class Record:
    """One fact as it is kept. ``fallback_level`` counts the plainer forms that Slack was offered."""

    seq: int
    id: str
    event: AuditEvent
    state: DeliveryState
    fallback_level: int
    attempts: int
    trouble: str | None
    ts: str | None


@dataclass(frozen=True)
class Thread:
    """A thread in Slack. ``ts`` is its root's, once it is known; ``posting`` says that one may be there.
    ``headline`` is what another controller's root begins with.

    Times are of the wall clock, as they outlive this process.
    """

    thread_key: str
    channel: str
    channel_id: str | None = None
    ts: str | None = None
    posting: bool = False
    fallback_level: int = 0
    headline: str | None = None
    shown: str | None = None
    stale: bool = False
    born_at: float | None = None
    posted_at: float | None = None
    updated_at: float | None = None


@dataclass(frozen=True)
class LastStep:
    """What an agent did last, and when, by the wall clock."""

    words: str
    at: float


@dataclass(frozen=True)
class Channel:
    """What a channel lets us do, and when.

    ``trouble`` is what Slack said last, where that was no. ``unanswered_since`` is when the call was first
    made that has not succeeded yet.
    """

    name: str
    next_post_at: float = 0.0
    quiet_until: float = 0.0
    trouble: str | None = None
    unanswered_since: float | None = None


@dataclass(frozen=True)
class Counts:
    """How many records are posted, are still to be posted, and wait for somebody to mend something."""

    delivered: int
    pending: int
    held: int

    def as_dict(self) -> dict[str, int]:
        """JSON-ready form."""
        return {"delivered": self.delivered, "pending": self.pending, "held": self.held}


RECORD = "seq, id, event, state, fallback_level, attempts, trouble, ts"
"""The columns of a :class:`Record`."""

THREAD_FIELDS = tuple(field.name for field in fields(Thread))
THREAD = ", ".join(f"t.{name}" for name in THREAD_FIELDS)
"""The columns of a :class:`Thread`, of a table called ``t``."""


def record_of(row: tuple[Any, ...]) -> Record:
    seq, name, event, state, fallback_level, attempts, trouble, ts = row
    try:
        read = AuditEvent.from_dict(json.loads(event))
    except (ValueError, KeyError, TypeError):
        # Of a later version, or broken: it is shown as what it is, and holds nothing up.
        read = AuditEvent(EventKind.UNREADABLE, Subject(dispatch=str(name)), {"record": seq})
    return Record(seq, name, read, DeliveryState(state), fallback_level, attempts, trouble, ts)


def thread_of(row: tuple[Any, ...]) -> Thread:
    found = dict(zip(THREAD_FIELDS, row, strict=True))
    return Thread(**{**found, "posting": bool(found["posting"]), "stale": bool(found["stale"])})
