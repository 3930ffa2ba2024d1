# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an action tells of the dispatches that it works on, at the moment at which it learns it."""

from __future__ import annotations

from typing import Any

from ...domain.event_kind import EventKind
from ...domain.outcome import Outcome
from ...domain.progress import ProgressEvent
from . import wording
from .event import AuditEvent, FactLog, Subject

__all__ = ["Telling"]


class Telling:
    """Records facts about the dispatches of one task.

    Args:
        facts: Where they are recorded.
        orchestrator: Who dispatches, as ``AGENT@HOST``.
    """

    def __init__(self, facts: FactLog, orchestrator: str) -> None:
        self._facts = facts
        self._orchestrator = orchestrator
        self._subjects: dict[str, Subject] = {}

    def about(self, dispatch: str | None, session: str | None, **known: Any) -> Subject | None:
        """What is told of a session from now on; None where it belongs to no dispatch."""
        if dispatch is None:
            return None
        subject = Subject(dispatch, session=session, orchestrator=self._orchestrator, **known)
        if session is not None:
            self._subjects[session] = subject
        return subject

    def dispatching(self, subject: Subject | None, task: str) -> None:
        """The task is about to be sent."""
        if subject is not None:
            self._facts.record(wording.dispatching(subject, task))

    def claimed(self, subject: Subject | None, *, before: str | None = None) -> None:
        """The bead is this dispatch's; ``before`` is the orchestrator from whom it was taken over."""
        if subject is not None:
            taken = before is not None and before != subject.orchestrator
            event = wording.taken_over(subject, before or "") if taken else wording.claimed(subject)
            self._facts.record(event)

    def released(self, subject: Subject | None, why: str) -> None:
        """The bead is nobody's any more."""
        if subject is not None:
            self._facts.record(wording.released(subject, why))

    def progress(self, progress: ProgressEvent) -> None:
        """A change worth a line; of those, the ones that are worth a person's attention later."""
        subject = self._subjects.get(progress.session or "")
        if subject is not None:
            self._facts.record(_event_of(progress, subject))

    def ended(self, outcome: Outcome) -> None:
        """What became of a dispatch."""
        known = self._subjects.get(outcome.session or "")
        name = outcome.dispatch or outcome.bead
        if known is not None and outcome.dispatch not in (None, known.dispatch):
            known = None  # of another dispatch in the same session
        if known is None and name is not None:
            known = Subject(
                name,
                vm=outcome.vm,
                repo=outcome.repo,
                bead=outcome.bead,
                session=outcome.session,
                orchestrator=self._orchestrator,
            )
        if known is not None:
            self._facts.record(wording.ended(outcome, known))


def _event_of(progress: ProgressEvent, subject: Subject) -> AuditEvent | None:
    if progress.kind is EventKind.SESSION_CREATED:
        return wording.session_created(subject)
    if progress.kind is EventKind.RETRYING:
        retry = progress.fields
        words = f"Model retry {retry['attempt']}: {retry['why']}"
        return wording.retrying(subject, words, f"{retry['attempt']} {retry['next_try']}")
    if progress.kind is EventKind.ABORTING:
        return wording.aborting(subject, progress.fields["why"])
    if progress.kind is EventKind.STOPPED:
        return wording.stopped(subject)
    return None
