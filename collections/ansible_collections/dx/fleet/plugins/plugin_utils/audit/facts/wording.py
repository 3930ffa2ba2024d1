# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The words in which each fact is told. Text of others is redacted before it is shortened: half a token is
no longer seen to be one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ...domain.outcome import Outcome, State
from ...text.printable import shortened
from ...text.redact import redact
from .event import AuditEvent, Kind, Subject

__all__ = [
    "aborting",
    "claimed",
    "dispatching",
    "ended",
    "host_unreachable",
    "needs_input",
    "play_ended",
    "released",
    "retrying",
    "session_created",
    "stalled",
    "stopped",
    "taken_over",
    "task_failed",
]

TASK_WIDTH = 300
WIDTH = 500

_ENDS = {
    State.VERIFIED: "Verified",
    State.COMPLETED: "Completed",
    State.NO_OP: "Nothing changed",
    State.FAILED: "Failed",
    State.NEEDS_INPUT: "Needs input",
    State.ABORTED: "Aborted",
    State.STALLED: "Stalled",
    State.TIMED_OUT: "Timed out",
    State.LOST: "Lost",
    State.REFUSED: "Refused",
    State.UNREACHABLE: "Unreachable",
}


def dispatching(subject: Subject, task: str) -> AuditEvent:
    """The task is about to be sent: ``[macmini] Dispatching bd-xyz to epyc6: Run make test``."""
    what = f" {subject.bead}" if subject.bead else ""
    words = f"Dispatching{what} to {subject.vm}: {_clean(task, TASK_WIDTH)}"
    return _event(Kind.DISPATCHING, subject, _said_by_host(subject, words))


def claimed(subject: Subject) -> AuditEvent:
    """The bead is this dispatch's."""
    return _event(
        Kind.CLAIMED, subject, f"Claimed {subject.bead} for {subject.orchestrator or 'this dispatch'}"
    )


def session_created(subject: Subject) -> AuditEvent:
    """``[epyc6] Session created: ses_abc``."""
    return _event(
        Kind.SESSION_CREATED, subject, f"Session created: {subject.session}", once=subject.session or ""
    )


def needs_input(subject: Subject, question: str, request_id: str) -> AuditEvent:
    """The agent waits for a person. ``request_id`` is the permission's or question's id."""
    return _event(Kind.NEEDS_INPUT, subject, f"Needs input: {_clean(question)}", once=request_id)


def retrying(subject: Subject, why: str, attempt: int | str) -> AuditEvent:
    """The server tries the model again."""
    number = f" ({attempt})" if isinstance(attempt, int) else ""
    return _event(Kind.RETRYING, subject, f"Retrying{number}: {_clean(why)}", once=str(attempt))


def stalled(subject: Subject, why: str, once: str = "") -> AuditEvent:
    """Nothing moves; what is done about it is told by what follows."""
    return _event(Kind.STALLED, subject, f"Stalled: {_clean(why)}", once=once)


def aborting(subject: Subject, why: str = "", by: str = "") -> AuditEvent:
    """``Aborting epyc6 session ses_abc``, before the server is told."""
    asked = f" (asked by {_clean(by, 80)})" if by else ""
    reason = f": {_clean(why)}" if why else ""
    words = f"Aborting {subject.vm} session {subject.session}{reason}{asked}"
    return AuditEvent(Kind.ABORTING, words, subject, once=subject.session or "")


def stopped(subject: Subject) -> AuditEvent:
    """The stop is proven: ``Stopped. What next?``."""
    return AuditEvent(Kind.STOPPED, "Stopped. What next?", subject, once=subject.session or "")


def released(subject: Subject, why: str = "") -> AuditEvent:
    """The bead is nobody's any more."""
    return _event(Kind.RELEASED, subject, f"Released {subject.bead}{f': {_clean(why)}' if why else ''}")


def taken_over(subject: Subject, before: str) -> AuditEvent:
    """Another orchestrator goes on with the dispatch."""
    words = f"Taken over by {subject.orchestrator} from {_clean(before, 80)}"
    return _event(Kind.TAKEN_OVER, subject, words, once=subject.orchestrator or "")


