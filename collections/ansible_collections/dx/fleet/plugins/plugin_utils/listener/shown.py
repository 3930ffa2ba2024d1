# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What waited for a person, as a thread showed it at one moment: an answer is for that and nothing later."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..audit.facts.event import Subject
from ..audit.facts.question import question_of
from ..audit.store.records import Record
from ..domain.event_kind import EventKind

__all__ = ["ShownRequest", "shown_requests"]

_NEW_WORK = frozenset((EventKind.DISPATCHING, EventKind.SESSION_CREATED, EventKind.STOPPED))
_STILL_WAITS = frozenset((EventKind.UNREACHABLE, EventKind.REFUSED))  # ends of a run, not of the agent's turn


@dataclass(frozen=True)
class ShownRequest:
    """A permission or a question of an agent that Slack showed."""

    id: str
    words: str
    subject: Subject

    def is_of(self, target: str) -> bool:
        """Whether the VM, dispatch, bead or session of that name asked it, or it is its own id."""
        about = self.subject
        return target in (self.id, about.vm, about.dispatch, about.bead, about.session)


def shown_requests(records: Iterable[Record], at: str) -> list[ShownRequest]:
    """The requests of a thread that were shown at a moment and not known to have their answer, oldest first.

    Args:
        records: The thread's, in their order.
        at: The moment, as Slack's ``ts``.
    """
    found: dict[str, ShownRequest] = {}
    for record in records:
        event, was_shown = record.event, record.ts is not None and float(record.ts) <= float(at)
        if not was_shown:
            continue
        if event.kind is EventKind.NEEDS_INPUT:
            question = question_of(event)
            if question.id is not None:
                found[question.id] = ShownRequest(question.id, question.text, event.subject)
        elif event.kind is EventKind.ANSWERED:
            found.pop(event.occurrence, None)
        elif event.kind in _NEW_WORK or (event.kind.is_end and event.kind not in _STILL_WAITS):
            over = [name for name, each in found.items() if each.subject.vm == event.subject.vm]
            for name in over:
                del found[name]
    return list(found.values())
