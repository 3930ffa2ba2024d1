# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A stop is proven: nothing of the session works on, whatever it was doing, and the bead says who and why."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.command import Completed
from tests.lab import Lab, ScriptedModel
from tests.lab.proxy import FaultProxy, hang
from tests.lab.tracker import Tracker
from tests.wait import wait_for

from .fleet import Fleet
from .served import hanging

pytestmark = pytest.mark.usefixtures("idle_before")

LIMIT_OF_SILENCE_S = 60.0
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
    wait_for(lambda: bool(model.prompts(f"stop {doing}")))
    session = tracker.metadata(bead)["session"]
    wait_for(lambda: bead_fleet["epyc6"].works_on(session))
    if "sleep" in WORK[doing] and "trap" not in WORK[doing]:
        wait_for(lambda: bool(running("sleep 60")))
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


# --- a VM that is down ---


@pytest.fixture
def own_state(bead_fleet: Fleet, tmp_path: Path) -> Fleet:
    """The fleet for a person for whom no stop is kept yet."""
    return replace(bead_fleet, env={**bead_fleet.env, "XDG_STATE_HOME": str(tmp_path / "state")})


def test_a_stop_on_a_vm_that_is_down_is_done_when_it_is_back(
    own_state: Fleet, lab: Lab, model: ScriptedModel, tracker: Tracker
) -> None:
    bead = tracker.create("kept stop", "@bash (setsid sleep 605 >/dev/null 2>&1 &) ; sleep 600")
    waiting = own_state.start("epyc6", "affordabot", "--bead", bead, "--json")
    wait_for(lambda: bool(running("sleep 605")))
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
    assert running("sleep 605") == []
    again = own_state.look("status", "epyc6")
    assert "kept stop" not in again.err
    assert tracker.show(bead)["notes"] == found["notes"]


def test_a_kept_stop_leaves_alone_what_began_later(
    own_state: Fleet, lab: Lab, model: ScriptedModel, tracker: Tracker
) -> None:
    lab.vms["epyc6"].kill()
    try:
        assert own_state.look("stop", "epyc6", "--by", "feng").code == 5
    finally:
        lab.vms["epyc6"].start()
    done = own_state.dispatch("epyc6", "affordabot", "@say later")
    assert done.result()["state"] == "completed"
    assert "the kept stop of all work on epyc6" in done.err
    assert "kept_stops" not in own_state.look("status", "epyc6").document()


def test_a_kept_stop_can_be_dropped(own_state: Fleet, lab: Lab) -> None:
    lab.vms["epyc6"].kill()
    try:
        assert own_state.look("stop", "epyc6").code == 5
        dropped = own_state.look_plainly("stop", "epyc6", "--forget")
    finally:
        lab.vms["epyc6"].start()
    assert dropped.code == 0
    assert "Dropped the stop of all work on epyc6" in dropped.out
    assert "kept" not in own_state.look("status", "epyc6").err


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
    bead = tracker.create("hung", "@bash sleep 608")
    waiting = own_state.start("epyc6", "affordabot", "--bead", bead, "--json")
    wait_for(lambda: bool(running("sleep 608")))
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
    wait_for(lambda: not running("sleep 608"))
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
    bead = tracker.create("hangs in the middle", "@bash sleep 609")
    waiting = own_state.start("epyc6", "affordabot", "--bead", bead, "--json")
    wait_for(lambda: bool(running("sleep 609")))
    proxy.add("*", path, hang(), times=None)
    began = time.monotonic()
    done = own_state.seen_at(tmp_path, epyc6=proxy.url).look("stop", bead, "--by", "feng")
    took_s = time.monotonic() - began
    document = done.document()
    assert took_s < 2 * LIMIT_OF_SILENCE_S, (took_s, done)
    assert done.code != 0
    assert document.get("kept_stops") or document["stops"][0]["state"] == "still_works", done
    own_state.look("stop", bead)
    wait_for(lambda: not running("sleep 609"))
    waiting.finish()


# --- what is still to come ---


