# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The JSON Schemas that the collection ships, made from the types that they describe.

``python -m tests.schemas`` writes them again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Literal, NotRequired

from ansible_collections.dx.fleet.plugins.plugin_utils.cli.document import SCHEMA_VERSION
from ansible_collections.dx.fleet.plugins.plugin_utils.config.endpoints import EndpointsFile
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.outcome import ExitCode, Outcome
from ansible_collections.dx.fleet.plugins.plugin_utils.listener.health import Seen
from ansible_collections.dx.fleet.plugins.plugin_utils.opencode.models import (
    PermissionRequest,
    QuestionRequest,
)
from ansible_collections.dx.fleet.plugins.plugin_utils.sessions.survey import SessionInfo
from pydantic import TypeAdapter
from typing_extensions import TypedDict

from tests.command import CHECKOUT

__all__ = ["DIRECTORY", "SCHEMAS", "dispatch_result", "encoded", "vm_endpoints"]

DIRECTORY = CHECKOUT / "collections" / "ansible_collections" / "dx" / "fleet" / "docs" / "schemas"
NOT_ALWAYS = (
    "vms",
    "claims",
    "worktrees",
    "trail",
    "listener",
    "stops",
    "requests",
    "kept_stops",
    "answer",
    "session_state",
    "session_outcome",
    "session_why",
    "became",
    "found",
    "fleet_test",
)
DIALECT = "https://json-schema.org/draft/2020-12/schema"


class Error(TypedDict):
    """What kept the command from running at all."""

    reason_code: str
    message_to_human: str
    next_action: str | None


class ListedVM(TypedDict):
    """One VM of `dx-fleet list`."""

    vm: str
    aliases: list[str]
    url: str
    enabled: bool
    default: bool
    description: str | None


class Pending(TypedDict):
    """A permission or question that waits for a person; see OpenCode's own documentation for the rest."""

    directory: str
    id: str
    session: str


class SessionCounts(TypedDict):
    """How many sessions are in each state."""

    busy: int
    retry: int
    needs_input: int
    idle: int
    unreadable: int


class AskedVM(TypedDict):
    """One VM of `dx-fleet status`: what its server is doing."""

    vm: str
    url: str
    version: str
    home: str
    sessions: list[SessionInfo]
    session_counts: SessionCounts
    permissions: list[Pending]
    questions: list[Pending]


class Claim(TypedDict):
    """A bead that a dispatch holds, of `dx-fleet status` and `dx-fleet reap`; see beads_info's and beads_reap's documentation."""

    bead: str
    title: str
    status: str
    vm: str | None
    claimed_at: str | None
    age_s: float | None
    held_s: float | None
    dispatch: str
    attempt: int | None
    orchestrator: str | None
    dispatcher: str | None
    session: str | None
    message: str | None
    repo: str | None
    branch: str | None
    worktree: str | None
    summary: str
    session_state: NotRequired[str]
    session_outcome: NotRequired[str | None]
    session_why: NotRequired[str | None]
    became: NotRequired[str]
    found: NotRequired[str]


class ReapedWorktree(TypedDict):
    """A worktree on a VM and what became of it, of `dx-fleet reap`; see worktree_reap's documentation."""

    vm: str
    path: str
    repo: str | None
    branch: str | None
    dispatch: str | None
    unused_s: float | None
    became: Literal["kept", "ended"]
    found: str
    rescue_refs: list[str]
    summary: str


class AuditRecord(TypedDict):
    """One fact that was recorded for Slack; `progress` is `pending`, `sending`, `parked` or `delivered`."""

    id: str
    at: str
    kind: str
    dispatch: str
    vm: str | None
    session: str | None
    bead: str | None
    text: str
    progress: str
    attempts: int
    trouble: str | None


class AuditTrail(TypedDict):
    """What `dx-fleet audit` prints: how many records are delivered, still to be delivered, and held."""

    outbox: str
    delivered: int
    pending: int
    held: int
    records: list[AuditRecord]


