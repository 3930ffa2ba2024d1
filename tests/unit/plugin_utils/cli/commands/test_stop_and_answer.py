# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""dx-fleet stop and dx-fleet answer: what they ask the playbook for, print, and end with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.cli.app import run_fleet
from ansible_collections.dx.fleet.plugins.plugin_utils.cli.commands import answer, stop
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.outcome import Outcome, State
from ansible_collections.dx.fleet.plugins.plugin_utils.launch.collected import Collected
from ansible_collections.dx.fleet.plugins.plugin_utils.launch.playbook_run import PlaybookRun

STOPPED: dict[str, Any] = {
    "vm": "epyc6",
    "session": "ses_1",
    "dispatch": "bd-1@1-a",
    "bead": "bd-1",
    "state": "stopped",
    "by": "feng",
    "reason": "wrong branch",
    "at": 1.0,
    "clauses": [{"name": "no_session_works", "proven": True, "evidence": "idle: ses_1"}],
    "why": None,
    "proven": True,
    "directory": "/srv/a",
    "family": ["ses_1"],
    "disposed": False,
    "processes": None,
    "uncommitted": "2 files with changes that are in no commit stay in /srv/a",
}
WAITS: dict[str, Any] = {
    "vm": "epyc6",
    "id": "per_1",
    "session": "ses_1",
    "kind": "permission",
    "words": "permission bash: make deploy",
    "options": ["once", "always", "reject"],
    "questions": [
        {"text": "May the agent use bash?", "options": ["once", "always", "reject"], "multiple": False}
    ],
    "state": "waits",
    "by": None,
}
GONE = Outcome(State.UNREACHABLE, "connection_refused", "nothing listens there", vm="epyc6").as_dict()


