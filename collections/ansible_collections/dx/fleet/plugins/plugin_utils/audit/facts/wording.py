# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The words in which a person reads the facts about a dispatch, in Slack and in the trail.

Much of a fact's fields is others' text, from which the recorder has taken the secrets. Here it becomes one
printable line.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ...domain.event_kind import EventKind
from ...domain.outcome import FINISHED, State
from ...domain.person import shown_person
from ...text.printable import shortened
from .event import AuditEvent
from .status import Status, VMStatus

__all__ = [
    "bead_of",
    "headline_of",
    "is_blocked",
    "next_action_of",
    "sentence_of",
    "state_of",
    "states_of",
    "words_of",
]

TASK_WIDTH = 300
WIDTH = 500
NAME_WIDTH = 80
VMS_SHOWN = 20
NAMES_SHOWN = 3

_STATES = {
    EventKind.SESSION_CREATED: "running",
    EventKind.RETRYING: "running, the model is asked again",
    EventKind.ANSWERED: "running",
    EventKind.ABORTING: "stopping",
    EventKind.COMPLETED: FINISHED,
    EventKind.NO_OP: "no work done",
    EventKind.TASK_FAILED: "a task of the play failed",
}
"""Of the other kinds, the value says how a VM stands."""


_BEAD_ENDS = {
    "closed": "is closed",
    "blocked": "is blocked",
    "released": "is released",
    "held": "stays claimed",
    "noted": "was changed meanwhile and stays as it is, with a note",
}

_UNFINISHED = {State.RUNNING.value: "not followed to its end"}


def words_of(event: AuditEvent) -> str:
    """The fact in one line: ``[epyc6] Session created: ses_abc``."""
    words = _WORDS.get(event.kind, _end)(event)
    if event.kind in _BARE or event.subject.vm is None:
        return words
    return f"[{event.subject.vm}] {words}"


def headline_of(status: Status) -> str:
    """What a thread is about: ``[macmini] Dispatching bd-xyz to 3 VMs: Run make test``."""
    opening = status.opening
    if opening is None:
        return "Dispatch"
    if opening.kind is EventKind.DISPATCHING and len(status.vms) > 1:
        return _dispatching_to(f"{len(status.vms)} VMs", opening)
    if opening.kind is EventKind.FLEET_TESTED:
        return _tested(opening)
    return words_of(opening)


def states_of(status: Status) -> str:
    """One VM's state, or how many VMs are in each: ``2 completed, 1 failed``."""
    if status.opening is not None and status.opening.kind is EventKind.FLEET_TESTED:
        return "tests ended"
    if len(status.vms) == 1:
        return state_of(status.vms[0].kind)
    counts = Counter(state_of(vm.kind) for vm in status.vms)
    return ", ".join(f"{count} {state}" for state, count in counts.items()) or "begun"


def sentence_of(event: AuditEvent) -> str:
    """A result or an error in a sentence, with its evidence."""
    evidence = ", ".join(_evidence(event))
    return f"{_short(event, 'message')}{f' ({evidence})' if evidence else ''}"


def bead_of(vm: VMStatus) -> str:
    """The bead and its status: ``bead bd-xyz is blocked``."""
    if vm.ended is None:
        return f"bead {vm.subject.bead} is in progress"
    return f"bead {vm.subject.bead} {_bead_end(vm.ended)}"


def is_blocked(vm: VMStatus) -> bool:
    """Whether the bead waits for a person, who may have it tried again."""
    return vm.ended is not None and vm.ended.fields.get("ended") == "blocked"


def next_action_of(vm: VMStatus) -> str:
    """The command to run next: what the end of the bead's claim says, else what the last fact says."""
    known = [event for event in (vm.ended, vm.last) if event is not None]
    return next((found for event in known if (found := _short(event, "next_action"))), "")


def state_of(kind: EventKind | None) -> str:
    """How a VM stands after a fact of this kind; None is a kind that changes nothing."""
    return "begun" if kind is None else _STATES.get(kind, kind.value.replace("_", " "))