class TestCounts(TypedDict):
    """How many tests of a run ended how."""

    passed: int
    failed: int
    errors: int
    skipped: int


class TestTrouble(TypedDict):
    """Why a VM could not run the tests."""

    reason_code: str
    message: str
    next_action: str | None


class TestedRun(TypedDict):
    """One run of the tests on one VM; `counts` is null where no test was counted."""

    run: int
    state: Literal["passed", "failed", "unknown"]
    reason_code: str
    message: str
    duration_s: float | None
    counts: TestCounts | None


class TestedVM(TypedDict):
    """One VM of `dx-fleet test`."""

    vm: str
    state: Literal["passed", "failed", "unknown"]
    commit: str | None
    trouble: TestTrouble | None
    runs: list[TestedRun]


CaseSeen = Literal["failed", "error", "flaky", "missing", "skipped", "passed"]


class TestedSuite(TypedDict):
    """How many tests of a suite are in each state, by VM; null where the VM has none of them."""

    suite: str
    vms: dict[str, dict[str, int] | None]


class TestDifference(TypedDict):
    """A test that did not end the same on all VMs."""

    id: str
    vms: dict[str, CaseSeen]


class FlakyTest(TypedDict):
    """A test that failed in some runs on a VM, and not in others."""

    id: str
    vm: str
    failed: int
    runs: int


class FailingTest(TypedDict):
    """A test that failed on a VM, and what it printed."""

    id: str
    vm: str
    message: str


class TestFiles(TypedDict):
    """Paths of the reports."""

    junit: str
    json: str
    html: str


class TestedFleet(TypedDict):
    """What `dx-fleet test` came to."""

    repo: str
    ref: str
    commit: str | None
    command: str
    state: Literal["passed", "failed", "unknown"]
    started_at: str
    duration_s: float
    vms: list[TestedVM]
    suites: list[TestedSuite]
    differences: list[TestDifference]
    flaky: list[FlakyTest]
    failing: list[FailingTest]
    files: TestFiles


class StopClause(TypedDict):
    """One thing that must be so for a stop to be proven, and what was seen of it."""

    name: str
    proven: bool
    evidence: str


class Stop(TypedDict):
    """What `dx-fleet stop` did to one session. `proven`: every clause is; null where nothing was done."""

    vm: str
    session: str
    dispatch: str | None
    message: str | None
    bead: str | None
    state: Literal["stopped", "prevented", "already_ended", "too_late", "still_works"]
    by: str
    reason: str
    at: float
    clauses: list[StopClause]
    why: str | None
    proven: bool | None
    directory: str | None
    family: list[str]
    disposed: bool
    processes: dict[str, Any] | None
    uncommitted: str | None


class KeptStop(TypedDict):
    """A stop of a VM that could not be reached; it is done when that answers. `what`: null is all that it does."""

    vm: str
    what: str | None
    by: str
    reason: str
    asked_at: float
    url: str


class InputQuestion(TypedDict):
    """One question of a request; `multiple`: several of its options may be chosen."""

    text: str
    options: list[str]
    multiple: bool


class AnsweredRequest(TypedDict):
    """What an agent waits for, for `dx-fleet answer`; `options` are the answers that it offers."""

    vm: str
    id: str
    session: str
    kind: Literal["permission", "question"]
    words: str
    options: list[str]
    questions: list[InputQuestion]
    state: Literal["waits", "answered", "stale"]
    by: str | None
    answer: NotRequired[str]


class Document(TypedDict):
    """What `dx-dispatch --json` and `dx-fleet --json` print: one result per VM, or the error that kept it from running."""

    schema_version: Literal[1]
    exit_code: int
    results: list[Outcome]
    error: Error | None
    vms: NotRequired[list[ListedVM] | list[AskedVM]]
    claims: NotRequired[list[Claim]]
    worktrees: NotRequired[list[ReapedWorktree]]
    trail: NotRequired[AuditTrail]
    stops: NotRequired[list[Stop]]
    requests: NotRequired[list[AnsweredRequest]]
    kept_stops: NotRequired[list[KeptStop]]
    listener: NotRequired[Seen]
    fleet_test: NotRequired[TestedFleet]


