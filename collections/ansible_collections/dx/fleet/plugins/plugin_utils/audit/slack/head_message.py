# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The head of a thread as a person reads it: what matters now comes first, ids for machines last."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC
from typing import Any

from ...domain.event_kind import EventKind
from ...domain.identity import EVERY_VM
from ..facts import wording
from ..facts.question import question_of
from ..facts.status import Status, VMStatus
from ..store.records import LastStep, Record
from .buttons import Button, button, request_value
from .message import PLAIN_TEXT, Audience, SlackMessage, metadata_of
from .text import MAX_SECTION, MAX_TEXT, ago, escaped, markup, mentions, plain, section, sections

__all__ = ["head"]

Block = Mapping[str, Any]

MAX_TITLE = 150
MAX_QUESTIONS = 5
MAX_ID = 100
MAX_VMS_SHOWN = 80
MAX_VMS_WITH_BUTTONS = 10

_RUNNING = "🔵"
_MARKS = {
    EventKind.NEEDS_INPUT: "✋",
    EventKind.VERIFIED: "✅",
    EventKind.COMPLETED: "⚪",
    EventKind.UNVERIFIED: "⚪",
    EventKind.NO_OP: "⚪",
    EventKind.FAILED: "❌",
    EventKind.LOST: "❌",
    EventKind.TASK_FAILED: "❌",
    EventKind.UNREACHABLE: "❌",
    EventKind.STALLED: "⌛",
    EventKind.TIMED_OUT: "⌛",
    EventKind.REFUSED: "🚫",
    EventKind.ABORTING: "🛑",
    EventKind.ABORTED: "🛑",
    EventKind.STOPPED: "🛑",
}
_MOST_URGENT_FIRST = ("✋", "❌", "⌛", "🛑", "🚫", _RUNNING, "⚪", "✅")


def head(
    thread_key: str,
    status: Status,
    records: Sequence[Record] = (),
    *,
    headline: str | None = None,
    steps: Mapping[str, LastStep] | None = None,
    audience: Audience | None = None,
    fallback_level: int = 0,
) -> SlackMessage:
    """The message at the head of a thread.

    Args:
        thread_key: Its name.
        status: How the dispatch stands.
        records: What the head tells, so that no reply does.
        headline: What another controller's head begins with, where there is one.
        steps: What the agents did last, by VM.
        audience: Who is named where an agent waits for a person, and whether somebody hears a click.
        fallback_level: From 1 on in plain text and shorter, last without metadata.
    """
    headline = headline or wording.headline_of(status)
    title = _title(status)
    told = tuple(record.id for record in records)
    metadata = metadata_of(thread_key, records, headline)
    if fallback_level:
        width = PLAIN_TEXT[min(fallback_level, len(PLAIN_TEXT)) - 1]
        text = escaped(f"{title}: dispatch {_given(thread_key)}", width)
        return SlackMessage(text, None, metadata if fallback_level < len(PLAIN_TEXT) else None, told)
    blocks = [
        {"type": "header", "text": plain(escaped(title, MAX_TITLE))},
        *_now(status, steps or {}, audience or Audience()),
        section(escaped(headline, MAX_SECTION)),
        *_vms(status, audience or Audience()),
        *_buttons(status, audience or Audience()),
        {"type": "context", "elements": [plain(escaped(_ids(thread_key, status), MAX_SECTION))]},
    ]
    return SlackMessage(escaped(f"{title}: {headline}", MAX_TEXT), blocks, metadata, told)


def _title(status: Status) -> str:
    """The state in a word and a mark, and where."""
    states = wording.states_of(status)
    words = f"{states[:1].upper()}{states[1:]}"
    where = str(status.vms[0].subject.vm) if len(status.vms) == 1 else ""
    marks = {_mark(vm) for vm in status.vms} or {_RUNNING}
    mark = next(mark for mark in _MOST_URGENT_FIRST if mark in marks)
    return f"{mark} {words} on {where}" if where else f"{mark} {words}"


def _mark(vm: VMStatus) -> str:
    return _RUNNING if vm.kind is None else _MARKS.get(vm.kind, _RUNNING)