def _dispatching(event: AuditEvent) -> str:
    return _dispatching_to(str(event.subject.vm), event)


def _dispatching_to(target: str, event: AuditEvent) -> str:
    bead = f" {event.subject.bead}" if event.subject.bead else ""
    words = f"Dispatching{bead} to {target}: {_short(event, 'task', TASK_WIDTH)}"
    host = (event.subject.orchestrator or "").rpartition("@")[2]
    return f"[{host}] {words}" if host else words


def _claimed(event: AuditEvent) -> str:
    return f"Claimed {event.subject.bead} for {event.subject.orchestrator or 'this dispatch'}"


def _claim_ended(event: AuditEvent) -> str:
    why = "" if event.fields.get("ended") == "held" else _because(event)
    return f"Bead {event.subject.bead} {_bead_end(event)}{why}{_next(event)}"


def _taken_over(event: AuditEvent) -> str:
    return f"Taken over by {event.subject.orchestrator} from {_short(event, 'orchestrator', NAME_WIDTH)}"


def _session_created(event: AuditEvent) -> str:
    return f"Session created: {event.subject.session}"


def _retrying(event: AuditEvent) -> str:
    return f"Retrying ({_short(event, 'attempt', NAME_WIDTH)}): {_short(event, 'why')}"


def _answered(event: AuditEvent) -> str:
    answer, by = _short(event, "answer", NAME_WIDTH), shown_person(_short(event, "by", 2 * NAME_WIDTH))
    given = f": {answer}" if answer else ""
    return f"Answered{f' by {by}' if by else ''}{given} ({_short(event, 'words')})"


def _aborting(event: AuditEvent) -> str:
    by = shown_person(_short(event, "by", NAME_WIDTH))
    asked = f" (asked by {by})" if by else ""
    return f"Aborting {event.subject.vm} session {event.subject.session}{_because(event)}{asked}"


def _stopped(_: AuditEvent) -> str:
    return "Stopped. What next?"


def _task_failed(event: AuditEvent) -> str:
    rc = event.fields.get("rc")
    code = f", exit {rc}" if isinstance(rc, int) else ""
    return f"Task failed: {_short(event, 'task', 120)} ({_short(event, 'action', NAME_WIDTH)}{code})"


def _play_ended(event: AuditEvent) -> str:
    states = _mapping(event, "states")
    interrupted = "interrupted, " if event.fields.get("interrupted") else ""
    ends = [
        f"{shortened(vm)} {interrupted}{_UNFINISHED.get(state, 'end unknown')}"
        for vm, state in list(states.items())[:VMS_SHOWN]
    ]
    more = f" and {len(states) - VMS_SHOWN} more" if len(states) > VMS_SHOWN else ""
    return f"Play ended: {', '.join(ends)}{more}"


def _fleet_tested(event: AuditEvent) -> str:
    return f"{_tested(event)}: {_short(event, 'message', 2 * WIDTH)}"


def _tested(event: AuditEvent) -> str:
    """``Tests of affordabot at 8f14e45fceea: failed``."""
    commit = _short(event, "commit")[:12]
    return f"Tests of {event.subject.repo} at {commit}: {_short(event, 'state', NAME_WIDTH)}"


def _unreadable(event: AuditEvent) -> str:
    return f"(record {_short(event, 'record')} can't be read)"


def _verified(event: AuditEvent) -> str:
    """``Completed: tests passed (42, 3 commits, +120/-8, pushed)``: only where our own check passed."""
    passed = _number(_mapping(event, "tests"), "passed")
    work = event.fields.get("work")
    shown = [shortened(str(each)) for each in work] if isinstance(work, list) else []
    if passed:
        shown = [str(passed), *shown]
    shown += _tests_changed(event)
    in_brackets = f" ({', '.join(shown)})" if shown else ""
    return f"Completed: {'tests' if passed else 'check'} passed{in_brackets}"


