# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one JSON document; tests/unit/test_schemas.py compares it with its schema."""

from __future__ import annotations

import json

import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.cli.document import document, encoded
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.errors import PreflightError, UsageError
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.outcome import (
    Evidence,
    ExitCode,
    Outcome,
    State,
    ToolRun,
    exit_code,
)

OUTCOME = Outcome(
    State.FAILED,
    "model_error",
    "the model failed",
    evidence=Evidence(tools=(ToolRun("bash", "make test", "completed", 2),), dirty_files=("a",)),
)


def test_the_document_of_a_run_has_a_result_per_vm_and_no_error() -> None:
    found = document(ExitCode.FAILED, [OUTCOME, OUTCOME])
    assert (found["schema_version"], found["exit_code"], found["error"]) == (1, 3, None)
    assert [result["state"] for result in found["results"]] == ["failed", "failed"]
    assert "vms" not in found


def test_the_document_of_an_error_has_no_result() -> None:
    error = UsageError("unknown VM 'x'", reason_code="unknown_vm", next_action="dx-fleet list")
    assert document(ExitCode.USAGE, error=error) == {
        "schema_version": 1,
        "exit_code": 2,
        "results": [],
        "error": {
            "reason_code": "unknown_vm",
            "message_to_human": "unknown VM 'x'",
            "next_action": "dx-fleet list",
        },
    }


def test_it_is_printed_as_ascii_that_any_locale_can_show() -> None:
    text = encoded(document(0, [OUTCOME.with_(message_to_human="Grüße 😀 \x1b[31m \ud83d")]))
    assert text.isascii()
    assert "\x1b" not in text
    assert json.loads(text)["results"][0]["message_to_human"] == "Grüße 😀 \x1b[31m \ud83d"


def test_an_outcome_comes_through_a_tasks_result_unchanged() -> None:
    assert Outcome.from_dict(json.loads(json.dumps(OUTCOME.as_dict()))) == OUTCOME


def test_an_error_is_an_outcome_of_its_phase() -> None:
    error = PreflightError("no", reason_code="connection_refused", next_action="start it")
    outcome = error.as_outcome()
    assert (outcome.state, outcome.reason_code, outcome.next_action) == (
        State.UNREACHABLE,
        "connection_refused",
        "start it",
    )


@pytest.mark.parametrize(
    ("states", "code"),
    [
        ([State.COMPLETED], 0),
        ([State.VERIFIED, State.PLANNED, State.RUNNING], 0),
        ([State.FAILED, State.LOST], 3),
        ([State.COMPLETED, State.UNREACHABLE], 3),
        ([State.REFUSED, State.REFUSED], 4),
        ([State.UNREACHABLE], 5),
        ([State.NEEDS_INPUT], 6),
        ([State.TIMED_OUT, State.STALLED], 7),
        ([State.ABORTED], 8),
        ([State.NO_OP], 9),
        ([State.NEEDS_INPUT, State.ABORTED], 3),
    ],
)
def test_the_exit_code_is_what_all_vms_share_else_mixed(states: list[State], code: int) -> None:
    assert exit_code(states) == code


def test_every_state_has_an_exit_code() -> None:
    assert all(isinstance(ExitCode.of(state), ExitCode) for state in State)


def test_a_run_without_a_state_cannot_be_graded() -> None:
    with pytest.raises(ValueError, match="no state"):
        exit_code([])
