# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The words are those that people were promised; whatever a field holds, they are one printable line."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.facts import kinds
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.facts.event import AuditEvent, Subject
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.facts.status import status_of
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.facts.wording import (
    headline_of,
    states_of,
    words_of,
)
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.event_kind import EventKind
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.outcome import Evidence, Outcome, State, ToolRun
from hypothesis import given
from hypothesis import strategies as st

SUBJECT = Subject(
    "bd-xyz@1",
    vm="epyc6",
    repo="affordabot",
    bead="bd-xyz",
    session="ses_abc",
    orchestrator="claude-code@macmini",
)
ALONE = Subject("d1", vm="epyc6")


def end(
    state: State,
    message: str = "x",
    next_action: str | None = None,
    *,
    subject: Subject = SUBJECT,
    **evidence: Any,
) -> AuditEvent:
    outcome = Outcome(state, state.value, message, next_action, evidence=Evidence(**evidence))
    event = kinds.ended(outcome, subject)
    assert event is not None
    return event


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (kinds.dispatching(SUBJECT, "Run make test"), "[macmini] Dispatching bd-xyz to epyc6: Run make test"),
        (kinds.dispatching(ALONE, "Run"), "Dispatching to epyc6: Run"),
        (kinds.claimed(SUBJECT), "[epyc6] Claimed bd-xyz for claude-code@macmini"),
        (kinds.claimed(replace(SUBJECT, orchestrator=None)), "[epyc6] Claimed bd-xyz for this dispatch"),
        (kinds.session_created(SUBJECT), "[epyc6] Session created: ses_abc"),
        (kinds.retrying(SUBJECT, "429", 2), "[epyc6] Retrying (2): 429"),
        (kinds.aborting(SUBJECT), "Aborting epyc6 session ses_abc"),
        (
            kinds.aborting(SUBJECT, "not finished after 5 s", "U123"),
            "Aborting epyc6 session ses_abc: not finished after 5 s (asked by U123)",
        ),
        (kinds.stopped(SUBJECT), "Stopped. What next?"),
        (kinds.claim_ended(SUBJECT, "closed", "", None), "[epyc6] Bead bd-xyz is closed"),
        (
            kinds.claim_ended(SUBJECT, "released", "refused: no", "dx-dispatch --bead bd-xyz"),
            "[epyc6] Bead bd-xyz is released: refused: no. Next: dx-dispatch --bead bd-xyz",
        ),
        (kinds.claim_ended(SUBJECT, "held", "needs_input: ?", None), "[epyc6] Bead bd-xyz stays claimed"),
        (
            kinds.claim_ended(SUBJECT, "noted", "failed: no", "bd show bd-xyz"),
            "[epyc6] Bead bd-xyz was changed meanwhile and stays as it is, with a note: failed: no."
            " Next: bd show bd-xyz",
        ),
        (
            kinds.taken_over(SUBJECT, "codex@epyc6"),
            "[epyc6] Taken over by claude-code@macmini from codex@epyc6",
        ),
        (kinds.host_unreachable(ALONE, "no route", occurrence="1"), "[epyc6] Unreachable: no route"),
        (
            kinds.task_failed(ALONE, "Migrate", "command", 2, occurrence="1"),
            "[epyc6] Task failed: Migrate (command, exit 2)",
        ),
        (
            kinds.task_failed(ALONE, "Migrate", "command", occurrence="1"),
            "[epyc6] Task failed: Migrate (command)",
        ),
        (
            kinds.play_ended(Subject("d1"), {"a": "running", "b": None}, interrupted=False, occurrence="1"),
            "Play ended: a not followed to its end, b end unknown",
        ),
        (
            kinds.play_ended(Subject("d1"), {"a": "running"}, interrupted=True, occurrence="1"),
            "Play ended: a interrupted, not followed to its end",
        ),
        (
            kinds.play_ended(
                Subject("d1"), dict.fromkeys(map(str, range(22))), interrupted=False, occurrence="1"
            ),
            "Play ended: " + ", ".join(f"{number} end unknown" for number in range(20)) + " and 2 more",
        ),
        (AuditEvent(EventKind.UNREADABLE, Subject("d1"), {"record": 7}), "(record 7 can't be read)"),
        (
            end(
                State.COMPLETED,
                "the agent wrote: tests passed",
                text="tests passed",
                tools=(ToolRun("read", "a", "completed"), ToolRun("bash", "make test", "completed", 0)),
                tokens={"input": 200, "output": 40},
                cost=0.0012,
                duration_s=4.61,
            ),
            "[epyc6] Finished, not verified: the agent wrote: tests passed (a -> completed, make test -> exit 0, 240 tokens, $0.0012, 4.6 s)",
        ),
        (
            end(State.COMPLETED, "the agent wrote nothing"),
            "[epyc6] Finished, not verified: the agent wrote nothing",
        ),
        (
            end(
                State.VERIFIED,
                "passed",
                verify_rc=0,
                tests={"passed": 3},
                head_after="f" * 40,
                dirty_files=("a",),
            ),
            "[epyc6] Completed: tests passed (3, 1 uncommitted)",
        ),
        (
            end(
                State.VERIFIED,
                "42 passed, 3 commits, +120/-8, pushed",
                verify_rc=0,
                tests={"passed": 42, "failed": 0},
                commits=3,
                diffstat="+120/-8",
                pushed=True,
            ),
            "[epyc6] Completed: tests passed (42, 3 commits, +120/-8, pushed)",
        ),
        (
            end(State.VERIFIED, "3 passed", verify_rc=0, tests={"passed": 3}, tests_changed=tuple("abcd")),
            "[epyc6] Completed: tests passed (3, changed tests: a, b, c and 1 more)",
        ),
        (end(State.VERIFIED, "the check passed", verify_rc=0), "[epyc6] Completed: check passed"),
        (
            end(State.FAILED, "3 of 42 failed: test_a, test_b"),
            "[epyc6] Failed: 3 of 42 failed: test_a, test_b",
        ),
        (end(State.FAILED, "no", "dx-fleet status"), "[epyc6] Failed: no"),  # the bead's end names it
        (
            end(State.FAILED, "no", "dx-fleet status", subject=replace(SUBJECT, bead=None)),
            "[epyc6] Failed: no. Next: dx-fleet status",
        ),
        (end(State.NO_OP), "[epyc6] No work done: x"),
        (end(State.TIMED_OUT), "[epyc6] Timed out: x"),
        (end(State.NEEDS_INPUT, "bash: rm?"), "[epyc6] Needs input: bash: rm?"),
    ],
)
def test_the_words_are_those_of_the_channel(event: AuditEvent, words: str) -> None:
    assert words_of(event) == words


