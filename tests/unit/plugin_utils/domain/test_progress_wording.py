# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each kind of progress has its words on a terminal, in one printable line, whatever its fields hold."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.event_kind import EventKind
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.outcome import State
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.progress import ProgressEvent
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.progress_wording import line_of
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.endpoints_files import any_json

CALL = {"tool": "bash", "title": "make test"}
WORDS: list[tuple[EventKind, dict[str, Any], str]] = [
    (EventKind.CLAIMED, {"bead": "bd-1", "dispatch": "bd-1@2-x"}, "Claimed bd-1: dispatch bd-1@2-x"),
    (EventKind.CONTINUED, {"dispatch": "d1", "orchestrator": "a@b"}, "Going on with d1 of a@b"),
    (
        EventKind.CONTINUED,
        {"dispatch": "d1", "orchestrator": None},
        "Going on with d1 of an unknown orchestrator",
    ),
    (
        EventKind.OTHER_ORCHESTRATOR,
        {"orchestrator": "a@b", "bead": "bd-2", "on": "macmini", "claimed_at": "2026-11-27T10:00:00Z"},
        "a@b is at work as well: bd-2 on macmini since 2026-11-27T10:00:00Z",
    ),
    (EventKind.CLAIM_ENDED, {"bead": "bd-1", "ended": "closed"}, "Bead bd-1: closed"),
    (EventKind.SESSION_CREATED, {}, "Session created: ses_1"),
    (EventKind.TASK_SENT, {"task": "Run\nmake test"}, "Task sent: Run make test"),
    (EventKind.TOOL_STARTED, CALL, "bash: make test"),
    (EventKind.TOOL_FINISHED, {**CALL, "exit": 2}, "bash: make test -> exit 2"),
    (EventKind.TOOL_FINISHED, {**CALL, "exit": None}, "bash: make test -> done"),
    (EventKind.TOOL_FAILED, {**CALL, "error": "no such file"}, "bash: make test -> no such file"),
    (EventKind.RETRYING, {"attempt": 2, "why": "429", "next_try": 1}, "Model retry 2: 429"),
    (
        EventKind.CONNECTION_LOST,
        {"reason_code": "connection_refused"},
        "Lost the server (connection_refused); trying again",
    ),
    (EventKind.ABORTING, {"why": "more than 3 steps"}, "Stopping: more than 3 steps"),
    (EventKind.STOPPED, {}, "Stopped: the session is idle"),
    (EventKind.TIMED_OUT, {"message": "not finished after 3 s"}, "timed_out: not finished after 3 s"),
]


@pytest.mark.parametrize(("kind", "fields", "words"), WORDS)
def test_the_words_of_each_kind(kind: EventKind, fields: dict[str, Any], words: str) -> None:
    assert line_of(ProgressEvent("epyc6", kind, "ses_1", fields)) == f"[epyc6] {words}"


@pytest.mark.parametrize("state", list(State))
def test_each_state_that_is_an_end_is_a_kind(state: State) -> None:
    kind = EventKind.of(state)
    if state in (State.PLANNED, State.RUNNING):
        assert kind is None
    else:
        assert kind is not None
        assert kind.is_end
        assert kind.value == state.value


def test_only_the_kinds_of_ends_are_ends() -> None:
    assert {kind for kind in EventKind if kind.is_end} == {EventKind.of(state) for state in State} - {None}


@given(
    st.sampled_from(EventKind),
    st.dictionaries(
        st.sampled_from(["tool", "title", "exit", "error", "why", "attempt", "task", "message", "bead"]),
        any_json,
    ),
)
def test_fields_of_any_shape_make_one_printable_line(kind: EventKind, fields: dict[str, Any]) -> None:
    line = line_of(ProgressEvent("epyc6", kind, "ses_1", fields))
    assert line.isprintable()
    assert len(line) <= 600
