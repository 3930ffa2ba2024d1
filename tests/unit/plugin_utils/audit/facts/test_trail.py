# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What happens again is recorded again; what is only seen again is not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.facts.event import AuditEvent, Step
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.facts.trail import DispatchTrail
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.facts.wording import words_of
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.event_kind import EventKind
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.outcome import Evidence, Outcome, State
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.progress import ProgressEvent

US = "claude-code@macmini"


class Log:
    """Records as the outbox does: one fact of a name."""

    def __init__(self) -> None:
        self.events: dict[str, AuditEvent] = {}
        self.steps: list[Step] = []

    def record(self, event: AuditEvent | None) -> bool:
        return event is not None and self.events.setdefault(event.id, event) is event

    def moved(self, step: Step) -> None:
        self.steps.append(step)

    @property
    def words(self) -> list[str]:
        return [words_of(event) for event in self.events.values()]


def run(log: Log, orchestrator: str = US) -> DispatchTrail:
    """One run that works on the dispatch d1."""
    trail = DispatchTrail(log, orchestrator)
    trail.about("d1", "ses_1", vm="epyc6", bead="bd-1")
    return trail


def end(state: State, reason: str | None = None, **changes: Any) -> Callable[[DispatchTrail], None]:
    known = {"vm": "epyc6", "dispatch": "d1", "session": "ses_1", "message": "msg_1"}
    outcome = Outcome(state, reason or state.value, "x", **{**known, **changes})
    return lambda trail: trail.ended(outcome)


def progress(kind: EventKind, **fields: Any) -> Callable[[DispatchTrail], None]:
    return lambda trail: trail.progress(ProgressEvent("epyc6", kind, "ses_1", fields))


def claim(before: str | None = None) -> Callable[[DispatchTrail], None]:
    def work(trail: DispatchTrail) -> None:
        trail.claimed(trail.about("d1", "ses_1", vm="epyc6", bead="bd-1"), before=before)

    return work


RETRY = {"attempt": 1, "why": "429", "next_try": 1000}


@pytest.mark.parametrize(
    "seen",
    [
        end(State.COMPLETED),
        end(State.NO_OP),
        end(State.FAILED, "model_error"),
        end(State.ABORTED),
        end(State.LOST),
        end(State.COMPLETED, message=None, evidence=Evidence(started_at="2026-11-29T10:00:00Z")),
        end(State.NEEDS_INPUT, evidence=Evidence(request={"id": "per_1"})),
        progress(EventKind.SESSION_CREATED),
        progress(EventKind.RETRYING, **RETRY),
        claim(),
    ],
)
def test_what_a_second_run_only_sees_again_is_recorded_once(seen: Callable[[DispatchTrail], None]) -> None:
    log = Log()
    seen(run(log))
    seen(run(log))
    assert len(log.events) == 1


@pytest.mark.parametrize(
    "happening",
    [
        end(State.TIMED_OUT),
        end(State.STALLED),
        end(State.UNREACHABLE, "connection_refused", message=None),
        end(State.REFUSED, "vm_disabled", message=None),
        end(State.FAILED, "effect_unknown", message=None),
        end(State.NEEDS_INPUT),
        end(State.VERIFIED, evidence=Evidence(verify_rc=0)),
        end(State.FAILED, "verify_failed", evidence=Evidence(verify_rc=1)),
        progress(EventKind.ABORTING, why="not finished after 5 s"),
        progress(EventKind.STOPPED),
        claim(before="codex@epyc6"),
        lambda trail: trail.claim_ended(
            trail.about("d1", "ses_1", vm="epyc6", bead="bd-1"), "released", "no"
        ),
    ],
)
def test_what_happens_in_a_second_run_is_recorded_again(happening: Callable[[DispatchTrail], None]) -> None:
    log = Log()
    happening(run(log))
    happening(run(log))
    assert len(log.events) == 2
    assert len(set(log.words)) == 1


def test_what_happens_twice_in_one_run_is_recorded_twice() -> None:
    log = Log()
    trail = run(log)
    for _ in range(2):
        progress(EventKind.ABORTING, why="the listener asked")(trail)
        progress(EventKind.STOPPED)(trail)
    assert log.words == ["Aborting epyc6 session ses_1: the listener asked", "Stopped. What next?"] * 2


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (progress(EventKind.RETRYING, **RETRY), progress(EventKind.RETRYING, **{**RETRY, "attempt": 2})),
        (progress(EventKind.RETRYING, **RETRY), progress(EventKind.RETRYING, **{**RETRY, "next_try": 2})),
        (end(State.COMPLETED), end(State.COMPLETED, message="msg_2")),
        (end(State.FAILED, "model_error"), end(State.FAILED, "bead_not_ended")),
        (
            end(State.NEEDS_INPUT, evidence=Evidence(request={"id": "per_1"})),
            end(State.NEEDS_INPUT, evidence=Evidence(request={"id": "per_2"})),
        ),
    ],
)
def test_another_occurrence_in_one_run_is_another_fact(
    first: Callable[[DispatchTrail], None], second: Callable[[DispatchTrail], None]
) -> None:
    log = Log()
    trail = run(log)
    first(trail)
    second(trail)
    assert len(log.events) == 2


def test_a_claim_that_goes_to_and_fro_is_recorded_each_time() -> None:
    log = Log()
    for us, before in ((US, "codex@epyc6"), ("codex@epyc6", US), (US, "codex@epyc6")):
        claim(before)(run(log, us))
    assert log.words == [
        f"[epyc6] Taken over by {US} from codex@epyc6",
        f"[epyc6] Taken over by codex@epyc6 from {US}",
        f"[epyc6] Taken over by {US} from codex@epyc6",
    ]


@pytest.mark.parametrize("state", [State.PLANNED, State.RUNNING])
def test_what_is_no_end_is_not_recorded_as_one(state: State) -> None:
    log = Log()
    end(state)(run(log))
    assert log.events == {}


def test_progress_of_a_session_that_belongs_to_no_dispatch_is_not_recorded() -> None:
    log = Log()
    trail = run(log)
    trail.progress(ProgressEvent("epyc6", EventKind.STOPPED, "ses_other"))
    trail.progress(ProgressEvent("epyc6", EventKind.TOOL_STARTED, "ses_other", {"tool": "bash"}))
    assert (log.events, log.steps) == ({}, [])


def test_a_step_of_the_agent_is_noted_and_is_no_fact() -> None:
    log = Log()
    trail = run(log)
    trail.about("d1", "ses_1", vm="epyc6")
    trail.progress(ProgressEvent("epyc6", EventKind.TOOL_STARTED, "ses_1", {"tool": "bash", "title": "make"}))
    assert [(step.subject.vm, step.words) for step in log.steps] == [("epyc6", "bash: make")]
    assert log.events == {}


def test_an_end_brings_what_the_outcome_knows_of_its_dispatch() -> None:
    log = Log()
    trail = DispatchTrail(log, US)
    outcome = Outcome(State.REFUSED, "vm_disabled", "epyc6 is disabled", vm="epyc6", dispatch="d2", repo="r")
    trail.ended(outcome)
    trail.ended(replace(outcome, dispatch=None))  # belongs to no dispatch
    (event,) = log.events.values()
    assert (event.subject.dispatch, event.subject.vm, event.subject.repo) == ("d2", "epyc6", "r")
    assert event.subject.orchestrator == US
