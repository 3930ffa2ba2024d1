# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A stop is proven: nothing of the session works on, whatever it was doing, and the bead says who and why."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.lab import Lab, ScriptedModel
from tests.lab.tracker import Tracker

from .fleet import Fleet

pytestmark = pytest.mark.usefixtures("idle_before")

STUBBORN = "trap '' TERM; while :; do sleep 1; done"
WORK = {
    "streaming": "@slow 60 2\n@say " + "word " * 60,
    "in bash": "@bash sleep 600",
    "in bash that ignores TERM": f'@bash sh -c "{STUBBORN}"',
    "with a child of another session": "@bash setsid sleep 601 & sleep 600",
    "with a daemon": "@bash (setsid sleep 602 >/dev/null 2>&1 &) ; sleep 600",
    "waiting for permission": "@permission",
    "while the provider fails": "@status 429 times=50",
    "with a subagent": "@task @bash sleep 603",
}


def clauses(stop: dict[str, Any]) -> dict[str, bool]:
    return {clause["name"]: clause["proven"] for clause in stop["clauses"]}


def wait_till(met: Callable[[], bool], within_s: float = 60) -> None:
    deadline = time.monotonic() + within_s
    while not met():
        assert time.monotonic() < deadline
        time.sleep(0.05)  # the lab has no event for it


def running(words: str) -> list[int]:
    """The processes whose command line has these words."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            try:
                line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            if words in line and "dx-dispatch" not in line and "pytest" not in line:
                found.append(int(folder.name))
    return found


@pytest.mark.parametrize("doing", WORK)
def test_a_stop_is_proven_whatever_the_session_does(
    bead_fleet: Fleet, lab: Lab, model: ScriptedModel, tracker: Tracker, doing: str
) -> None:
    bead = tracker.create(f"stop {doing}", WORK[doing])
    waiting = bead_fleet.start("epyc6", "affordabot", "--bead", bead, "--json")
    wait_till(lambda: bool(model.prompts(f"stop {doing}")))
    session = tracker.metadata(bead)["session"]
    wait_till(lambda: bead_fleet["epyc6"].works_on(session))
    if "sleep" in WORK[doing] and "trap" not in WORK[doing]:
        wait_till(lambda: bool(running("sleep 60")))
    began = time.monotonic()
    done = bead_fleet.look("stop", bead, "--reason", "wrong branch", "--by", "feng")
    took_s = time.monotonic() - began
    (stop,) = done.document()["stops"]
    assert (done.code, stop["state"], stop["proven"]) == (0, "stopped", True), stop
    assert set(clauses(stop)) == {
        "no_session_works",
        "nothing_queued",
        "no_process_left",
        "head_still",
        "bead_blocked",
    }
    assert lab.vms["epyc6"].children() == []
    for number in (601, 602, 603):
        assert running(f"sleep {number}") == []
    found = tracker.show(bead)
    assert found["status"] == "blocked"
    assert "stopped by feng" in found["notes"]
    assert "wrong branch" in found["notes"]
    ended = waiting.finish()
    result = ended.result()
    if doing == "waiting for permission":  # nobody waited for it any more
        assert result["state"] == "needs_input"
    else:
        assert (ended.code, result["state"], result["reason_code"]) == (8, "aborted", "stopped"), result
        assert "stopped by feng: wrong branch" in result["message_to_human"]
    assert took_s < 30
    again = bead_fleet.look("stop", bead)
    assert (again.code, again.document()["stops"][0]["state"]) == (0, "already_ended")


def test_what_has_ended_is_left_as_it_is(bead_fleet: Fleet, tracker: Tracker, model: ScriptedModel) -> None:
    bead = tracker.create("@say done")
    assert bead_fleet.dispatch("epyc6", "affordabot", "--bead", bead).result()["state"] == "completed"
    before = tracker.show(bead)
    dispatch = tracker.metadata(bead)["dispatch"]
    done = bead_fleet.look("stop", dispatch)
    assert (done.code, [stop["state"] for stop in done.document()["stops"]]) == (0, ["already_ended"])
    assert tracker.show(bead) == before


def test_what_is_nowhere_is_said(bead_fleet: Fleet, tracker: Tracker) -> None:
    done = bead_fleet.look("stop", "ses_nosuch")
    assert (done.code, done.result()["reason_code"]) == (4, "nothing_to_stop")