@pytest.mark.parametrize("state", [state for state in State if EventKind.of(state)])
def test_every_end_has_its_words(state: State) -> None:
    assert words_of(end(state)).startswith("[epyc6] ")


@given(
    st.sampled_from(EventKind),
    st.dictionaries(
        st.sampled_from(
            ["message", "task", "why", "tools", "tests", "cost", "duration_s", "states", "rc", "commit"]
        ),
        st.none() | st.text() | st.floats() | st.lists(st.none() | st.dictionaries(st.text(), st.text())),
    ),
)
def test_whatever_the_fields_hold_the_words_are_one_printable_line(
    kind: EventKind, fields: dict[str, Any]
) -> None:
    words = words_of(AuditEvent(kind, ALONE, fields))
    assert words.isprintable()


@pytest.mark.parametrize(
    ("vms", "headline", "states"),
    [
        (("a",), "[macmini] Dispatching bd-xyz to a: Run", "dispatching"),
        (("a", "b", "c"), "[macmini] Dispatching bd-xyz to 3 VMs: Run", "3 dispatching"),
    ],
)
def test_a_headline_names_one_vm_or_counts_them(vms: tuple[str, ...], headline: str, states: str) -> None:
    status = status_of(kinds.dispatching(replace(SUBJECT, vm=vm), "Run") for vm in vms)
    assert (headline_of(status), states_of(status)) == (headline, states)


def test_a_task_that_reads_like_our_words_changes_no_headline() -> None:
    task = " to a: (x) to b: y (done)"
    status = status_of(kinds.dispatching(replace(ALONE, vm=vm), task) for vm in ("a", "b"))
    assert headline_of(status) == "Dispatching to 2 VMs: to a: (x) to b: y (done)"


def test_a_thread_without_a_task_is_about_its_first_fact() -> None:
    assert (
        headline_of(status_of([kinds.claimed(SUBJECT)])) == "[epyc6] Claimed bd-xyz for claude-code@macmini"
    )
    assert headline_of(status_of([])) == "Dispatch"
    assert states_of(status_of([])) == "begun"


@pytest.mark.parametrize(
    ("facts", "state", "final"),
    [
        ([kinds.claim_ended(SUBJECT, "released", "", None)], "begun", False),
        ([kinds.claimed(SUBJECT), kinds.session_created(SUBJECT)], "running", False),
        ([kinds.retrying(SUBJECT, "x", 1)], "running, the model is asked again", False),
        ([kinds.aborting(SUBJECT)], "stopping", False),
        ([kinds.aborting(SUBJECT), kinds.stopped(SUBJECT)], "stopped", True),
        ([end(State.NEEDS_INPUT)], "needs input", False),
        ([end(State.STALLED)], "stalled", True),
        ([end(State.NO_OP)], "no work done", True),
        (
            [end(State.COMPLETED), kinds.claim_ended(SUBJECT, "closed", "", None)],
            "finished, not verified",
            True,
        ),
        (
            [end(State.COMPLETED), kinds.task_failed(SUBJECT, "x", "y", occurrence="1")],
            "finished, not verified",
            True,
        ),
        ([kinds.task_failed(SUBJECT, "x", "y", occurrence="1")], "a task of the play failed", False),
    ],
)
def test_how_a_vm_stands(facts: list[AuditEvent], state: str, final: bool) -> None:
    status = status_of(facts)
    assert (states_of(status), status.final) == (state, final)
