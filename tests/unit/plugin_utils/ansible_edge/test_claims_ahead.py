# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Claims that are read while Ansible starts are those that a task would read, and are read again where they fail."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.dx.fleet.plugins.action import beads_info
from ansible_collections.dx.fleet.plugins.module_utils.specs import BEADS_INFO, complete
from ansible_collections.dx.fleet.plugins.plugin_utils.ansible_edge.claims_ahead import (
    reading_claims,
    taken_ahead,
)
from ansible_collections.dx.fleet.plugins.plugin_utils.ansible_edge.own_session import apart

from tests.unit.run_action import Ansible

BEAD = {"id": "bd-1", "title": "Fix", "status": "in_progress", "assignee": "epyc6", "metadata": {}}


class Bd:
    """A `bd` on PATH that lists one bead; ``calls`` are those for it."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.workspace = folder / "work" / ".beads"
        self.workspace.mkdir(parents=True)
        self._calls, self._does = folder / "calls", folder / "does"
        bd = folder / "bin" / "bd"
        bd.parent.mkdir()
        bd.write_text(f"""#!/bin/sh
case "$*" in
*version*) echo '{json.dumps({"version": "1.0.6"})}'; exit;;
*--help*) exit;;
esac
echo >> {self._calls}
. {self._does}
""")
        bd.chmod(0o755)
        monkeypatch.setenv("PATH", str(bd.parent), prepend=":")
        monkeypatch.delenv("DX_FAST_START", raising=False)
        self.does(f"echo '{json.dumps([BEAD])}'")

    def does(self, script: str) -> None:
        self._does.write_text(script)

    @property
    def calls(self) -> int:
        return self._calls.read_text().count("\n") if self._calls.exists() else 0

    @property
    def options(self) -> dict[str, Any]:
        return complete({"beads_dir": str(self.workspace), "sessions": False}, BEADS_INFO)


@pytest.fixture
def bd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bd:
    return Bd(tmp_path, monkeypatch)


@pytest.fixture
def ansible(monkeypatch: pytest.MonkeyPatch) -> Ansible:
    made = Ansible(monkeypatch)
    made.connection.transport, made.connection.become = "local", None
    made.host["hostvars"] = {"epyc6": {}}
    return made


def in_worker(options: dict[str, Any]) -> Any:
    """What a worker of Ansible gets, which is a fork of this process."""
    return apart(lambda: {"got": taken_ahead(options)})["got"]


def test_the_first_task_that_asks_has_what_was_read_ahead(bd: Bd) -> None:
    with reading_claims(str(bd.workspace)):
        found = in_worker(bd.options)
        assert [claim["bead"] for claim in found["claims"]] == ["bd-1"]
        assert in_worker(bd.options) is None, "by now it may be otherwise"
    assert bd.calls == 1
    assert taken_ahead(bd.options) is None


@pytest.mark.parametrize(
    "other", [{"beads_dir": "/srv/other"}, {"beads_executable": "/opt/bd"}, {"timeout": 7.0}]
)
def test_a_task_that_asks_elsewhere_or_otherwise_reads_for_itself(bd: Bd, other: dict[str, Any]) -> None:
    with reading_claims(str(bd.workspace)):
        assert in_worker({**bd.options, **other}) is None
        assert in_worker(bd.options) is not None


def test_what_bd_refuses_is_refused_to_the_task(bd: Bd) -> None:
    bd.does("echo 'Error: database is locked' >&2; exit 1")
    with reading_claims(str(bd.workspace)):
        found = in_worker(bd.options)
    assert (found["failed"], found["reason_code"]) == (True, "store_locked")


def test_where_its_process_dies_the_task_reads_for_itself(bd: Bd) -> None:
    bd.does("kill -9 $PPID; sleep 0.1")
    with reading_claims(str(bd.workspace)):
        assert in_worker(bd.options) is None


@pytest.mark.parametrize(("switch", "is_read"), [("0", False), ("1", True)])
def test_it_can_be_switched_off(bd: Bd, monkeypatch: pytest.MonkeyPatch, switch: str, is_read: bool) -> None:
    monkeypatch.setenv("DX_FAST_START", switch)
    with reading_claims(str(bd.workspace)):
        assert (in_worker(bd.options) is not None) == is_read
    assert bd.calls == is_read


def test_without_a_workspace_nothing_is_read(bd: Bd) -> None:
    with reading_claims(None):
        assert in_worker(bd.options) is None
    assert bd.calls == 0


@pytest.mark.parametrize("times", [1, 2])
def test_the_action_asks_bd_once_for_each_time_that_it_is_asked(bd: Bd, ansible: Ansible, times: int) -> None:
    with reading_claims(str(bd.workspace)):
        for _ in range(times):
            found = ansible.run(beads_info, beads_dir=str(bd.workspace), sessions=False)
            assert [claim["bead"] for claim in found["claims"]] == ["bd-1"], found
    assert bd.calls == times
