# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A function of ours runs by a real Python's standard input, or it is not run, or not seen: never something else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.dx.fleet.plugins.module_utils import on_host
from ansible_collections.dx.fleet.plugins.plugin_utils.ansible_edge.by_stdin import BEGUN, MARK, by_stdin

OPTIONS: dict[str, Any] = {"state": "listed", "exclusive": True, "watch": 0.1}


class Action:
    """A task on this machine. ``says``: what the host answers in Python's place."""

    def __init__(
        self,
        python: str = sys.executable,
        *,
        become: object = None,
        family: str = "sh",
        takes_stdin: bool = True,
        check: bool = False,
    ) -> None:
        self.task_vars = {"ansible_python_interpreter": python}
        self._connection = SimpleNamespace(
            become=become, _shell=SimpleNamespace(SHELL_FAMILY=family), has_pipelining=takes_stdin
        )
        self._task = SimpleNamespace(check_mode=check)
        self._templar = SimpleNamespace(template=lambda value: value)
        self.says: dict[str, Any] | None = None
        self.ran: list[str] = []
        self.login = ""

    def _compute_environment_string(self) -> str:
        return "DX_X=1"

    def _low_level_execute_command(self, command: str, *, sudoable: bool, in_data: bytes) -> dict[str, Any]:
        self.ran.append(command)
        if self.says is not None:
            return self.says
        done = subprocess.run(
            ["/bin/sh", "-c", self.login + command], input=in_data, capture_output=True, check=False
        )
        return {"rc": done.returncode, "stdout": done.stdout.decode(), "stderr": done.stderr.decode()}

    def run(self, module: str, **options: Any) -> dict[str, Any] | None:
        given: Any = self
        return by_stdin(given, f"dx.fleet.{module}", options, self.task_vars)

    def look(self, **options: Any) -> dict[str, Any] | None:
        return self.run("work_processes", **OPTIONS, **options)


def test_it_returns_what_the_module_does(tmp_path: Path) -> None:
    work = subprocess.Popen(["sleep", "987610"], cwd=tmp_path, start_new_session=True)
    try:
        action = Action()
        found = action.look(directory=str(tmp_path))
        assert found is not None
        assert [each["command"] for each in found["processes"]] == ["sleep 987610"]
        here = on_host.result_of("work_processes", {**OPTIONS, "directory": str(tmp_path)}, False)
        assert found.keys() == here.keys()
        assert action.ran == [f"DX_X=1 {sys.executable} -IS -"], (
            "what it is given stands in no list of processes"
        )
        only_looked = Action(check=True).run("work_processes", directory=str(tmp_path), state="ended")
        assert (only_looked or {})["ended"] == []
        ended = action.run("work_processes", directory=str(tmp_path), state="ended", exclusive=True)
        assert ended is not None
        assert [each["pid"] for each in ended["ended"]] == [work.pid]
        assert work.wait(10) != 0
    finally:
        work.kill()


def test_any_name_of_a_directory_is_data(tmp_path: Path) -> None:
    folder = tmp_path / 'it\'s {given} %s """ \\ \u2028 é'
    folder.mkdir()
    found = Action().look(directory=str(folder))
    assert found is not None
    assert found["directory"] == str(folder)


@pytest.mark.parametrize(
    ("action", "environ"),
    [
        (Action(become=object()), {}),
        (Action(family="powershell"), {}),
        (Action("auto_silent"), {}),
        (Action(takes_stdin=False), {}),
        (Action(), {"DX_FAST_START": "0"}),
    ],
    ids=["another user", "another shell", "a Python that is to be found", "no stdin", "turned off"],
)
def test_where_it_does_not_fit_it_is_not_run(
    action: Action, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert action.look(directory="/") is None
    assert action.ran == []


@pytest.mark.parametrize(
    ("code", "said", "told"),
    [
        (127, "", "sh: python3: not found"),
        (1, "", "SyntaxError: invalid syntax"),
        (0, "Welcome!\n{}", ""),
    ],
    ids=["no Python", "too old a Python", "another program"],
)
def test_what_did_not_begin_was_not_run(code: int, said: str, told: str) -> None:
    action = Action()
    action.says = {"rc": code, "stdout": said, "stderr": told}
    assert action.look(directory="/") is None


@pytest.mark.parametrize(
    ("code", "said"),
    [(0, ""), (0, "{}"), (1, f"{MARK}{{}}"), (0, f'{MARK}{{"processes": ['), (0, f"{MARK}[]")],
    ids=["nothing", "no mark", "it failed", "half of it", "a list"],
)
def test_what_began_and_was_not_seen_has_failed(code: int, said: str) -> None:
    action = Action()
    action.says = {"rc": code, "stdout": f"{BEGUN}\n{said}", "stderr": "Killed"}
    found = action.look(directory="/")
    assert found is not None
    assert BEGUN not in found["module_stdout"]
    assert [found[name] for name in ("failed", "not_seen", "rc", "module_stderr")] == [
        True,
        True,
        code,
        "Killed",
    ]


def test_what_a_login_prints_is_passed_over() -> None:
    action = Action()
    said = f'Welcome!\n{BEGUN}\n{MARK}{{"head": null}}\nbye\n'
    action.says = {"rc": 0, "stdout": said, "stderr": ""}
    assert action.look(directory="/") == {"head": None}


def test_a_login_that_ends_no_line_hides_nothing(tmp_path: Path) -> None:
    action = Action()
    action.login = "printf 'Last login: today'; "
    found = action.run("git_worktree_info", worktrees_roots=[str(tmp_path)])
    assert found is not None
    assert found["changed"] is False


@pytest.mark.parametrize("module", sorted(on_host.COMMANDS))
def test_a_host_is_given_all_that_a_module_imports(module: str, tmp_path: Path) -> None:
    paths = {"repo": str(tmp_path), "path": str(tmp_path), "directory": str(tmp_path), "command": "true"}
    options = {name: value for name, value in paths.items() if name in on_host.COMMANDS[module].spec}
    found = Action().run(module, **options)
    assert found is not None
    assert "module_stderr" not in found, found["module_stderr"]


def test_an_error_of_ours_is_the_result_and_a_fault_is_not_seen(tmp_path: Path) -> None:
    found = Action().run("git_worktree", repo=str(tmp_path), branch="a")
    assert found is not None
    assert (found["failed"], found["reason_code"]) == (True, "not_a_repository")
    broken = Action().run("git_worktree", repo=str(tmp_path), branch="a", timeout="soon")
    assert broken is not None
    assert "Traceback" in broken["module_stderr"]
