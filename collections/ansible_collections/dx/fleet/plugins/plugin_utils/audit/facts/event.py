# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One fact about a dispatch that is worth telling a person. Plain data, no I/O."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Protocol

from ...domain.identity import given_id_of

__all__ = ["AuditEvent", "FactLog", "Kind", "Subject", "thread_key_of"]


class Kind(StrEnum):
    """What happened. Those that are the state of an outcome have its name."""

    CLAIMED = "claimed"
    DISPATCHING = "dispatching"
    SESSION_CREATED = "session_created"
    RETRYING = "retrying"
    ABORTING = "aborting"
    STOPPED = "stopped"
    RELEASED = "released"
    TAKEN_OVER = "taken_over"

    VERIFIED = "verified"
    COMPLETED = "completed"
    NO_OP = "no_op"
    FAILED = "failed"
    NEEDS_INPUT = "needs_input"
    ABORTED = "aborted"
    STALLED = "stalled"
    TIMED_OUT = "timed_out"
    LOST = "lost"
    REFUSED = "refused"
    UNREACHABLE = "unreachable"

    TASK_FAILED = "task_failed"
    PLAY_ENDED = "play_ended"


@dataclass(frozen=True)
class Subject:
    """What a fact is about: ``orchestrator`` is ``<agent>@<host>``, who dispatches."""

    dispatch: str
    vm: str | None = None
    repo: str | None = None
    bead: str | None = None
    session: str | None = None
    orchestrator: str | None = None

    def with_(self, **changes: Any) -> Subject:
        """A copy with some fields replaced."""
        return replace(self, **changes)


@dataclass(frozen=True)
class AuditEvent:
    """One fact, told in ``text``.

    ``once`` tells facts of one kind apart: the number of a retry, the id of a question. Without it a
    dispatch has one fact of a kind on each VM, however often it is recorded. ``facts`` is JSON-ready.
    """

    kind: Kind
    text: str
    subject: Subject
    once: str = ""
    at: datetime = field(default_factory=lambda: datetime.now(UTC))
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """Name of the fact, the same whoever records it, and whenever: a replay tells nothing twice."""
        said = "\0".join((self.subject.dispatch, self.subject.vm or "", self.kind.value, self.once))
        return hashlib.sha256(said.encode("utf-8", "surrogatepass")).hexdigest()[:20]

    @property
    def thread_key(self) -> str:
        """Name of the thread in which it is told; see :func:`thread_key_of`."""
        return thread_key_of(self.subject.dispatch, self.subject.vm)

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {
            "kind": self.kind.value,
            "text": self.text,
            "subject": asdict(self.subject),
            "once": self.once,
            "at": self.at.astimezone(UTC).isoformat(timespec="milliseconds"),
            "facts": dict(self.facts),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> AuditEvent:
        """The event of :meth:`as_dict`.

        Raises:
            ValueError, KeyError, TypeError: It is none.
        """
        return cls(
            kind=Kind(data["kind"]),
            text=str(data["text"]),
            subject=Subject(**data["subject"]),
            once=str(data["once"]),
            at=datetime.fromisoformat(data["at"]),
            facts=dict(data["facts"]),
        )


class FactLog(Protocol):
    """Where facts are recorded: :class:`~..store.recorder.Recorder`, or a list in a test."""

    def record(self, event: AuditEvent | None) -> bool:
        """Record a fact; nothing is raised. True where it is new and was recorded."""
        ...


def thread_key_of(dispatch: str, vm: str | None) -> str:
    """The id that the run was given: the dispatches of one run on a group of VMs share a thread."""
    return given_id_of(dispatch, vm)
