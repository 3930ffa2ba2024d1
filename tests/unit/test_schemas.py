# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The JSON Schemas that the collection ships say what the code does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import jsonschema
import pydantic
import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.cli.document import document, encoded
from ansible_collections.dx.fleet.plugins.plugin_utils.config.endpoints import parse_fleet
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.errors import ConfigError
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.outcome import (
    Evidence,
    ExitCode,
    Outcome,
    State,
    ToolRun,
    exit_code,
)
from ansible_collections.dx.fleet.plugins.plugin_utils.opencode.models import (
    PermissionRequest,
    QuestionRequest,
)
from ansible_collections.dx.fleet.plugins.plugin_utils.sessions.survey import SessionInfo, Survey
from hypothesis import given
from packaging.version import Version

from tests import schemas
from tests.command import CHECKOUT
from tests.unit.endpoints_files import PLAIN, almost_files, file_text

PERMISSION = PermissionRequest.model_validate(
    {"id": "per_1", "sessionID": "ses_1", "permission": "bash", "patterns": ["rm *"], "metadata": {"a": 1}}
)
QUESTION = QuestionRequest.model_validate(
    {
        "id": "que_1",
        "sessionID": "ses_1",
        "questions": [{"question": "Where?", "options": [{"label": "staging"}]}],
    }
)
FULL = Evidence(
    session="ses_1",
    directory="/srv/a",
    server_version="1.18.33",
    transport="ssh",
    agent="build",
    model="scripted/main",
    steps=2,
    tools=(ToolRun("bash", "make test", "completed", 0), ToolRun("read", "a.py", "error")),
    tool_count=2,
    text="3 passed",
    error="APIError 401: no",
    request=PERMISSION.model_dump(mode="json"),
    tokens={"input": 1, "output": 2, "reasoning": 0, "cache_read": 0, "cache_write": 0},
    cost=0.1,
    branch="dx/bd-1",
    commits=3,
    pushed=True,
    verify_duration_s=1.5,
    verify_output="/home/feng/check.log",
    verify_tail="3 passed",
    tests_source="junit",
    failed_tests=("tests.test_a::test_b",),
    tests_changed=("tests/test_a.py",),
    check_files_changed=("Makefile",),
    processes_left=0,
    head_before="a" * 40,
    head_after="b" * 40,
    dirty_files=("a.py",),
    diffstat="1 file changed",
    verify_rc=0,
    tests={"passed": 3},
    duration_s=1.5,
    started_at="2026-01-04T09:30:12.417+00:00",
    ended_at="2026-01-04T09:30:13.917+00:00",
    noticed_at="2026-01-04T09:30:13.950+00:00",
)