def vm_endpoints() -> dict[str, Any]:
    """The schema of a vm-endpoints file."""
    schema = EndpointsFile.model_json_schema()
    return _finished(schema, title="vm-endpoints.json", required=lambda found: found.get("required", []))


def dispatch_result() -> dict[str, Any]:
    """The schema of the document of ``dx-dispatch --json``. It is closed, and no key may be missing."""
    schema = TypeAdapter(Document).json_schema(mode="serialization")
    request = TypeAdapter(PermissionRequest | QuestionRequest).json_schema(
        mode="serialization", by_alias=False
    )
    definitions = schema["$defs"]
    definitions |= request["$defs"]
    definitions["Evidence"]["properties"]["request"] = {"anyOf": [*request["anyOf"], {"type": "null"}]}
    definitions["Pending"]["additionalProperties"] = {}
    schema["properties"]["schema_version"] = {"const": SCHEMA_VERSION}
    schema["properties"]["exit_code"] = {"enum": [code.value for code in ExitCode]}
    return _finished(
        schema,
        title="dx-dispatch --json",
        required=lambda found: [name for name in found["properties"] if name not in NOT_ALWAYS],
    )


def _finished(
    schema: dict[str, Any], *, title: str, required: Callable[[Mapping[str, Any]], list[str]]
) -> dict[str, Any]:
    """The schema with every object closed, and without what only repeats a name."""
    found = _tidied(schema, required)
    assert isinstance(found, dict)
    return {"$schema": DIALECT, "title": title} | found


def _tidied(schema: Any, required: Callable[[Mapping[str, Any]], list[str]]) -> Any:
    if isinstance(schema, list):
        return [_tidied(item, required) for item in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: value for key, value in schema.items() if key not in ("title", "default", "required")}
    if found.get("additionalProperties") is True:  # as if it were not said, which older pydantic does
        del found["additionalProperties"]
    for key in ("properties", "$defs"):
        if key in found:
            found[key] = {name: _tidied(value, required) for name, value in found[key].items()}
    for key in ("items", "anyOf", "additionalProperties", "patternProperties"):
        if key in found:
            found[key] = _tidied(found[key], required)
    if nullable := _nullable(found.get("anyOf", [])):
        found = {key: value for key, value in found.items() if key != "anyOf"} | nullable
    if "properties" in found:
        found |= {"required": required(schema)}
        found.setdefault("additionalProperties", False)
    if "patternProperties" in found:
        found["additionalProperties"] = False
    if "description" in found:
        found["description"] = " ".join(found["description"].replace("``", "`").split())
    return found


def _nullable(kinds: list[dict[str, Any]]) -> dict[str, Any] | None:
    """A plain type or null, in one schema."""
    if len(kinds) != 2 or kinds[1] != {"type": "null"} or "type" not in kinds[0]:
        return None
    return kinds[0] | {"type": [kinds[0]["type"], "null"]}


SCHEMAS: Mapping[str, Callable[[], dict[str, Any]]] = {
    "vm-endpoints.schema.json": vm_endpoints,
    "dispatch-result.schema.json": dispatch_result,
}


def encoded(schema: dict[str, Any]) -> str:
    """As it is written to its file."""
    return json.dumps(schema, indent=2) + "\n"


def main() -> None:
    """Write all schemas."""
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    for name, made in SCHEMAS.items():
        (DIRECTORY / name).write_text(encoded(made()), encoding="utf-8")
        print(DIRECTORY.relative_to(CHECKOUT) / name)


if __name__ == "__main__":
    main()
