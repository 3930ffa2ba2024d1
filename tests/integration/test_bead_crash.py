# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller dies at any step of a bead's dispatch; whoever comes next finishes it, and it ran once."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.command import Completed
from tests.lab import Lab, ScriptedModel
from tests.lab.proxy import FaultProxy, hang
from tests.lab.tracker import Tracker

from .fleet import Fleet

PLUGINS = Path(__file__).parent / "callback_plugins"
STEPS = (
    "Look before anything is touched",
    "Claim the bead",
    "Send the task",
    "Follow it to its end",
    "End the claim as the outcome says",
)
KILLED = -9


def killing(fleet: Fleet, when: str, task: str) -> Fleet:
    """The fleet for a person whose command is killed at a task."""
    env = {
        "ANSIBLE_CALLBACK_PLUGINS": str(PLUGINS),
        "ANSIBLE_CALLBACKS_ENABLED": "killed_after",
        f"DX_TEST_KILL_{when}": task,
    }
    return replace(fleet, env={**fleet.env, **env})


def someone_else(fleet: Fleet, home: Path) -> Fleet:
    """The same fleet for another orchestrator, who has nothing of the first one's."""
    home.mkdir()
    names = ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME")
    others = {name: str(home / name.lower()) for name in names}
    own = {"HOME": str(home), "DX_ORCHESTRATOR": "antigravity@homedesktop-wsl", **others}
    return replace(fleet, env={**fleet.env, **own})


def bead_of(tracker: Tracker, mark: str) -> str:
    return tracker.create(f"@bash echo once >> {mark}", f"@say did {mark}")


def finished(lab: Lab, model: ScriptedModel, tracker: Tracker, bead: str, mark: str, done: Completed) -> None:
    """It ran once, the bead is closed, and nothing is left."""
    result = done.result()
    assert (done.code, result["state"], result["bead"]) == (0, "completed", bead), done.out
    assert tracker.status(bead) == "closed"
    assert (lab.vms["epyc6"].repo("affordabot") / mark).read_text() == "once\n"
    assert len(model.prompts(mark)) == 1
    assert lab.vms["epyc6"].children() == []


@pytest.mark.parametrize("when", ["BEFORE", "AFTER"])
@pytest.mark.parametrize("task", STEPS)
def test_another_orchestrator_finishes_what_a_killed_one_began(
    bead_fleet: Fleet,
    lab: Lab,
    model: ScriptedModel,
    tracker: Tracker,
    tmp_path: Path,
    task: str,
    when: str,
) -> None:
    mark = f"crash-{STEPS.index(task)}-{when}.txt".lower()
    bead = bead_of(tracker, mark)
    first = replace(bead_fleet, env={**bead_fleet.env, "DX_ORCHESTRATOR": "claude-code@macmini"})
    died = killing(first, when, task).dispatch("epyc6", "affordabot", "--bead", bead)
    assert died.code == KILLED, died
    other = someone_else(bead_fleet, tmp_path / "home")
    if (task, when) == (STEPS[-1], "AFTER"):
        assert tracker.status(bead) == "closed"
        again = other.dispatch("epyc6", "affordabot", "--bead", bead)
        assert (again.code, again.result()["reason_code"]) == (4, "not_claimable")
        assert len(model.prompts(mark)) == 1
        return
    begun = tracker.metadata(bead)
    done = other.dispatch("epyc6", "affordabot", "--bead", bead)
    finished(lab, model, tracker, bead, mark, done)
    if begun:
        assert done.result()["dispatch"] == begun["dispatch"]
        assert tracker.metadata(bead)["taken_from"] == "claude-code@macmini"


@pytest.mark.parametrize("forward", [False, True], ids=["before it arrived", "after it arrived"])
@pytest.mark.parametrize("path", ["/api/session$", "/prompt_async$"])
def test_a_death_in_the_middle_of_a_request_is_no_second_prompt(
    bead_fleet: Fleet,
    lab: Lab,
    model: ScriptedModel,
    tracker: Tracker,
    proxy: FaultProxy,
    tmp_path: Path,
    path: str,
    forward: bool,
) -> None:
    mark = f"crash-in-{path.strip('/$').replace('/', '-')}-{forward}.txt".lower()
    bead = bead_of(tracker, mark)
    proxy.add("POST", path, hang(forward=forward), times=None)
    behind = bead_fleet.seen_at(tmp_path, epyc6=proxy.url)
    running = behind.start("epyc6", "affordabot", "--bead", bead)
    while not any(method == "POST" and asked.endswith(path.strip("$")) for method, asked in proxy.requests):
        assert running.alive
        time.sleep(0.02)  # the proxy has no event for it
    os.kill(running.pid, 9)
    running.finish()
    # Without a word about where: the bead knows it.
    done = someone_else(bead_fleet, tmp_path / "home").dispatch("--bead", bead)
    finished(lab, model, tracker, bead, mark, done)


def test_the_same_person_goes_on_after_a_crash_by_the_same_command(
    bead_fleet: Fleet, lab: Lab, model: ScriptedModel, tracker: Tracker
) -> None:
    mark = "crash-same.txt"
    bead = bead_of(tracker, mark)
    words = ("epyc6", "affordabot", f"@bash echo once >> {mark}", "--bead", bead)
    assert killing(bead_fleet, "AFTER", "Send the task").dispatch(*words).code == KILLED
    finished(lab, model, tracker, bead, mark, bead_fleet.dispatch(*words))