def test_what_is_queued_never_begins(
    bead_fleet: Fleet, lab: Lab, model: ScriptedModel, tracker: Tracker
) -> None:
    bead = tracker.create("stop with a queue", "@bash sleep 607")
    waiting = bead_fleet.start("epyc6", "affordabot", "--bead", bead, "--json")
    wait_for(lambda: bool(running("sleep 607")))
    server, session = bead_fleet["epyc6"], tracker.metadata(bead)["session"]
    body = {"parts": [{"type": "text", "text": "@bash sleep 608\n@say from the queue"}]}
    server.ask("POST", f"/session/{session}/prompt_async", body).raise_for_status()
    wait_for(lambda: "from the queue" in str(server.prompts(session)))
    done = bead_fleet.look("stop", bead)
    (stop,) = done.document()["stops"]
    assert (done.code, clauses(stop)["nothing_queued"]) == (0, True), done.out
    waiting.finish()
    assert running("sleep 608") == []
    assert not server.works_on(session)


def test_a_subagent_that_works_on_by_itself_is_stopped_with_its_session(
    bead_fleet: Fleet, lab: Lab, model: ScriptedModel, tracker: Tracker
) -> None:
    bead = tracker.create("stop in the background", "@silent 3\n@say the root of the stop is over")
    waiting = bead_fleet.start("epyc6", "affordabot", "--bead", bead, "--json")
    model.wait_for_prompt("the root of the stop is over")
    server, session = bead_fleet["epyc6"], tracker.metadata(bead)["session"]
    directory = str(lab.vms["epyc6"].repo("affordabot"))
    made = server.ask("POST", "/session", {"parentID": session}, directory=directory).raise_for_status()
    child = made.json()["id"]
    body = {"parts": [{"type": "text", "text": "@bash sleep 609\n@say the child of the stop is over"}]}
    server.ask("POST", f"/session/{child}/prompt_async", body).raise_for_status()
    wait_for(lambda: bool(running("sleep 609")) and not server.works_on(session))
    done = bead_fleet.look("stop", bead)
    (stop,) = done.document()["stops"]
    assert (done.code, stop["state"], set(stop["family"])) == (0, "stopped", {session, child}), done.out
    assert not server.works_on(child)
    assert running("sleep 609") == []
    assert waiting.finish().code == 8


def test_the_whole_fleet_is_halted_with_a_proof_for_each_vm(
    bead_fleet: Fleet, lab: Lab, model: ScriptedModel, tracker: Tracker
) -> None:
    beads = {vm: tracker.create(f"halt {vm}", "@bash sleep 610") for vm in lab.vms}
    waiting = [bead_fleet.start(vm, "affordabot", "--bead", bead, "--json") for vm, bead in beads.items()]
    wait_for(lambda: len(running("sleep 610")) >= len(beads))
    done = bead_fleet.look("stop", "--all", "--reason", "fire drill", "--by", "feng")
    stops = {each["vm"]: each for each in done.document()["stops"] if each["bead"] in beads.values()}
    assert (done.code, set(stops)) == (0, set(lab.vms)), done.out
    assert all(stop["proven"] and len(clauses(stop)) == 5 for stop in stops.values()), stops
    assert running("sleep 610") == []
    assert {tracker.show(bead)["status"] for bead in beads.values()} == {"blocked"}
    assert [each.finish().code for each in waiting] == [8, 8, 8]


def test_after_a_stop_nothing_further_is_committed_though_the_agent_tries_to(
    bead_fleet: Fleet, lab: Lab, model: ScriptedModel, tracker: Tracker
) -> None:
    clone = lab.vms["epyc6"].repo("affordabot")
    commit = "git commit -q --allow-empty -m"
    # It commits every half a second, by itself, in a session of its own, and for as long as its agent lives.
    late = f"for n in $(seq 60); do {commit} late-$n; sleep 0.5; done"
    bead = tracker.create(
        "stop what commits", f"@bash (setsid sh -c '{late}' >/dev/null 2>&1 &) ; {late}; sleep 611"
    )
    waiting = bead_fleet.start("epyc6", "affordabot", "--bead", bead, "--json")

    def head() -> str:
        return (clone / ".git" / "logs" / "HEAD").read_text().splitlines()[-1]

    wait_for(lambda: "late-" in head())
    done = bead_fleet.look("stop", bead)
    (stop,) = done.document()["stops"]
    at_the_stop = head()
    assert (done.code, clauses(stop)["head_still"]) == (0, True), done.out
    waiting.finish()
    time.sleep(2)  # it would have committed four times
    assert head() == at_the_stop
