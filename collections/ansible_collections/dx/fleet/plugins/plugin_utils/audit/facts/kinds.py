# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The facts that are recorded of a dispatch: what each kind carries, and what tells its occurrences apart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from ...domain.event_kind import EventKind
from ...domain.input_request import InputRequest
from ...domain.outcome import Evidence, Outcome, State
from ...domain.verdict import numbers as work_numbers
from .event import AuditEvent, Subject

__all__ = [
    "aborting",
    "answered",
    "asked",
    "claim_ended",
    "claimed",
    "dispatching",
    "ended",
    "fleet_tested",
    "host_unreachable",
    "play_ended",
    "retrying",
    "session_created",
    "stopped",
    "taken_over",
    "task_failed",
]

_ENDS_OF_A_TURN = frozenset((State.COMPLETED, State.NO_OP, State.FAILED, State.ABORTED, State.LOST))
TOOLS_SHOWN = 2


def dispatching(subject: Subject, task: str) -> AuditEvent:
    """The task is about to be sent. A dispatch sends it once."""
    return AuditEvent(EventKind.DISPATCHING, subject, {"task": task})


def claimed(subject: Subject) -> AuditEvent:
    """The bead is this dispatch's. A dispatch has one claim."""
    return AuditEvent(EventKind.CLAIMED, subject)


def session_created(subject: Subject) -> AuditEvent:
    """The session of the subject is there."""
    return AuditEvent(EventKind.SESSION_CREATED, subject, occurrence=subject.session or "")


def retrying(subject: Subject, why: str, attempt: int, next_try: int | None = None) -> AuditEvent:
    """The server asks the model again. ``next_try`` is when, in milliseconds since the epoch."""
    fields = {"why": why, "attempt": attempt}
    return AuditEvent(EventKind.RETRYING, subject, fields, occurrence=f"{attempt} {next_try or ''}".strip())


def aborting(subject: Subject, why: str = "", by: str = "", *, occurrence: str = "") -> AuditEvent:
    """The session is about to be stopped; ``by`` is who asked for it."""
    return AuditEvent(EventKind.ABORTING, subject, {"why": why, "by": by}, occurrence)


def stopped(subject: Subject, *, occurrence: str = "") -> AuditEvent:
    """The stop is proven."""
    return AuditEvent(EventKind.STOPPED, subject, occurrence=occurrence)


def asked(subject: Subject, about: InputRequest, next_action: str) -> AuditEvent:
    """The agent waits for a person, and is followed meanwhile. A request is asked once, whoever sees it."""
    fields = {
        "message": f"the agent waits for an answer: {about.words}",
        "reason_code": "permission_pending" if about.is_permission else "question_pending",
        "next_action": next_action,
        "request": about.as_request(),
    }
    return AuditEvent(EventKind.NEEDS_INPUT, subject, fields, occurrence=about.id)


def answered(
    subject: Subject, request: str, words: str, answer: str | None = None, by: str | None = None
) -> AuditEvent:
    """A request has its answer; ``by`` is who gave it, or the rule that did, where that is known."""
    return AuditEvent(EventKind.ANSWERED, subject, {"words": words, "answer": answer, "by": by}, request)


def claim_ended(
    subject: Subject, ended: str, why: str, next_action: str | None, *, occurrence: str = ""
) -> AuditEvent:
    """What became of the bead: it is ``closed``, ``blocked``, ``released``, ``held`` or ``noted``."""
    fields = {"ended": ended, "why": why, "next_action": next_action}
    return AuditEvent(EventKind.CLAIM_ENDED, subject, fields, occurrence)


def taken_over(subject: Subject, before: str, *, occurrence: str = "") -> AuditEvent:
    """The subject's orchestrator continues the dispatch of the one ``before``."""
    return AuditEvent(EventKind.TAKEN_OVER, subject, {"orchestrator": before}, occurrence)


