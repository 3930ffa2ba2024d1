# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a thread's root shows: the state of each VM of a dispatch, by its facts. Plain data, no I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from .event import AuditEvent, Kind, Subject

__all__ = ["Status", "VMStatus", "status_of"]

_STATES: Mapping[Kind, str] = {
    Kind.CLAIMED: "claimed",
    Kind.DISPATCHING: "dispatching",
    Kind.SESSION_CREATED: "running",
    Kind.RETRYING: "running, the model is asked again",
    Kind.ABORTING: "stopping",
    Kind.STOPPED: "stopped",
    Kind.TAKEN_OVER: "taken over",
    Kind.VERIFIED: "verified",
    Kind.COMPLETED: "completed",
    Kind.NO_OP: "nothing changed",
    Kind.FAILED: "failed",
    Kind.NEEDS_INPUT: "needs input",
    Kind.ABORTED: "aborted",
    Kind.STALLED: "stalled",
    Kind.TIMED_OUT: "timed out",
    Kind.LOST: "lost",
    Kind.REFUSED: "refused",
    Kind.UNREACHABLE: "unreachable",
    Kind.TASK_FAILED: "a task of the play failed",
}
"""Kinds that are not in it change no state."""

_FINAL = frozenset(
    (
        Kind.STOPPED,
        Kind.VERIFIED,
        Kind.COMPLETED,
        Kind.NO_OP,
        Kind.FAILED,
        Kind.ABORTED,
        Kind.TIMED_OUT,
        Kind.LOST,
        Kind.REFUSED,
        Kind.UNREACHABLE,
    )
)


@dataclass(frozen=True)
class VMStatus:
    """One VM's part of a dispatch. Times are those of its first fact and of the last change of its state."""

    subject: Subject
    state: str
    final: bool
    since: datetime
    changed: datetime

    @property
    def elapsed_s(self) -> float:
        """From its first fact to the last change."""
        return max(0.0, (self.changed - self.since).total_seconds())


@dataclass(frozen=True)
class Status:
    """A thread: the words it began with, and its VMs in the order in which they came."""

    headline: str
    vms: tuple[VMStatus, ...]

    @property
    def final(self) -> bool:
        """Whether nothing is expected to happen any more."""
        return bool(self.vms) and all(vm.final for vm in self.vms)

    @property
    def states(self) -> str:
        """One VM's state, or how many VMs are in each."""
        if len(self.vms) == 1:
            return self.vms[0].state
        counts = Counter(vm.state for vm in self.vms)
        return ", ".join(f"{count} {state}" for state, count in counts.items()) or "begun"


def status_of(events: Iterable[AuditEvent]) -> Status:
    """The status that the facts of one thread, in their order, add up to."""
    vms: dict[str, VMStatus] = {}
    opening: AuditEvent | None = None
    sent = 0
    for event in events:
        if event.kind is Kind.DISPATCHING:
            sent += 1
        if opening is None or (event.kind is Kind.DISPATCHING and sent == 1):
            opening = event
        if event.subject.vm is not None:
            vms[event.subject.vm] = _after(vms.get(event.subject.vm), event)
    return Status(_headline(opening, len(vms)), tuple(vms.values()))


def _after(before: VMStatus | None, event: AuditEvent) -> VMStatus:
    state = _STATES.get(event.kind)
    if before is None:
        return VMStatus(event.subject, state or "begun", event.kind in _FINAL, event.at, event.at)
    known = {name: value for name, value in vars(event.subject).items() if value is not None}
    subject = before.subject.with_(**known)
    if state is None or (event.kind is Kind.TASK_FAILED and before.final):
        return VMStatus(subject, before.state, before.final, before.since, before.changed)
    return VMStatus(subject, state, event.kind in _FINAL, before.since, event.at)


def _headline(opening: AuditEvent | None, vms: int) -> str:
    if opening is None:
        return "Dispatch"
    if vms <= 1 or opening.kind is not Kind.DISPATCHING:
        return opening.text
    return opening.text.replace(f" to {opening.subject.vm}: ", f" to {vms} VMs: ", 1)
