# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The programs dx-dispatch and dx-fleet: which command is meant, and how an end is shown."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.cli import app
from ansible_collections.dx.fleet.plugins.plugin_utils.cli.app import run_dispatch, run_fleet
from ansible_collections.dx.fleet.plugins.plugin_utils.cli.command import Command
from ansible_collections.dx.fleet.plugins.plugin_utils.cli.command_names import command_called, command_names
from ansible_collections.dx.fleet.plugins.plugin_utils.cli.options import Options
from ansible_collections.dx.fleet.plugins.plugin_utils.cli.parser import version
from ansible_collections.dx.fleet.plugins.plugin_utils.cli.report import Report
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.errors import PreflightError, UsageError
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.outcome import ExitCode

from tests.unit.endpoints_files import PLAIN, file_text
from tests.unit.test_schemas import RESULT

COMMANDS = command_names()


@pytest.fixture
def endpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "vm-endpoints.json"
    path.write_text(file_text(PLAIN))
    monkeypatch.setenv("DX_VM_ENDPOINTS", str(path))
    return path


@pytest.mark.parametrize("name", [*COMMANDS, "dispatch"])
def test_every_module_of_commands_is_a_command_with_a_line_of_help(name: str) -> None:
    command = command_called(name)
    assert isinstance(command, Command)
    assert command.summary.endswith(".")
    assert callable(command.run)


@pytest.mark.parametrize("run", [run_dispatch, run_fleet])
def test_the_version_is_that_of_the_package(
    run: Callable[[Sequence[str]], int], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        run(["--version"])
    assert ended.value.code == 0
    told = capsys.readouterr().out
    assert re.fullmatch(
        rf"dx-(dispatch|fleet) {re.escape(version())} \(ansible-core 2\.\d+\.\d+, Python 3\.\d+\.\d+\)\n",
        told,
    )


def test_the_version_is_told_after_a_command_as_well(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run_fleet(["list", "--version"])
    assert capsys.readouterr().out.startswith(f"dx-fleet {version()} ")


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run_fleet(["--help"])
    told = capsys.readouterr().out
    assert ended.value.code == 0
    assert all(f"\n  {name} " in told for name in COMMANDS)
    assert "dispatch" not in COMMANDS


@pytest.mark.parametrize(
    ("argv", "reason", "said"),
    [
        ([], "command_missing", f"a command is missing: {', '.join(COMMANDS)}"),
        (["--json"], "command_missing", "a command is missing"),
        (["-i", "list"], "command_missing", "a command is missing"),
        (["stauts"], "unknown_command", "there is no command 'stauts'; did you mean dx-fleet status?"),
        (["xyzzy"], "unknown_command", f"there is no command 'xyzzy': {', '.join(COMMANDS)}"),
        (["dispatch"], "unknown_command", "there is no command 'dispatch'"),
        (["audit", "flsh"], "usage", "audit can't 'flsh'; did you mean flush?"),
        (["audit", "flush", "x"], "usage", "audit flush delivers all"),
        (["audit", "show", "x", "y"], "usage", "'y' is one word too many"),
        (["list", "epyc6"], "usage", "'epyc6' is one word too many"),
        (["list", "--ttl", "1"], "usage", "there is no option '--ttl'"),
        (["reap", "--ttl", "soon"], "usage", "argument --ttl: 'soon' is not a time"),
        (["status", "\udcff"], "bad_text", "is not valid text"),
    ],
)
def test_what_cannot_be_meant_is_one_line_and_one_document(
    argv: list[str], reason: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_fleet(argv) == 2
    shown = capsys.readouterr()
    if "--json" not in argv:
        first, following = shown.err.splitlines()
        assert first.startswith("dx-fleet: ")
        assert said in first
        assert following.startswith("next: ")
        assert run_fleet([*argv, "--json"]) == 2
        shown = capsys.readouterr()
    document = json.loads(shown.out)
    RESULT.validate(document)
    assert document["error"]["reason_code"] == reason
    assert said in document["error"]["message_to_human"]
    assert shown.err == ""


@pytest.mark.parametrize(
    "argv",
    [
        ["list", "--json"],
        ["--json", "list"],
        ["--json", "-i", "{}", "list"],
        ["list", "-i", "{}", "--json"],
        ["-v", "--inventory={}", "list", "--json"],
    ],
)
def test_options_of_every_command_stand_before_or_after_its_name(
    argv: list[str], endpoints: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_fleet([word.format(endpoints) for word in argv]) == 0
    document = json.loads(capsys.readouterr().out)
    RESULT.validate(document)
    assert document["vms"]


@dataclass(frozen=True)
class Ended(Options):
    """End as the test wants."""


def ends_with(
    end: BaseException | Report, monkeypatch: pytest.MonkeyPatch, argv: Sequence[str] = ("ended",)
) -> int:
    def run(options: Ended) -> Report:
        if isinstance(end, BaseException):
            raise end
        return end

    monkeypatch.setattr(app, "command_names", lambda: ["ended"])
    monkeypatch.setattr(app, "command_called", lambda _name: Command(Ended, run))
    return run_fleet(argv)


@pytest.mark.parametrize(
    ("end", "code", "reason"),
    [
        (UsageError("no", reason_code="bad"), 2, "bad"),
        (PreflightError("silent", reason_code="connection_refused"), 5, "connection_refused"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (RuntimeError("broken\nin two"), 1, "own_fault"),
    ],
)
def test_an_error_has_the_exit_code_of_its_state(
    end: BaseException,
    code: int,
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert ends_with(end, monkeypatch) == code
    assert f"({reason})" in capsys.readouterr().err.splitlines()[0]
    assert ends_with(end, monkeypatch, ["ended", "--json"]) == code
    document = json.loads(capsys.readouterr().out)
    assert (document["exit_code"], document["error"]["reason_code"]) == (code, reason)


def test_a_report_is_lines_for_people_and_sections_for_programs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    report = Report(ExitCode.DONE, lines=["one\x1b", "two"], sections={"vms": []})
    assert ends_with(report, monkeypatch) == 0
    assert capsys.readouterr().out == "one\N{REPLACEMENT CHARACTER}\ntwo\n"
    assert ends_with(report, monkeypatch, ["--json", "ended"]) == 0
    assert json.loads(capsys.readouterr().out)["vms"] == []


def test_a_json_after_two_dashes_is_a_word(endpoints: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_dispatch(["--", "a", "b", "c", "--json"]) == 2
    assert capsys.readouterr().out == ""
