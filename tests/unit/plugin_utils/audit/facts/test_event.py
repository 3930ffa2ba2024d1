# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One fact is one record, and the words are those that people were promised."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.facts import wording
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.facts.event import (
    AuditEvent,
    Kind,
    Subject,
    thread_key_of,
)
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.outcome import Evidence, Outcome, State, ToolRun

SUBJECT = Subject(
    "bd-xyz@1",
    vm="epyc6",
    repo="affordabot",
    bead="bd-xyz",
    session="ses_abc",
    orchestrator="claude-code@macmini",
)


def outcome(
    state: State, message: str = "epyc6: the agent finished: tests passed", **evidence: object
) -> Outcome:
    return Outcome(
        state,
        state.value,
        message,
        vm="epyc6",
        session="ses_abc",
        evidence=Evidence(**evidence),  # type: ignore[arg-type]
    )


def test_the_words_are_those_of_the_channel() -> None:
    assert [
        wording.dispatching(SUBJECT, "Run make test").text,
        wording.session_created(SUBJECT).text,
        wording.aborting(SUBJECT).text,
        wording.stopped(SUBJECT).text,
        wording.dispatching(Subject("d1", vm="epyc6"), "Run").text,
        wording.needs_input(SUBJECT, "bash: rm -rf build?", "per_1").text,
    ] == [
        "[macmini] Dispatching bd-xyz to epyc6: Run make test",
        "[epyc6] Session created: ses_abc",
        "Aborting epyc6 session ses_abc",
        "Stopped. What next?",
        "Dispatching to epyc6: Run",
        "[epyc6] Needs input: bash: rm -rf build?",
    ]


def test_an_outcome_is_told_with_its_evidence_in_a_line() -> None:
    told = wording.ended(
        outcome(
            State.COMPLETED,
            tools=(ToolRun("bash", "make test", "completed", 0),),
            tokens={"input": 200, "output": 40},
            cost=0.0012,
            duration_s=4.61,
        ),
        SUBJECT,
    )
    assert told is not None
    assert told.text == "[epyc6] Completed: tests passed (make test -> exit 0, 240 tokens, $0.0012, 4.6 s)"
    assert told.kind is Kind.COMPLETED


@pytest.mark.parametrize("state", [state for state in State if state not in (State.PLANNED, State.RUNNING)])
def test_every_end_has_its_words(state: State) -> None:
    told = wording.ended(outcome(state, "epyc6: x"), SUBJECT)
    assert told is not None
    assert told.kind.value == state.value
    assert told.text.startswith("[epyc6] ")


@pytest.mark.parametrize("state", [State.PLANNED, State.RUNNING])
def test_what_is_no_end_is_not_told_as_one(state: State) -> None:
    assert wording.ended(outcome(state), SUBJECT) is None


def test_what_to_do_next_is_said() -> None:
    told = wording.ended(
        outcome(State.FAILED, "epyc6: no").with_(next_action="dx-fleet status epyc6"), SUBJECT
    )
    assert told is not None
    assert told.text == "[epyc6] Failed: no. Next: dx-fleet status epyc6"


def test_a_secret_is_taken_out_before_the_text_is_cut() -> None:
    token = "xoxb-" + "1234567890abcdefghij"
    task = "x" * (wording.TASK_WIDTH - 9) + " " + token
    assert "xoxb" not in wording.dispatching(SUBJECT, task).text


def test_the_same_fact_has_the_same_name_whenever_it_is_recorded() -> None:
    first = AuditEvent(Kind.CLAIMED, "a", SUBJECT, at=datetime(2026, 1, 1, tzinfo=UTC))
    again = AuditEvent(Kind.CLAIMED, "b", SUBJECT, at=datetime(2026, 1, 2, tzinfo=UTC))
    assert first.id == again.id


def test_other_facts_have_other_names() -> None:
    events = [
        wording.claimed(SUBJECT),
        wording.claimed(SUBJECT.with_(vm="macmini")),
        wording.claimed(SUBJECT.with_(dispatch="bd-xyz@2")),
        wording.released(SUBJECT),
        wording.retrying(SUBJECT, "429", 1),
        wording.retrying(SUBJECT, "429", 2),
        wording.needs_input(SUBJECT, "x", "per_1"),
        wording.needs_input(SUBJECT, "x", "per_2"),
    ]
    assert len({event.id for event in events}) == len(events)


def test_it_survives_json() -> None:
    event = wording.ended(outcome(State.FAILED, duration_s=1.5), SUBJECT)
    assert event is not None
    back = AuditEvent.from_dict(json.loads(json.dumps(event.as_dict())))
    assert back.as_dict() == event.as_dict()
    assert back.id == event.id


@pytest.mark.parametrize(
    ("dispatch", "vm", "thread_key"),
    [
        ("01J.epyc6", "epyc6", "01J"),
        ("01J.epyc6", "macmini", "01J.epyc6"),
        ("01J", "epyc6", "01J"),
        ("01J", None, "01J"),
        ("a.b.c", "b.c", "a"),
        (".epyc6", "epyc6", ".epyc6"),
    ],
)
def test_a_dispatch_to_a_group_is_one_family(dispatch: str, vm: str | None, thread_key: str) -> None:
    assert thread_key_of(dispatch, vm) == thread_key
