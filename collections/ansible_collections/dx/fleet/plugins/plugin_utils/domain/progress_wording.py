# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The words in which a person reads progress on a terminal or in a log."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..text.printable import shortened
from .event_kind import EventKind
from .input_request import InputRequest
from .outcome import shown_state
from .person import shown_person
from .progress import ProgressEvent

__all__ = ["line_of", "words_of"]

WIDTH = 500
TITLE_WIDTH = 80
WHY_WIDTH = 120

_Fields = Mapping[str, Any]


def line_of(event: ProgressEvent) -> str:
    """``[vm] words``, one line without control characters."""
    return f"[{shortened(event.vm, 100)}] {words_of(event)}"


def words_of(event: ProgressEvent) -> str:
    """The change in one line without control characters, at most 500 characters long."""
    if event.kind.is_end:
        words = f"{shown_state(event.kind.value)}: {_short(event.fields, 'message', WIDTH)}"
    elif event.kind is EventKind.SESSION_CREATED:
        words = f"Session created: {event.session}"
    elif event.kind in _WORDS:
        words = _WORDS[event.kind](event.fields)
    else:
        words = event.kind.value
    return shortened(words, WIDTH)


def _claimed(fields: _Fields) -> str:
    return f"Claimed {_short(fields, 'bead')}: dispatch {_short(fields, 'dispatch')}"


def _continued(fields: _Fields) -> str:
    before = _short(fields, "orchestrator") or "an unknown orchestrator"
    return f"Going on with {_short(fields, 'dispatch')} of {before}"


def _other_orchestrator(fields: _Fields) -> str:
    return (
        f"{_short(fields, 'orchestrator')} is at work as well: {_short(fields, 'bead')}"
        f" on {_short(fields, 'on')} since {_short(fields, 'claimed_at')}"
    )


def _claim_ended(fields: _Fields) -> str:
    return f"Bead {_short(fields, 'bead')}: {_short(fields, 'ended')}"


def _task_sent(fields: _Fields) -> str:
    return f"Task sent: {_short(fields, 'task')}"


def _tool(fields: _Fields) -> str:
    return f"{_short(fields, 'tool', TITLE_WIDTH)}: {_short(fields, 'title', TITLE_WIDTH)}"


def _tool_finished(fields: _Fields) -> str:
    code = fields.get("exit")
    if fields.get("cut_short"):
        return f"{_tool(fields)} -> cut short"
    return f"{_tool(fields)} -> {f'exit {code}' if isinstance(code, int) else 'done'}"


def _tool_failed(fields: _Fields) -> str:
    return f"{_tool(fields)} -> {_short(fields, 'error')}"


def _retrying(fields: _Fields) -> str:
    return f"Model retry {_short(fields, 'attempt')}: {_short(fields, 'why', WHY_WIDTH)}"


def _connection_lost(fields: _Fields) -> str:
    return f"Lost the server ({_short(fields, 'reason_code')}); trying again"


def _asked(fields: _Fields) -> str:
    about = InputRequest.of(fields.get("request"))
    return f"Waits for an answer{f': {about.words}' if about is not None else ''}"


def _answered(fields: _Fields) -> str:
    answer, by = _short(fields, "answer"), shown_person(_short(fields, "by"))
    given = f": {answer}" if answer else ""
    return f"Answered{given}{f' (by {by})' if by else ''}: {_short(fields, 'words', WIDTH)}"


def _verifying(fields: _Fields) -> str:
    return f"Verifying: {_short(fields, 'command', TITLE_WIDTH)}"


def _aborting(fields: _Fields) -> str:
    return f"Stopping: {_short(fields, 'why', WIDTH)}"


def _stopped(_: _Fields) -> str:
    return "Stopped: the session is idle"


def _step(fields: _Fields) -> str:
    return _short(fields, "step", WIDTH)


_WORDS: Mapping[EventKind, Callable[[_Fields], str]] = {
    EventKind.CLAIMED: _claimed,
    EventKind.CONTINUED: _continued,
    EventKind.OTHER_ORCHESTRATOR: _other_orchestrator,
    EventKind.CLAIM_ENDED: _claim_ended,
    EventKind.TASK_SENT: _task_sent,
    EventKind.TOOL_STARTED: _tool,
    EventKind.TOOL_FINISHED: _tool_finished,
    EventKind.TOOL_FAILED: _tool_failed,
    EventKind.RETRYING: _retrying,
    EventKind.CONNECTION_LOST: _connection_lost,
    EventKind.ASKED: _asked,
    EventKind.ANSWERED: _answered,
    EventKind.VERIFYING: _verifying,
    EventKind.ABORTING: _aborting,
    EventKind.STOPPED: _stopped,
    EventKind.STEP: _step,
}


def _short(fields: _Fields, name: str, width: int = 100) -> str:
    value = fields.get(name)
    return "" if value is None else shortened(str(value), width)