def _tests_changed(event: AuditEvent) -> Iterator[str]:
    """``changed tests: tests/test_total.py``: what passed may have been made to fit."""
    names = event.fields.get("tests_changed")
    if isinstance(names, list) and names:
        more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
        listed = ", ".join(shortened(str(name), NAME_WIDTH) for name in names[:NAMES_SHOWN])
        yield f"changed tests: {listed}{more}"


def _end(event: AuditEvent) -> str:
    state = state_of(event.kind).capitalize()
    message = _short(event, "message")
    evidence = ", ".join(_evidence(event))
    in_brackets = f" ({evidence})" if evidence else ""
    # What is to be done with a bead is known when its claim has ended, and posted then.
    return f"{state}: {message}{in_brackets}{'' if event.subject.bead else _next(event)}"


def _evidence(event: AuditEvent) -> Iterator[str]:
    if (code := _number(event.fields, "verify_rc")) is not None:
        yield f"verify -> exit {code}"
    yield from (f"{count} {shortened(name)}" for name, count in _mapping(event, "tests").items())
    for tool in _tools(event):
        code = _number(tool, "exit")
        end = f"exit {code}" if code is not None else shortened(str(tool.get("status")).replace("_", " "))
        yield f"{shortened(str(tool.get('title')), 60)} -> {end}"
    if commit := _short(event, "commit")[:10]:
        yield f"commit {commit}"
    if (files := _number(event.fields, "uncommitted")) is not None:
        yield f"{files} uncommitted"
    if (tokens := _number(event.fields, "tokens")) is not None:
        yield f"{tokens} tokens"
    if (cost := _number(event.fields, "cost")) is not None:
        yield f"${cost:.4f}"
    if event.fields.get("transport") == "ssh":
        yield "through SSH"
    if (duration_s := _number(event.fields, "duration_s")) is not None:
        yield f"{duration_s:.1f} s"


_WORDS: Mapping[EventKind, Callable[[AuditEvent], str]] = {
    EventKind.DISPATCHING: _dispatching,
    EventKind.CLAIMED: _claimed,
    EventKind.CLAIM_ENDED: _claim_ended,
    EventKind.TAKEN_OVER: _taken_over,
    EventKind.SESSION_CREATED: _session_created,
    EventKind.RETRYING: _retrying,
    EventKind.ANSWERED: _answered,
    EventKind.ABORTING: _aborting,
    EventKind.STOPPED: _stopped,
    EventKind.FLEET_TESTED: _fleet_tested,
    EventKind.VERIFIED: _verified,
    EventKind.TASK_FAILED: _task_failed,
    EventKind.PLAY_ENDED: _play_ended,
    EventKind.UNREADABLE: _unreadable,
}
"""Of the other kinds, which are ends, see :func:`_end`."""

_BARE = frozenset((EventKind.DISPATCHING, EventKind.ABORTING, EventKind.STOPPED))
"""Those that name no VM before their words: they say by themselves where they are."""


def _bead_end(event: AuditEvent) -> str:
    return _BEAD_ENDS.get(str(event.fields.get("ended")), _short(event, "ended", NAME_WIDTH))


def _next(event: AuditEvent) -> str:
    next_action = _short(event, "next_action")
    return f". Next: {next_action}" if next_action else ""


def _because(event: AuditEvent) -> str:
    why = _short(event, "why")
    return f": {why}" if why else ""


def _mapping(event: AuditEvent, name: str) -> Mapping[str, Any]:
    value = event.fields.get(name)
    return value if isinstance(value, Mapping) else {}


def _tools(event: AuditEvent) -> Iterator[Mapping[str, Any]]:
    value = event.fields.get("tools")
    yield from (tool for tool in value if isinstance(tool, Mapping)) if isinstance(value, list) else ()


def _number(fields: Mapping[str, Any], name: str) -> int | float | None:
    value = fields.get(name)
    return value if isinstance(value, int | float) else None


def _short(event: AuditEvent, name: str, width: int = WIDTH) -> str:
    value = event.fields.get(name)
    return "" if value is None else shortened(str(value), width)
