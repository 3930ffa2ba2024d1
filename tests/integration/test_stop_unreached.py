# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A stop of a VM that is down or hangs ends in time, is kept, and is done when the VM answers again."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.command import Completed
from tests.lab import Lab, ScriptedModel
from tests.lab.proxy import FaultProxy, hang
from tests.lab.tracker import Tracker
from tests.wait import wait_for

from .fleet import Fleet
from .running import running
from .served import hanging

pytestmark = pytest.mark.usefixtures("idle_before")

LIMIT_OF_SILENCE_S = 60.0


@pytest.fixture
def own_state(bead_fleet: Fleet, tmp_path: Path) -> Fleet:
    """The fleet for a person for whom no stop is kept yet."""
    return replace(bead_fleet, env={**bead_fleet.env, "XDG_STATE_HOME": str(tmp_path / "state")})


def test_a_stop_on_a_vm_that_is_down_is_done_when_it_is_back(
    own_state: Fleet, lab: Lab, model: ScriptedModel, tracker: Tracker
) -> None:
    bead = tracker.create("kept stop", "@bash (setsid sleep 630 >/dev/null 2>&1 &) ; sleep 600")
    waiting = own_state.start("epyc6", "affordabot", "--bead", bead, "--json")
    wait_for(lambda: bool(running("sleep 630")))
    waiting.kill()  # who dispatched is gone as well: nobody else ends the claim
    lab.vms["epyc6"].kill()
    try:
        down = own_state.look("stop", bead, "--reason", "wrong branch", "--by", "feng")
        result = down.results()["epyc6"]
        assert (down.code, result["state"]) == (5, "unreachable"), down.out
        assert "The stop is kept" in result["message_to_human"]
        assert result["next_action"] == "dx-fleet stop --kept"
        (kept,) = down.document()["kept_stops"]
        assert (kept["vm"], kept["what"], kept["by"]) == ("epyc6", bead, "feng")
        assert own_state.look("status", "epyc6").document()["kept_stops"] == [kept]
        assert tracker.show(bead)["status"] == "in_progress"
    finally:
        lab.vms["epyc6"].start()
    back = own_state.look("status", "epyc6")
    assert "kept_stops" not in back.document()
    assert f"the kept stop of {bead} on epyc6" in back.err
    assert "is done" in back.err
    found = tracker.show(bead)
    assert found["status"] == "blocked"
    assert found["notes"].count("stopped by feng") == 1
    assert running("sleep 630") == []
    again = own_state.look("status", "epyc6")
    assert "kept stop" not in again.err
    assert tracker.show(bead)["notes"] == found["notes"]


def test_a_kept_stop_leaves_alone_what_began_later(
    own_state: Fleet, model: ScriptedModel, proxy: FaultProxy, tmp_path: Path
) -> None:
    behind = own_state.seen_at(tmp_path, epyc6=proxy.url)
    proxy.refuse()
    assert behind.look("stop", "epyc6", "--by", "feng").code == 5
    proxy.accept()
    done = behind.dispatch("epyc6", "affordabot", "@say later")
    assert done.result()["state"] == "completed"
    assert "the kept stop of all work on epyc6" in done.err
    assert "kept_stops" not in behind.look("status", "epyc6").document()


def test_a_kept_stop_can_be_dropped(own_state: Fleet, proxy: FaultProxy, tmp_path: Path) -> None:
    behind = own_state.seen_at(tmp_path, epyc6=proxy.url)
    proxy.refuse()
    assert behind.look("stop", "epyc6").code == 5
    dropped = behind.look_plainly("stop", "epyc6", "--forget")
    proxy.accept()
    assert dropped.code == 0
    assert "Dropped the stop of all work on epyc6" in dropped.out
    assert "kept" not in behind.look("status", "epyc6").err


def is_kept(done: Completed, what: str | None, reason: str) -> None:
    """The stop of epyc6 ended in one clear line, and waits for the VM."""
    result = done.results()["epyc6"]
    assert (done.code, result["state"], result["reason_code"]) == (5, "unreachable", reason), done
    assert result["message_to_human"].startswith("nothing could be stopped there: ")
    assert "The stop is kept" in result["message_to_human"]
    assert result["next_action"] == "dx-fleet stop --kept"
    (kept,) = done.document()["kept_stops"]
    assert (kept["vm"], kept["what"], kept["by"]) == ("epyc6", what, "feng")


def test_where_only_a_silent_socket_is_left_the_stop_ends_in_time_and_is_kept(
    own_state: Fleet, tmp_path: Path
) -> None:
    with hanging() as port:
        silent = own_state.seen_at(tmp_path, epyc6=f"http://127.0.0.1:{port}")
        began = time.monotonic()
        done = silent.look("stop", "epyc6", "--reason", "wrong branch", "--by", "feng")
        took_s = time.monotonic() - began
    is_kept(done, None, "answer_timeout")
    assert took_s < LIMIT_OF_SILENCE_S, took_s


def test_a_server_that_hangs_while_it_works_is_stopped_when_it_answers_again(
    own_state: Fleet, lab: Lab, model: ScriptedModel, tracker: Tracker
) -> None:
    bead = tracker.create("hung", "@bash sleep 631")
    waiting = own_state.start("epyc6", "affordabot", "--bead", bead, "--json")
    wait_for(lambda: bool(running("sleep 631")))
    lab.vms["epyc6"].pause()
    try:
        began = time.monotonic()
        done = own_state.look("stop", bead, "--reason", "wrong branch", "--by", "feng")
        took_s = time.monotonic() - began
        is_kept(done, bead, "answer_timeout")
        assert took_s < LIMIT_OF_SILENCE_S, took_s
    finally:
        lab.vms["epyc6"].resume()
    back = own_state.look("stop", "--kept")
    assert "kept_stops" not in back.document() or back.document()["kept_stops"] == []
    wait_for(lambda: not running("sleep 631"))
    assert tracker.show(bead)["status"] == "blocked"
    assert waiting.finish().result()["reason_code"] == "stopped"


@pytest.mark.parametrize("path", ["/session/[^/]+/abort$", "/session/status$"])
def test_a_server_that_hangs_in_the_middle_of_a_stop_does_not_hold_it(
    own_state: Fleet,
    lab: Lab,
    model: ScriptedModel,
    tracker: Tracker,
    proxy: FaultProxy,
    tmp_path: Path,
    path: str,
) -> None:
    bead = tracker.create("hangs in the middle", "@bash sleep 632")
    waiting = own_state.start("epyc6", "affordabot", "--bead", bead, "--json")
    wait_for(lambda: bool(running("sleep 632")))
    proxy.add("*", path, hang(), times=None)
    began = time.monotonic()
    done = own_state.seen_at(tmp_path, epyc6=proxy.url).look("stop", bead, "--by", "feng")
    took_s = time.monotonic() - began
    document = done.document()
    assert took_s < 2 * LIMIT_OF_SILENCE_S, (took_s, done)
    assert done.code != 0
    assert document.get("kept_stops") or document["stops"][0]["state"] == "still_works", done
    own_state.look("stop", bead)
    wait_for(lambda: not running("sleep 632"))
    waiting.finish()
