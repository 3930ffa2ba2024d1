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
        EventKind.ANSWERED,
        EventKind.ABORTING,
        EventKind.STOPPED,
        EventKind.TASK_FAILED,
    )
)
"""Beside the ends, the kinds that change how a VM stands."""


@dataclass(frozen=True)
class VMStatus:
    """One VM's part of a dispatch, by its facts.

    ``last`` is the one that changed last how it stands; None where none did. ``ended`` is what became of its
    bead, where that is known. Times are those of its first fact and of the last change.
    """

    subject: Subject
    last: AuditEvent | None
    since: datetime
    changed: datetime
    ended: AuditEvent | None = None

    @property
    def kind(self) -> EventKind | None:
        """Of the last change."""
        return None if self.last is None else self.last.kind

    @property
    def final(self) -> bool:
        """Whether nothing is expected to happen any more."""
        kind = self.kind
        if kind is None or kind is EventKind.NEEDS_INPUT:
            return False
        return kind.is_end or kind is EventKind.STOPPED

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
    changes = event.kind in _STEPS or event.kind.is_end
    if before is None:
        return VMStatus(event.subject, event if changes else None, event.at, event.at)
    known = {name: value for name, value in vars(event.subject).items() if value is not None}
    after = replace(before, subject=replace(before.subject, **known))
    if event.kind is EventKind.CLAIM_ENDED:
        return replace(after, ended=event)
    if not changes or (event.kind is EventKind.TASK_FAILED and before.final):
        return after
    again = event.kind in (EventKind.CLAIMED, EventKind.TAKEN_OVER)
    return replace(after, last=event, changed=event.at, ended=None if again else after.ended)
