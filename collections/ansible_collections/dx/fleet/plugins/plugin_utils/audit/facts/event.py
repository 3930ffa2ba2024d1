# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One fact about a dispatch that is worth telling a person. Plain data, no I/O."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

from ...domain.event_kind import EventKind
from ...domain.identity import group_of

__all__ = ["AuditEvent", "FactLog", "Step", "Subject", "thread_key_of"]


@dataclass(frozen=True)
class Subject:
    """What a fact is about: ``orchestrator`` is ``<agent>@<host>``, who dispatches."""

    dispatch: str
    vm: str | None = None
    repo: str | None = None
    bead: str | None = None
    session: str | None = None
    orchestrator: str | None = None


@dataclass(frozen=True)
class AuditEvent:
    """One fact. It carries no sentence: its words are made by :mod:`.wording` where they are shown.

    ``fields`` are JSON-ready and belong to the kind, see :mod:`.kinds`. ``occurrence`` tells what happens
    again from what is recorded again: the number of a retry, the turn that ended, the run that saw a VM
    unreachable. A dispatch has one fact of a kind and an occurrence on each VM, however often it is recorded.
    """

    kind: EventKind
    subject: Subject
    fields: Mapping[str, Any] = field(default_factory=dict)
    occurrence: str = ""
    at: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def id(self) -> str:
        """Name of the fact, the same whoever records it, and whenever."""
        about = self.subject
        named = "\0".join((about.dispatch, about.vm or "", self.kind.value, self.occurrence))
        return hashlib.sha256(named.encode("utf-8", "surrogatepass")).hexdigest()[:20]

    @property
    def thread_key(self) -> str:
        """Name of the thread in which it is posted; see :func:`thread_key_of`."""
        return thread_key_of(self.subject.dispatch, self.subject.vm)

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {
            "kind": self.kind.value,
            "subject": asdict(self.subject),
            "fields": dict(self.fields),
            "occurrence": self.occurrence,
            "at": self.at.astimezone(UTC).isoformat(timespec="milliseconds"),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> AuditEvent:
        """The event of :meth:`as_dict`.

        Raises:
            ValueError, KeyError, TypeError: It is none.
        """
        return cls(
            kind=EventKind(data["kind"]),
            subject=Subject(**data["subject"]),
            fields=dict(data["fields"]),
            occurrence=str(data["occurrence"]),
            at=datetime.fromisoformat(data["at"]),
        )


@dataclass(frozen=True)
class Step:
    """What an agent is doing now. It is no fact of the trail: a head shows the last one, and when it was."""

    subject: Subject
    words: str
    at: datetime = field(default_factory=lambda: datetime.now(UTC))


class FactLog(Protocol):
    """Where facts are recorded: :class:`~..store.recorder.Recorder`, or a list in a test."""

    def record(self, event: AuditEvent | None) -> bool:
        """Record a fact; nothing is raised. True where it is new and was recorded."""
        ...

    def moved(self, step: Step) -> None:
        """Note what an agent is doing now; nothing is raised."""
        ...


def thread_key_of(dispatch: str, vm: str | None) -> str:
    """The dispatch's id; those of one run on a group of VMs share a thread, which has their group's name."""
    return group_of(dispatch, vm) or dispatch