class Launcher:
    """Runs no playbook; returns what a test says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        self.found = Collected()
        self.asked: list[PlaybookRun] = []
        launcher = self

        class NoRun:
            def run(self, playbook: PlaybookRun) -> Collected:
                launcher.asked.append(playbook)
                return launcher.found

        for module in (stop, answer):
            monkeypatch.setattr(module, "InProcess", NoRun)
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
        fleet = {"vms": {name: {"opencode": f"http://{name}:4105"} for name in ("epyc6", "macmini")}}
        path = tmp_path / "vm-endpoints.json"
        path.write_text(json.dumps(fleet))
        monkeypatch.setenv("DX_VM_ENDPOINTS", str(path))
        monkeypatch.chdir(tmp_path)
        monkeypatch.delenv("BEADS_DIR", raising=False)


@pytest.fixture
def launcher(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Launcher:
    return Launcher(monkeypatch, tmp_path)


@pytest.mark.parametrize(
    ("words", "target", "what"),
    [
        (("epyc6",), "epyc6", None),
        (("--all",), "epyc6:macmini", None),
        (("ses_abc",), "epyc6:macmini", "ses_abc"),
        (("bd-1",), "epyc6:macmini", "bd-1"),
        (("bd-1@1-a",), "epyc6:macmini", "bd-1@1-a"),
        (("bd-1@1-a", "--vm", "macmini"), "macmini", "bd-1@1-a"),
    ],
)
def test_what_is_stopped_where(
    launcher: Launcher, words: tuple[str, ...], target: str, what: str | None
) -> None:
    launcher.found.stops = {"epyc6": [STOPPED], "macmini": [STOPPED]}
    assert run_fleet(["stop", *words, "--reason", "no", "--by", "feng", "--asked-at", "5"]) == 0
    variables = launcher.asked[0].variables
    assert (variables["target"], variables.get("what")) == (target, what)
    assert (variables["reason"], variables["by"], variables["asked_at"]) == ("no", "feng", 5)


@pytest.mark.parametrize(
    ("stops", "outcomes", "code"),
    [
        ([STOPPED], {}, 0),
        ([{**STOPPED, "proven": False}], {}, 10),
        ([{**STOPPED, "state": "still_works", "proven": False}], {}, 3),
        ([{**STOPPED, "state": "already_ended", "proven": None, "clauses": []}], {}, 0),
        ([{**STOPPED, "state": "too_late", "proven": None, "clauses": []}], {}, 4),
        ([STOPPED, {**STOPPED, "state": "already_ended"}], {}, 0),
        (None, {"epyc6": GONE}, 5),
        ([], {}, 4),
    ],
)
def test_only_a_proven_stop_is_a_success(
    launcher: Launcher,
    capsys: pytest.CaptureFixture[str],
    stops: list[dict[str, Any]] | None,
    outcomes: dict[str, Any],
    code: int,
) -> None:
    launcher.found.stops = {} if stops is None else {"epyc6": stops}
    launcher.found.outcomes = outcomes
    assert run_fleet(["stop", "epyc6", "--json"]) == code
    assert json.loads(capsys.readouterr().out)["exit_code"] == code


def test_a_person_sees_each_clause_and_where_uncommitted_work_is(
    launcher: Launcher, capsys: pytest.CaptureFixture[str]
) -> None:
    unproven = {"name": "no_process_left", "proven": False, "evidence": "unproven: no SSH"}
    launcher.found.stops = {
        "epyc6": [{**STOPPED, "clauses": [*STOPPED["clauses"], unproven], "proven": False}]
    }
    assert run_fleet(["stop", "epyc6"]) == 10
    shown = capsys.readouterr().out
    assert "[epyc6] Stopped bd-1, session ses_1" in shown
    assert "proven      no_session_works: idle: ses_1" in shown
    assert "NOT PROVEN  no_process_left: unproven: no SSH" in shown
    assert "2 files with changes that are in no commit stay in /srv/a" in shown


@pytest.mark.parametrize("words", [(), ("epyc6", "--all"), ("nosuch",)])
def test_what_cannot_be_meant_is_refused(launcher: Launcher, words: tuple[str, ...]) -> None:
    assert run_fleet(["stop", *words]) in (2, 4)
    assert launcher.asked == []


@pytest.mark.parametrize(
    ("requests", "words", "code", "reason"),
    [
        ([{**WAITS, "state": "answered", "answer": "once", "by": "feng"}], ("once",), 0, None),
        ([WAITS], (), 6, "permission"),
        ([WAITS, {**WAITS, "id": "per_2"}], ("once",), 4, "answer_ambiguous"),
        ([{**WAITS, "state": "stale", "answer": "once"}], ("once",), 4, "already_answered"),
        ([], ("once",), 4, "nothing_waits"),
    ],
)
def test_an_answer_that_reached_nobody_is_no_success(
    launcher: Launcher,
    capsys: pytest.CaptureFixture[str],
    requests: list[dict[str, Any]],
    words: tuple[str, ...],
    code: int,
    reason: str | None,
) -> None:
    launcher.found.requests = {"epyc6": requests, "macmini": []}
    assert run_fleet(["answer", "ses_1", *words, "--json"]) == code
    results = json.loads(capsys.readouterr().out)["results"]
    assert [result["reason_code"] for result in results] == ([] if reason is None else [reason])
    assert launcher.asked[0].variables.get("answers") == (list(words) or None)


@pytest.mark.parametrize(
    ("words", "target", "what", "request_id"),
    [
        (("ses_1", "once", "--request", "per_1"), "epyc6:macmini", "ses_1", "per_1"),
        (("ses_1", "once", "--request", "per_1", "--vm", "epyc6"), "epyc6", "ses_1", "per_1"),
        (("per_1", "once"), "epyc6:macmini", None, "per_1"),
        (("per_1", "once", "--vm", "epyc6"), "epyc6", None, "per_1"),
        (("epyc6", "once", "--request", "per_1"), "epyc6", None, "per_1"),
    ],
)
def test_a_request_that_is_gone_is_named_and_no_other_is_answered(
    launcher: Launcher,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    target: str,
    what: str | None,
    request_id: str,
) -> None:
    launcher.found.requests = {"epyc6": [], "macmini": []}
    assert run_fleet(["answer", *words, "--json"]) == 4
    variables = launcher.asked[0].variables
    assert (variables["target"], variables.get("what"), variables["request_id"]) == (target, what, request_id)
    (result,) = json.loads(capsys.readouterr().out)["results"]
    assert result["reason_code"] == "already_answered"
    assert result["message_to_human"].startswith("per_1 no longer waits")


def test_what_waits_is_shown_with_the_command_that_answers(
    launcher: Launcher, capsys: pytest.CaptureFixture[str]
) -> None:
    launcher.found.requests = {"epyc6": [WAITS]}
    run_fleet(["answer", "epyc6"])
    shown = capsys.readouterr().out
    assert "permission bash: make deploy" in shown
    assert "dx-fleet answer ses_1 once --request per_1" in shown
