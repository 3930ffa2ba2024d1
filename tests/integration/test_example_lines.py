# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command lines that are shown run as they stand, in a shell, on real servers, and send the task that they say."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.command import CHECKOUT, Completed, environment, words_of
from tests.example_lines import lines
from tests.lab import Lab, ScriptedModel
from tests.lab.tracker import Tracker

from .fleet import Fleet

pytestmark = pytest.mark.usefixtures("idle_afterwards")

BEAD = "bd-a1b2"
SESSION = "ses_abc123"
OTHERS = (
    r"dx-fleet (test|answer|stop|listen|mcp|log|history|doctor) |dx\.fleet\.(fleet_test|answer|stop) |C0WRONG"
)
"""Of these, a test of their own shows what they do: they need an agent that waits, commits, or Slack."""

SAME = re.compile(r" (--json|-i inventory/fleet\.yml)(?= |$)")
"""What makes no other line of one: how its result is printed, and the inventory that it has anyway. That every line
is understood is in tests/unit/test_example_lines.py, what is printed as JSON in test_schema.py."""


def shown() -> list[str]:
    """The lines; of those that are the same, the first."""
    found: dict[str, str] = {}
    for line in lines():
        if not re.search(OTHERS, line):
            found.setdefault(SAME.sub("", line), line)
    return list(found.values())


TASK = re.compile(r"""(?<=["'])(Run make test|Fix linting|Continue work)(?=["'])""")


class Person:
    """Somebody in a checkout, with a bead, a session, a dispatch and a task in a file, as the lines suppose."""

    def __init__(self, fleet: Fleet, lab: Lab, folder: Path) -> None:
        for name in ("inventory", "ansible.cfg", "collections"):
            (folder / name).symlink_to(CHECKOUT / name)
        (folder / "task.md").write_text("@say from a file")
        self._fleet = fleet
        self._lab = lab
        self._folder = folder
        self.take_tracker()

    def take_tracker(self) -> None:
        """Work with a tracker in which nothing is yet."""
        self.tracker = Tracker.make(Path(tempfile.mkdtemp(prefix="tracker-", dir=self._folder)) / "workspace")
        path = f"{Path(sys.executable).parent}:{self.tracker.env['PATH']}"
        own = {"PATH": path, "XDG_STATE_HOME": str(self._folder / "state")}
        self._env = {**self._fleet.env, **self.tracker.env, **own}

    def run(self, line: str) -> Completed:
        done = subprocess.run(
            ["bash", "-c", line],
            env=environment(self._env),
            cwd=self._folder,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        return Completed(done.returncode, done.stdout, done.stderr)

    def prepare(self, line: str) -> None:
        """Make what the line supposes to be there, if no line before has left it."""
        if "affordabot --bead" in line or "bead=" in line:
            self.new_bead()
        elif "--bead" in line:
            self.new_bead()
            assert self.run(f"dx-dispatch epyc6 affordabot --bead {BEAD} --no-wait").code == 0
        elif "--retry" in line:
            if not self.has_blocked_bead():
                self.new_bead()
                self.run(f"dx-dispatch epyc6 affordabot --bead {BEAD}")
            assert self.has_blocked_bead()
        elif "audit show" in line:
            pytest.skip("what it shows is recorded for Slack, which is not configured here")
        elif SESSION in line:
            directory = str(self._lab.vms["epyc6"].repo("affordabot"))
            self._fleet["epyc6"].ask(
                "POST", "/api/session", {"id": SESSION, "location": {"directory": directory}}
            ).raise_for_status()
        elif found := re.search(r"--id (\S+)", line):
            assert self.run(f"dx-dispatch epyc6 affordabot '@say joined' --id {found[1]} --no-wait").code == 0

    def has_blocked_bead(self) -> bool:
        beads = json.loads(self.tracker.bd("list", "--json"))
        return [(bead["id"], bead["status"]) for bead in beads] == [(BEAD, "blocked")]

    def new_bead(self) -> None:
        self.take_tracker()
        forced = ["--force"] if self.tracker.is_real else []
        self.tracker.bd("create", "@say the bead's task", "--id", BEAD, *forced)


@pytest.fixture(scope="module")
def person(whole_fleet: Fleet, lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Person:
    return Person(whole_fleet, lab, tmp_path_factory.mktemp("person"))


@pytest.mark.parametrize("line", shown())
def test_a_line_runs_as_it_stands(person: Person, model: ScriptedModel, line: str) -> None:
    person.prepare(line)
    done = person.run(line)
    assert done.code == 0, done
    if not (wanted := TASK.search(line)) or "--check" in line:
        return
    vms = 3 if "--all" in words_of(line.partition(" <")[0]) or "opencode" in line else 1
    # --no-wait does not wait for the server to ask its model
    assert len(model.wait_for_prompt(wanted[1], count=vms)) == vms