def ended(outcome: Outcome, subject: Subject, *, seen_by: str = "") -> AuditEvent | None:
    """What became of a dispatch; None where its end is not known yet.

    Args:
        outcome: What became of it.
        subject: What is known of the dispatch; what the outcome knows is added.
        seen_by: The run that saw it. A turn ends once, whoever sees it; every other end belongs to its run.
    """
    kind = EventKind.of(outcome.state)
    if kind is None:
        return None
    known = {"session": outcome.session, "repo": outcome.repo, "bead": outcome.bead}
    about = replace(subject, **{name: value for name, value in known.items() if value})
    fields = {
        "message": outcome.message_to_human,
        "reason_code": outcome.reason_code,
        "next_action": outcome.next_action,
        **({"request": dict(outcome.evidence.request)} if outcome.evidence.request else {}),
        **dict(_evidence(outcome.evidence)),
    }
    return AuditEvent(kind, about, fields, _occurrence_of(outcome, seen_by))


def host_unreachable(subject: Subject, why: str, *, occurrence: str) -> AuditEvent:
    """Ansible does not reach the host."""
    return AuditEvent(EventKind.UNREACHABLE, subject, {"message": why}, occurrence)


def task_failed(
    subject: Subject, task: str, action: str, rc: int | None = None, *, occurrence: str
) -> AuditEvent:
    """A task of the play that records nothing by itself failed. What it printed may hold secrets."""
    return AuditEvent(EventKind.TASK_FAILED, subject, {"task": task, "action": action, "rc": rc}, occurrence)


def fleet_tested(subject: Subject, *, commit: str, state: str, message: str) -> AuditEvent:
    """The tests of the subject's repo were run on several VMs. A run of them has one such fact."""
    return AuditEvent(EventKind.FLEET_TESTED, subject, {"commit": commit, "state": state, "message": message})


def play_ended(
    subject: Subject, states: Mapping[str, str | None], *, interrupted: bool, occurrence: str
) -> AuditEvent:
    """A run of a playbook is over before the end of each VM's dispatch was recorded.

    ``states`` holds the last state of each of those VMs; None where none was seen.
    """
    fields = {"states": dict(states), "interrupted": interrupted}
    return AuditEvent(EventKind.PLAY_ENDED, subject, fields, occurrence)


def _occurrence_of(outcome: Outcome, seen_by: str) -> str:
    evidence = outcome.evidence
    if outcome.state is State.NEEDS_INPUT and evidence.request and evidence.request.get("id"):
        return str(evidence.request["id"])
    turn = outcome.message or evidence.started_at
    if outcome.state in _ENDS_OF_A_TURN and evidence.verify_rc is None and turn:
        return f"{turn} {outcome.reason_code}"
    return f"{seen_by} {outcome.reason_code}"


def _evidence(evidence: Evidence) -> Iterator[tuple[str, Any]]:
    """What of the evidence a line shows; what is unknown is left out."""
    if evidence.verify_rc is not None:
        yield "verify_rc", evidence.verify_rc
    if evidence.tests:
        yield "tests", dict(evidence.tests)
    if numbers := list(work_numbers(evidence)):
        yield "work", numbers
    if evidence.tests_changed:
        yield "tests_changed", list(evidence.tests_changed)
    if evidence.tools:
        yield (
            "tools",
            [
                {"title": tool.title or tool.tool, "status": tool.status, "exit": tool.exit}
                for tool in evidence.tools[-TOOLS_SHOWN:]
            ],
        )
    if evidence.head_after and evidence.head_after != evidence.head_before:
        yield "commit", evidence.head_after
    if evidence.dirty_files:
        yield "uncommitted", len(evidence.dirty_files)
    if evidence.tokens is not None:
        yield "tokens", evidence.tokens.get("input", 0) + evidence.tokens.get("output", 0)
    if evidence.cost:
        yield "cost", evidence.cost
    if evidence.transport is not None:
        yield "transport", evidence.transport
    if evidence.duration_s is not None:
        yield "duration_s", evidence.duration_s
