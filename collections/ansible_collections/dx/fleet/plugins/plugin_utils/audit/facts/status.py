# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a thread's root shows: the state of each VM of a dispatch, by its facts. Plain data, no I/O."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from ...domain.event_kind import EventKind
from .event import AuditEvent, Subject

__all__ = ["Status", "VMStatus", "status_of"]

_STEPS = frozenset(
    (
        EventKind.CLAIMED,
        EventKind.TAKEN_OVER,
        EventKind.DISPATCHING,
        EventKind.SESSION_CREATED,
        EventKind.RETRYING,
        EventKind.ABORTING,
        EventKind.STOPPED,
        EventKind.TASK_FAILED,
    )
)
"""Beside the ends, the kinds that change how a VM stands."""

_NOT_FINAL = frozenset((EventKind.NEEDS_INPUT, EventKind.STALLED))


@dataclass(frozen=True)
class VMStatus:
    """One VM's part of a dispatch: the kind of the last fact that changed how it stands, None where none did.

    Times are those of its first fact and of that one.
    """

    subject: Subject
    kind: EventKind | None
    since: datetime
    changed: datetime

    @property
    def final(self) -> bool:
        """Whether nothing is expected to happen any more."""
        kind = self.kind
        return kind is EventKind.STOPPED or (kind is not None and kind.is_end and kind not in _NOT_FINAL)

    @property
    def elapsed_s(self) -> float:
        """From its first fact to the last change."""
        return max(0.0, (self.changed - self.since).total_seconds())


@dataclass(frozen=True)
class Status:
    """A thread: the fact that says what it is about, and its VMs in the order in which they came."""

    opening: AuditEvent | None
    vms: tuple[VMStatus, ...]

    @property
    def final(self) -> bool:
        """Whether nothing is expected to happen any more."""
        return bool(self.vms) and all(vm.final for vm in self.vms)


def status_of(events: Iterable[AuditEvent]) -> Status:
    """The status that the facts of one thread, in their order, add up to."""
    vms: dict[str, VMStatus] = {}
    opening: AuditEvent | None = None
    sent = 0
    for event in events:
        if event.kind is EventKind.DISPATCHING:
            sent += 1
        if opening is None or (event.kind is EventKind.DISPATCHING and sent == 1):
            opening = event
        if event.subject.vm is not None:
            vms[event.subject.vm] = _after(vms.get(event.subject.vm), event)
    return Status(opening, tuple(vms.values()))


def _after(before: VMStatus | None, event: AuditEvent) -> VMStatus:
    kind = event.kind if event.kind in _STEPS or event.kind.is_end else None
    if before is None:
        return VMStatus(event.subject, kind, event.at, event.at)
    known = {name: value for name, value in vars(event.subject).items() if value is not None}
    subject = replace(before.subject, **known)
    if kind is None or (kind is EventKind.TASK_FAILED and before.final):
        return VMStatus(subject, before.kind, before.since, before.changed)
    return VMStatus(subject, kind, before.since, event.at)