def validator(name: str) -> jsonschema.Draft202012Validator:
    schema = json.loads((schemas.DIRECTORY / name).read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


RESULT = validator("dispatch-result.schema.json")
ENDPOINTS = validator("vm-endpoints.schema.json")


def sample(state: State, evidence: Evidence = FULL) -> Outcome:
    return Outcome(
        state=state,
        reason_code=state.value,
        message_to_human=state.value,
        next_action=None if state.good else "dx-fleet status epyc6",
        vm="epyc6",
        repo="affordabot",
        dispatch="d1",
        session="ses_1",
        message="msg_1",
        started_at="2026-01-04T09:30:12.417+00:00",
        duration_s=1.5,
        evidence=evidence,
    )


def printed(data: dict[str, Any]) -> Any:
    """The document as a reader of standard output has it."""
    return json.loads(encoded(data))


def places(data: Any) -> Iterator[dict[str, Any]]:
    """Every object in a document, but for those in which any key may stand."""
    if isinstance(data, dict):
        yield data
        for key, value in data.items():
            if key not in ("tokens", "tests", "metadata"):
                yield from places(value)
    elif isinstance(data, list):
        for item in data:
            yield from places(item)


@pytest.mark.skipif(
    Version(pydantic.VERSION) < Version("2.11"), reason="an older pydantic says less in a schema"
)
@pytest.mark.parametrize("name", list(schemas.SCHEMAS))
def test_the_schemas_that_are_shipped_are_those_of_the_code(name: str) -> None:
    shipped = (schemas.DIRECTORY / name).read_text(encoding="utf-8")
    assert shipped == schemas.encoded(schemas.SCHEMAS[name]()), "stale: run python -m tests.schemas"


@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize("evidence", [FULL, Evidence()], ids=["all known", "nothing known"])
def test_the_document_of_every_state_is_valid(state: State, evidence: Evidence) -> None:
    outcome = sample(state, evidence)
    RESULT.validate(printed(document(exit_code([state]), [outcome])))


def test_an_outcome_of_which_only_the_state_is_known_is_valid() -> None:
    RESULT.validate(printed(document(ExitCode.FAILED, [Outcome(State.FAILED, "x", "x")])))


@pytest.mark.parametrize("request_", [PERMISSION, QUESTION], ids=["permission", "question"])
def test_a_pending_request_is_described(request_: PermissionRequest | QuestionRequest) -> None:
    evidence = replace(FULL, request=request_.model_dump(mode="json"))
    RESULT.validate(printed(document(ExitCode.NEEDS_INPUT, [sample(State.NEEDS_INPUT, evidence)])))


@pytest.mark.parametrize("code", list(ExitCode))
def test_every_exit_code_is_known(code: ExitCode) -> None:
    RESULT.validate(printed(document(code)))


def test_an_error_is_described() -> None:
    error = ConfigError("x: no such file", reason_code="endpoints_missing", next_action="write it")
    RESULT.validate(printed(document(ExitCode.USAGE, error=error)))


def test_the_documents_of_list_and_status_are_described() -> None:
    listed = {
        "vm": "a",
        "aliases": ["b"],
        "url": "http://a",
        "enabled": True,
        "default": False,
        "description": None,
    }
    session = SessionInfo("ses_1", "busy", "Run", "/srv/a", None, 1.5, 0.0)
    survey = Survey(
        url="http://a",
        version="1.18.33",
        home="/root",
        sessions=(session,),
        permissions=({"directory": "/srv/a", **PERMISSION.model_dump(mode="json")},),
        questions=({"directory": "/srv/a", **QUESTION.model_dump(mode="json")},),
    )
    RESULT.validate(printed(document(ExitCode.DONE, vms=[listed])))
    RESULT.validate(printed(document(ExitCode.DONE, vms=[{"vm": "a", **survey.as_dict()}])))


def test_no_key_may_be_missing_and_none_may_be_added() -> None:
    found = printed(document(ExitCode.NEEDS_INPUT, [sample(State.NEEDS_INPUT)]))
    for place in places(found):
        for key in list(place):
            value = place.pop(key)
            assert not RESULT.is_valid(found), f"{key} may be missing"
            place[key] = value
        place["surprise"] = 1
        assert not RESULT.is_valid(found), f"a key may be added beside {list(place)}"
        del place["surprise"]
    RESULT.validate(found)


def test_the_shipped_file_and_the_file_that_users_have_are_valid() -> None:
    shipped = json.loads((CHECKOUT / "inventory" / "vm-endpoints.json").read_text())
    ENDPOINTS.validate(shipped)
    ENDPOINTS.validate(PLAIN)


def test_the_shipped_file_is_the_one_that_users_have_with_one_alias_more() -> None:
    shipped = json.loads((CHECKOUT / "inventory" / "vm-endpoints.json").read_text())
    assert shipped["vms"]["homedesktop"].pop("aliases") == ["homedesktop-wsl"]
    assert shipped == PLAIN


@given(almost_files)
def test_what_the_code_takes_the_schema_takes_too(data: Any) -> None:
    try:
        parse_fleet(file_text(data), source="x", hostnames=())
    except ConfigError:
        return
    ENDPOINTS.validate(data)
