# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What dx-fleet audit shows, and what --slack and --no-slack decide."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.facts import kinds
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.facts.event import Subject
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.store.outbox import Outbox, outbox_path
from ansible_collections.dx.fleet.plugins.plugin_utils.cli.app import run_fleet
from ansible_collections.dx.fleet.plugins.plugin_utils.cli.slack_audit import CALLBACK, Audit
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.fleet import VM, Fleet
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.outcome import Outcome, State

from tests.unit.plugin_utils.audit.slack_server import SlackServer, raw, serving
from tests.unit.plugin_utils.cli.typed import typed
from tests.unit.test_schemas import RESULT

TOKEN = "xoxb-" + "1234567890abcdef"
SUBJECT = Subject("01M84H6478VVE56E3XRV0CR3AN", vm="epyc6")
FLEET = Fleet((VM("epyc6", "http://epyc6:4105"),), default_vm="epyc6", slack_audit_channel="C1")
SETTINGS = ("SLACK_BOT_TOKEN", "SLACK_AUDIT_CHANNEL", "SLACK_AUDIT", "DX_SLACK_API_URL")


@pytest.fixture
def server() -> Iterator[SlackServer]:
    with serving() as slack:
        yield slack


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in SETTINGS:
        monkeypatch.setenv(name, "")  # so that what the code sets is undone
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("NO_PROXY", "*")
    return tmp_path


@pytest.fixture
def outbox(environment: Path) -> Outbox:
    outbox = Outbox(outbox_path({"XDG_STATE_HOME": str(environment)}))
    outbox.append(kinds.dispatching(SUBJECT, "Run make test"), "C1")
    outbox.append(kinds.session_created(Subject("other", vm="macmini", session="ses_1")), "C1")
    return outbox


def connect(monkeypatch: pytest.MonkeyPatch, server: SlackServer) -> None:
    monkeypatch.setenv("SLACK_BOT_TOKEN", TOKEN)
    monkeypatch.setenv("DX_SLACK_API_URL", server.url)


def document(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    data = json.loads(capsys.readouterr().out)
    RESULT.validate(data)
    assert isinstance(data, dict)
    return data


def test_the_trail_of_all_dispatches(outbox: Outbox, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_fleet(["audit"]) == 0
    told = capsys.readouterr().out
    assert "Dispatching to epyc6: Run make test" in told
    assert "[macmini] Session created: ses_1" in told
    assert "0 posted to Slack, 2 to be posted, 0 held" in told
    assert "next: dx-fleet audit flush" in told


def test_the_trail_of_one_dispatch_as_a_document(outbox: Outbox, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_fleet(["audit", "show", "other", "--json"]) == 0
    audit = document(capsys)["trail"]
    assert (audit["delivered"], audit["pending"], audit["held"]) == (0, 1, 0)
    (record,) = audit["records"]
    assert (record["kind"], record["vm"], record["progress"]) == ("session_created", "macmini", "pending")


def test_a_dispatch_that_nobody_knows_is_said(outbox: Outbox, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_fleet(["audit", "show", "nosuch", "--json"]) == 3
    assert document(capsys)["error"]["reason_code"] == "unknown_dispatch"


def test_a_broken_outbox_is_said(environment: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = outbox_path({"XDG_STATE_HOME": str(environment)})
    path.parent.mkdir()
    path.write_bytes(b"broken " * 1000)
    assert run_fleet(["audit", "--json"]) == 3
    assert document(capsys)["error"]["reason_code"] == "outbox_corrupt"


def test_what_waits_is_told_now(
    outbox: Outbox, server: SlackServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    connect(monkeypatch, server)
    assert run_fleet(["audit", "flush"]) == 0
    assert "2 delivered now; 2 posted to Slack, 0 to be posted, 0 held" in capsys.readouterr().out
    assert outbox.counts().delivered == 2


def test_what_slack_does_not_take_is_named(
    outbox: Outbox, server: SlackServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    connect(monkeypatch, server)
    server.answer(*[raw(200, {"ok": False, "error": "not_in_channel"})] * 20)
    assert run_fleet(["audit", "flush", "--json"]) == 3
    audit = document(capsys)["trail"]
    assert (audit["pending"], audit["held"], len(audit["records"])) == (0, 2, 2)


def test_without_a_token_what_is_missing_is_said(outbox: Outbox, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_fleet(["audit", "flush", "--json"]) == 2
    error = document(capsys)["error"]
    assert error["reason_code"] == "slack_unconfigured"
    assert "SLACK_BOT_TOKEN" in error["next_action"]


def test_without_anything_to_tell_no_token_is_needed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_fleet(["audit", "flush"]) == 0


@pytest.mark.parametrize(
    ("words", "env", "on"),
    [
        ((), {"SLACK_BOT_TOKEN": TOKEN}, True),
        (("--slack",), {"SLACK_BOT_TOKEN": TOKEN, "SLACK_AUDIT": "false"}, True),
        (("--no-slack",), {"SLACK_BOT_TOKEN": TOKEN, "SLACK_AUDIT": "true"}, False),
        ((), {"SLACK_BOT_TOKEN": TOKEN, "SLACK_AUDIT": "false"}, False),
        (("--dry-run",), {"SLACK_BOT_TOKEN": TOKEN}, False),
        ((), {}, False),
    ],
)
def test_a_run_is_told_where_it_is_configured_and_wanted(
    words: tuple[str, ...],
    env: dict[str, str],
    on: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    audit = Audit(typed("affordabot", "Run", *words), FLEET)
    assert audit.callbacks == ((CALLBACK,) if on else ())
    assert capsys.readouterr().err == ""


def test_a_wish_that_cannot_be_met_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    Audit(typed("affordabot", "Run", "--slack"), FLEET)
    assert "SLACK_BOT_TOKEN is not set" in capsys.readouterr().err


def test_the_result_says_how_much_is_told(outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLACK_BOT_TOKEN", TOKEN)
    audit = Audit(typed("affordabot", "Run"), FLEET)
    known = Outcome(State.COMPLETED, "completed", "x", dispatch=SUBJECT.dispatch)
    first, second = audit.counted([known, known.with_(dispatch=None)])
    assert first.audit == {"delivered": 0, "pending": 1, "held": 0}
    assert second.audit is None