def _now(status: Status, steps: Mapping[str, LastStep], audience: Audience) -> Iterator[Block]:
    """What matters now: the question, the result, or what the agent does."""
    waiting = [vm for vm in status.vms if vm.kind is EventKind.NEEDS_INPUT]
    for vm in waiting[:MAX_QUESTIONS]:
        yield section(escaped(_question(vm, alone=len(status.vms) == 1), MAX_SECTION))
    if waiting and audience.mention:
        yield {"type": "section", "text": markup(f"{mentions(audience.mention)} the agent waits for you")}
    if len(status.vms) != 1:
        return
    (vm,) = status.vms
    if result := _result(vm):
        yield section(escaped(result, MAX_SECTION))
    if vm.final or vm.kind is EventKind.NEEDS_INPUT:
        return
    step = steps.get(vm.subject.vm or "")
    if step is not None:
        yield section(escaped(f"Now: {step.words}", MAX_SECTION))
    moved_at = max(vm.changed.timestamp(), step.at if step else 0.0)
    yield {"type": "context", "elements": [markup(f"last movement {ago(moved_at)}")]}


def _question(vm: VMStatus, *, alone: bool) -> str:
    if vm.last is None:
        raise AssertionError
    question = question_of(vm.last)
    where = "" if alone else f"[{vm.subject.vm}] "
    return "\n".join([f"{where}{question.text}", *(f"• {option}" for option in question.options)])


def _result(vm: VMStatus) -> str:
    """The result or the error in a sentence, what became of the bead, and what to do next."""
    if vm.last is None:
        return ""
    lines = []
    if vm.last.kind.is_end and vm.kind is not EventKind.NEEDS_INPUT:
        lines.append(wording.sentence_of(vm.last))
    if vm.subject.bead:
        lines.append(wording.bead_of(vm))
    if next_action := wording.next_action_of(vm):
        lines.append(f"Next: {next_action}")
    return "\n".join(lines)


def _vms(status: Status, audience: Audience) -> list[Block]:
    """A table of the VMs, where there are several; as long as they are few, each with its own buttons."""
    vms = status.vms
    if len(vms) < 2:
        return []
    if audience.buttons and len(vms) <= MAX_VMS_WITH_BUTTONS:
        return [block for vm in vms for block in _vm_with_buttons(vm)]
    lines = [escaped(_vm_line(vm, with_session=len(vms) <= 10), 160) for vm in vms[:MAX_VMS_SHOWN]]
    return sections([*lines, f"and {len(vms) - MAX_VMS_SHOWN} more"] if len(vms) > MAX_VMS_SHOWN else lines)


def _vm_with_buttons(vm: VMStatus) -> list[Block]:
    line = section(escaped(_vm_line(vm, with_session=True), 160))
    elements = _elements(vm)
    if len(elements) == 1:
        return [{**line, "accessory": elements[0]}]
    return [line, {"type": "actions", "elements": elements}] if elements else [line]


def _vm_line(vm: VMStatus, *, with_session: bool) -> str:
    session = f", {vm.subject.session}" if vm.subject.session and with_session else ""
    bead = f", {wording.bead_of(vm)}" if vm.subject.bead and with_session else ""
    state = wording.state_of(vm.kind)
    return f"{_mark(vm)} {vm.subject.vm}: {state}, {_duration(vm.elapsed_s)}{bead}{session}"


def _buttons(status: Status, audience: Audience) -> Iterator[Block]:
    """What a person can do about the one VM; several have theirs at their own lines."""
    if audience.buttons and len(status.vms) == 1 and (elements := _elements(status.vms[0])):
        yield {"type": "actions", "elements": elements}


def _elements(vm: VMStatus) -> list[Block]:
    dispatch = vm.subject.dispatch
    elements = []
    question = question_of(vm.last) if vm.kind is EventKind.NEEDS_INPUT and vm.last else None
    if question is not None and question.is_permission and question.id:
        value = request_value(dispatch, question.id)
        elements += [button(Button.ALLOW_ONCE, value), button(Button.REJECT, value)]
    if not vm.final:
        elements.append(button(Button.STOP, dispatch, vm.subject.vm))
    elif vm.subject.bead and wording.is_blocked(vm):
        elements.append(button(Button.RETRY, vm.subject.bead))
    return elements


def _ids(thread_key: str, status: Status) -> str:
    """What a machine or a command needs, in a small line."""
    known = [f"dispatch {_given(thread_key)}"]
    if status.vms:
        first = status.vms[0].subject
        alone = len(status.vms) == 1
        since = min(vm.since for vm in status.vms)
        elapsed_s = (max(vm.changed for vm in status.vms) - since).total_seconds()
        known += [first.session] if alone and first.session else []
        known += [first.repo] if first.repo else []
        known += [first.orchestrator] if first.orchestrator else []
        known.append(f"{since.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC")
        known += [f"took {_duration(max(0.0, elapsed_s))}"] if status.final else []
    return " · ".join(escaped(one, MAX_ID) for one in known)


def _given(thread_key: str) -> str:
    """The id that the run was given, as its options have it."""
    return thread_key.removesuffix(EVERY_VM)


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