def ended(outcome: Outcome, subject: Subject) -> AuditEvent | None:
    """What became of a dispatch, with the evidence in a line; None where its end is not known yet.

    ``[epyc6] Completed: tests passed (make test -> exit 0, 240 tokens, 4.6 s)``
    """
    if outcome.state not in _ENDS:
        return None
    said = outcome.message_to_human.removeprefix(f"{outcome.vm}: ").removeprefix("the agent finished: ")
    evidence = ", ".join(_evidence(outcome))
    next_action = f". Next: {_clean(outcome.next_action)}" if outcome.next_action else ""
    words = f"{_ENDS[outcome.state]}: {_clean(said)}{f' ({evidence})' if evidence else ''}{next_action}"
    known = {"session": outcome.session, "repo": outcome.repo, "bead": outcome.bead}
    about = subject.with_(**{key: value for key, value in known.items() if value})
    return _event(Kind(outcome.state.value), about, words, once=_asked(outcome), facts=_facts(outcome))


def host_unreachable(subject: Subject, why: str) -> AuditEvent:
    """Ansible does not reach the host."""
    return _event(Kind.UNREACHABLE, subject, f"Unreachable: {_clean(why)}", once="host")


def task_failed(subject: Subject, task: str, action: str, rc: int | None = None) -> AuditEvent:
    """A task of the play that tells nothing by itself failed. What it said may hold secrets."""
    ended = f", exit {rc}" if rc is not None else ""
    words = f"Task failed: {_clean(task, 120)} ({_clean(action, 80)}{ended})"
    return _event(Kind.TASK_FAILED, subject, words, once=shortened(task, 120))


def play_ended(subject: Subject, states: Mapping[str, str], once: str) -> AuditEvent:
    """A run of a playbook is over before the end of each VM's dispatch was told; ``states`` are by VM."""
    told = ", ".join(f"{vm} {state}" for vm, state in list(states.items())[:20])
    more = f" and {len(states) - 20} more" if len(states) > 20 else ""
    return _event(Kind.PLAY_ENDED, subject, f"Play ended: {_clean(told)}{more}", once=once)


def _event(
    kind: Kind, subject: Subject, words: str, *, once: str = "", facts: Mapping[str, Any] | None = None
) -> AuditEvent:
    text = words if kind is Kind.DISPATCHING or subject.vm is None else f"[{subject.vm}] {words}"
    return AuditEvent(kind, text, subject, once=once, facts=facts or {})


def _said_by_host(subject: Subject, words: str) -> str:
    host = (subject.orchestrator or "").rpartition("@")[2]
    return f"[{host}] {words}" if host else words


def _clean(text: str, width: int = WIDTH) -> str:
    return shortened(redact(text), width)


def _evidence(outcome: Outcome) -> Iterator[str]:
    evidence = outcome.evidence
    if evidence.verify_rc is not None:
        yield f"verify -> exit {evidence.verify_rc}"
    if evidence.tests:
        yield ", ".join(f"{count} {name}" for name, count in evidence.tests.items())
    for tool in (evidence.tools or ())[-2:]:
        came_of_it = f"exit {tool.exit}" if tool.exit is not None else tool.status
        yield f"{_clean(tool.title or tool.tool, 60)} -> {came_of_it}"
    if evidence.head_after and evidence.head_after != evidence.head_before:
        yield f"commit {evidence.head_after[:10]}"
    if evidence.dirty_files:
        yield f"{len(evidence.dirty_files)} uncommitted"
    if evidence.tokens is not None:
        yield f"{evidence.tokens.get('input', 0) + evidence.tokens.get('output', 0)} tokens"
    if evidence.cost:
        yield f"${evidence.cost:.4f}"
    if evidence.duration_s is not None:
        yield f"{evidence.duration_s:.1f} s"


def _facts(outcome: Outcome) -> dict[str, Any]:
    return {"reason_code": outcome.reason_code, "duration_s": outcome.evidence.duration_s}


def _asked(outcome: Outcome) -> str:
    """A dispatch needs input once for each question."""
    if outcome.state is not State.NEEDS_INPUT:
        return ""
    return str((outcome.evidence.request or {}).get("id") or "")
