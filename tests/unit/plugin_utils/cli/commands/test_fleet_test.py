# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What `dx-fleet test` asks of the playbook, what it refuses before it begins, and its exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.cli.app import run_fleet
from ansible_collections.dx.fleet.plugins.plugin_utils.cli.commands import test as command
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.progress import Emit, discard
from ansible_collections.dx.fleet.plugins.plugin_utils.launch.collected import Collected
from ansible_collections.dx.fleet.plugins.plugin_utils.launch.playbook_run import PlaybookRun

from tests.unit.endpoints_files import PLAIN, file_text

FOUND = {"state": "passed", "lines": ["affordabot: passed"], "fleet_test": {"repo": "affordabot"}}


class Launched:
    """A launcher that runs nothing, and what it was asked to run."""

    def __init__(self) -> None:
        self.asked: list[PlaybookRun] = []
        self.collected = Collected(fleet_test=dict(FOUND))

    def run(self, playbook: PlaybookRun, progress: Emit = discard) -> Collected:
        self.asked.append(playbook)
        return self.collected

    def so_far(self) -> Collected:
        return self.collected


@pytest.fixture
def launched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Launched:
    path = tmp_path / "vm-endpoints.json"
    path.write_text(file_text({**PLAIN, "repos": {"affordabot": {"verify": "make check"}}}))
    monkeypatch.setenv("DX_VM_ENDPOINTS", str(path))
    monkeypatch.setenv("SLACK_AUDIT", "true")
    found = Launched()
    monkeypatch.setattr(command, "InProcess", lambda: found)
    return found


def variables(launched: Launched, *words: str) -> dict[str, Any]:
    assert run_fleet(["test", "affordabot", "--ref", "v1", *words]) == 0
    (asked,) = launched.asked
    assert asked.name == "fleet_test"
    return dict(asked.variables)


def test_all_enabled_vms_run_the_repo_s_own_command_unless_something_else_is_said(launched: Launched) -> None:
    found = variables(launched)
    assert found["target"] == "homedesktop,macmini,epyc6"
    assert (found["repo"], found["ref"]) == ("affordabot", "v1")
    assert not {"command", "report", "repeat", "output", "dx_timeout"} & set(found)


def test_what_is_said_reaches_the_playbook_as_data(launched: Launched, tmp_path: Path) -> None:
    found = variables(
        launched, "--command", "echo {{ 1 }}", "--report", "r.xml", "--repeat", "3", "--timeout", "5m",
        "--vm", "macmini.tail76761.ts.net", "--vm", "epyc6", "--vm", "epyc6", "--output", str(tmp_path),
    )  # fmt: skip
    assert found["target"] == "macmini,epyc6"
    assert (found["command"], found["report"], found["repeat"]) == ("echo {{ 1 }}", "r.xml", 3)
    assert (found["dx_timeout"], found["output"]) == (300.0, str(tmp_path))


@pytest.mark.parametrize(("state", "code"), [("passed", 0), ("failed", 3), ("unknown", 10)])
def test_the_exit_code_is_that_of_the_result(
    launched: Launched, state: str, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    launched.collected.fleet_test = {**FOUND, "state": state}
    assert run_fleet(["test", "affordabot", "--ref", "v1", "--json"]) == code
    document = json.loads(capsys.readouterr().out)
    assert (document["exit_code"], document["fleet_test"]) == (code, {"repo": "affordabot"})


def test_a_run_that_broke_off_is_our_own_fault(
    launched: Launched, capsys: pytest.CaptureFixture[str]
) -> None:
    launched.collected = Collected(faults={"localhost": "Traceback"})
    assert run_fleet(["test", "affordabot", "--ref", "v1"]) == 1
    assert "Traceback" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ([], "usage"),
        (["affordabot"], "usage"),
        (["affordabot", "more", "--ref", "v1"], "usage"),
        (["prime-radiant", "--ref", "v1"], "no_command"),
        (["affordabot", "--ref", "v1", "--vm", "nowhere"], "unknown_vm"),
        (["affordabot", "--ref", "v1", "--repeat", "0"], "bad_repeat"),
        (["affordabot", "--ref", "v1", "--repeat", "101"], "bad_repeat"),
    ],
)
def test_what_can_t_be_meant_is_refused_before_anything_is_run(
    launched: Launched, words: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_fleet(["test", *words, "--json"]) == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["reason_code"] == reason
    assert error["next_action"]
    assert launched.asked == []
