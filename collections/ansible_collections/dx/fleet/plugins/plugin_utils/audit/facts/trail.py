# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Records what an action learns of the dispatches that it works on, at that moment."""

from __future__ import annotations

from itertools import count
from typing import Any

from ...domain.event_kind import EventKind
from ...domain.identity import new_dispatch_id
from ...domain.input_request import InputRequest
from ...domain.next_action import answer_command
from ...domain.outcome import Outcome
from ...domain.progress import ProgressEvent
from ...domain.progress_wording import words_of
from . import kinds
from .event import AuditEvent, FactLog, Step, Subject

__all__ = ["DispatchTrail"]

_MOVES = frozenset((EventKind.TOOL_STARTED, EventKind.TOOL_FINISHED, EventKind.TOOL_FAILED))


class DispatchTrail:
    """Records facts about the dispatches of one task, in one run of it.

    Args:
        facts: Where they are recorded.
        orchestrator: Who dispatches, as ``AGENT@HOST``.
    """

    def __init__(self, facts: FactLog, orchestrator: str) -> None:
        self._facts = facts
        self._orchestrator = orchestrator
        self._subjects: dict[str, Subject] = {}
        self._run = new_dispatch_id()
        self._numbers = count(1)

    def about(self, dispatch: str | None, session: str | None, **known: Any) -> Subject | None:
        """The subject of a session's facts from now on; None where it belongs to no dispatch."""
        if dispatch is None:
            return None
        subject = Subject(dispatch, session=session, orchestrator=self._orchestrator, **known)
        if session is not None:
            self._subjects[session] = subject
        return subject

    def dispatching(self, subject: Subject | None, task: str) -> None:
        """The task is about to be sent."""
        if subject is not None:
            self._facts.record(kinds.dispatching(subject, task))

    def claimed(self, subject: Subject | None, *, before: str | None = None) -> None:
        """The bead is this dispatch's; ``before`` is the orchestrator from whom it was taken over."""
        if subject is None:
            return
        if before is not None and before != subject.orchestrator:
            self._facts.record(kinds.taken_over(subject, before, occurrence=self._occurrence()))
        else:
            self._facts.record(kinds.claimed(subject))

    def claim_ended(
        self, subject: Subject | None, ended: str, why: str, next_action: str | None = None
    ) -> None:
        """What became of the bead, and the command that continues it."""
        if subject is not None:
            event = kinds.claim_ended(subject, ended, why, next_action, occurrence=self._occurrence())
            self._facts.record(event)

    def progress(self, progress: ProgressEvent) -> None:
        """Record a change, if it is one that matters to a person later."""
        subject = self._subjects.get(progress.session or "")
        if subject is None:
            return
        if progress.kind in _MOVES:
            self._facts.moved(Step(subject, words_of(progress)))
        else:
            self._facts.record(self._event_of(progress, subject))

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
            self._facts.record(kinds.ended(outcome, known, seen_by=self._run))

    def _event_of(self, progress: ProgressEvent, subject: Subject) -> AuditEvent | None:
        fields = progress.fields
        if progress.kind is EventKind.SESSION_CREATED:
            return kinds.session_created(subject)
        if progress.kind is EventKind.RETRYING:
            return kinds.retrying(subject, fields["why"], fields["attempt"], fields["next_try"])
        if progress.kind is EventKind.ABORTING:
            by = str(fields.get("by") or "")
            return kinds.aborting(subject, fields["why"], by, occurrence=self._occurrence())
        if progress.kind is EventKind.ASKED:
            about = InputRequest.of(fields["request"])
            session = subject.session or progress.session or ""
            return None if about is None else kinds.asked(subject, about, answer_command(session, about))
        if progress.kind is EventKind.ANSWERED:
            named = {name: fields.get(name) for name in ("answer", "by")}
            return kinds.answered(subject, str(fields["request"]), str(fields["words"]), **named)
        if progress.kind is EventKind.STOPPED:
            return kinds.stopped(subject, occurrence=self._occurrence())
        return None

    def _occurrence(self) -> str:
        """What this run sees once more."""
        return f"{self._run} {next(self._numbers)}"
