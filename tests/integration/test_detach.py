# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ctrl-C lets go of a task without stopping it, and says how to take it up again."""

from __future__ import annotations

import signal
import time

import psutil
import pytest

from tests.command import Completed, Running, words_of
from tests.lab import Lab, ScriptedModel
from tests.lab.proxy import FaultProxy, hang

from .fleet import Fleet, fresh_id
from .gate import Gate

pytestmark = pytest.mark.usefixtures("idle_afterwards")


def _last_line_run(fleet: Fleet, detached: Completed) -> Completed:
    """Run the command that the last line is."""
    program, *words = words_of(detached.out.rstrip("\n").splitlines()[-1])
    assert program == "dx-dispatch"
    return fleet.command(*words)


def _wait_till_it_reads(running: Running) -> None:
    """Wait till it has done all that it does before it reads its standard input: it sleeps, and stays so.

    A process that only waits for its turn, on a busy machine, does not sleep.
    """
    process = psutil.Process(running.pid)
    seen: list[tuple[str, float]] = []
    while len(seen) < 5 or {*seen[-5:]} != {(psutil.STATUS_SLEEPING, seen[-1][1])}:
        assert running.alive
        time.sleep(0.1)  # a pace for the looks
        seen.append((process.status(), process.cpu_times().user + process.cpu_times().system))


def _wait_till_busy(fleet: Fleet, vm: str) -> None:
    """Wait till an agent of this VM works."""
    while not fleet[vm].get("/session/status", directory=f"{fleet[vm].get('/path')['home']}/affordabot"):
        time.sleep(0.1)  # a pace for the looks


@pytest.mark.parametrize(
    ("number", "group"),
    [
        (signal.SIGINT, True),
        (signal.SIGINT, False),
        (signal.SIGTERM, False),
        (signal.SIGTERM, True),
        (signal.SIGHUP, True),
    ],
    ids=["Ctrl-C", "SIGINT alone", "SIGTERM alone", "SIGTERM to the job", "hang up"],
)
def test_an_interrupted_command_detaches_and_its_last_line_attaches_again(
    fleet: Fleet, lab: Lab, model: ScriptedModel, number: signal.Signals, group: bool
) -> None:
    mark = f"{fresh_id()}.txt"
    gate = Gate(lab, "epyc6")
    task = f"{gate.wait}\n@bash echo went on >> {mark}\n@say went on in {mark}"
    running = fleet.start("epyc6", "affordabot", task)
    running.wait_for("Task sent")
    running.interrupt(group=group, number=number)
    detached = running.finish()
    assert detached.code == 130, detached
    assert "Traceback" not in detached.err
    assert not (lab.vms["epyc6"].repo("affordabot") / mark).exists()
    gate.open()
    attached = _last_line_run(fleet, detached)
    assert attached.code == 0, attached
    assert f"went on in {mark}" in attached.out
    assert (lab.vms["epyc6"].repo("affordabot") / mark).read_text() == "went on\n"
    assert len(model.prompts(mark)) == 1


def test_ctrl_c_before_anything_is_sent_sends_nothing_and_the_last_line_does(
    fleet_behind: Fleet, model: ScriptedModel, proxy: FaultProxy
) -> None:
    proxy.add("GET", "/global/health", hang(), times=None)
    running = fleet_behind.start("epyc6", "affordabot", "@say begun after all", "--agent", "plan")
    while not proxy.requests:
        assert running.alive
        time.sleep(0.02)  # the proxy has no event for it
    running.interrupt()
    detached = running.finish()
    assert detached.code == 130, detached
    assert model.prompts() == []
    proxy.clear()
    attached = _last_line_run(fleet_behind, detached)
    assert attached.code == 0, attached
    assert "finished, not verified: the agent wrote: begun after all" in attached.out
    assert len(model.prompts("begun after all")) == 1


@pytest.mark.parametrize("path", ["/api/session$", "/prompt_async$"])
def test_ctrl_c_while_it_is_being_sent_leads_to_one_run(
    fleet_behind: Fleet, model: ScriptedModel, proxy: FaultProxy, path: str
) -> None:
    proxy.add("POST", path, hang(forward=True), times=None)
    running = fleet_behind.start("epyc6", "affordabot", "@silent 1\n@say sent once")
    while not any(method == "POST" and path.rstrip("$") in asked for method, asked in proxy.requests):
        assert running.alive
        time.sleep(0.02)
    running.interrupt()
    detached = running.finish()
    assert detached.code == 130, detached
    proxy.clear()
    attached = _last_line_run(fleet_behind, detached)
    assert attached.code == 0, attached
    assert len(model.prompts("sent once")) == 1


def test_ctrl_c_before_the_task_was_sent_names_what_it_would_have_been(
    fleet_behind: Fleet, proxy: FaultProxy
) -> None:
    proxy.add("GET", "/global/health$", hang(), times=None)
    running = fleet_behind.start("--all", "affordabot", "@say never", "--id", "d-1", "--json")
    while not any(path == "/global/health" for _, path in proxy.requests):
        assert running.alive
        time.sleep(0.02)
    running.interrupt()
    detached = running.finish()
    (result,) = (each for each in detached.document()["results"] if each["vm"] == "epyc6")
    assert (result["state"], result["dispatch"]) == ("running", "d-1.epyc6")
    assert result["session"].startswith("ses_dx-d-1-epyc6-")
    assert result["message"].startswith("msg_dx-d-1-epyc6-")


def test_ctrl_c_while_the_task_is_typed(fleet: Fleet, lab: Lab) -> None:
    before = fleet["epyc6"].sessions()
    running = fleet.start("epyc6", "affordabot", "-", "--json", typing=True)
    _wait_till_it_reads(running)
    running.interrupt()
    ended = running.finish()
    assert (ended.code, ended.document()["error"]["reason_code"]) == (130, "interrupted")
    assert fleet["epyc6"].sessions() == before


def test_ctrl_c_with_json_is_still_one_document(fleet: Fleet, lab: Lab, model: ScriptedModel) -> None:
    gate = Gate(lab, "epyc6")
    running = fleet.start("epyc6", "affordabot", f"{gate.wait}\n@say documented", "--json")
    model.wait_for_prompt("documented")
    running.interrupt()
    detached = running.finish()
    gate.open()
    result = detached.result()
    assert (detached.code, detached.document()["exit_code"]) == (130, 130)
    assert (result["vm"], result["state"], result["reason_code"]) == ("epyc6", "running", "detached")
    assert fleet["epyc6"].prompts(result["session"]) == [[f"{gate.wait}\n@say documented"]]
    program, *words = words_of(result["next_action"])
    attached = fleet.dispatch(*words)
    assert (program, attached.code) == ("dx-dispatch", 0)
    assert attached.result()["evidence"]["text"] == "documented"
    assert len(model.prompts("documented")) == 1


def test_ctrl_c_of_all_attaches_to_all_again(fleet: Fleet, lab: Lab, model: ScriptedModel) -> None:
    gate = Gate(lab, *lab.vms)
    running = fleet.start("--all", "affordabot", f"{gate.wait}\n@say everywhere")
    for vm in lab.vms:
        running.wait_for(f"[{vm}] Task sent")
    running.interrupt()
    detached = running.finish()
    assert detached.code == 130, detached
    gate.open()
    attached = _last_line_run(fleet, detached)
    assert attached.code == 0, attached
    assert sorted(call.vm for call in model.prompts("everywhere")) == sorted(lab.vms)


def test_ctrl_c_leaves_no_process_behind(fleet: Fleet, model: ScriptedModel) -> None:
    running = fleet.start("epyc6", "affordabot", "@silent\n@say alone")
    running.wait_for("Task sent")
    family = running.family()
    assert len(family) > 1
    running.interrupt()
    assert running.finish().code == 130
    _, left = psutil.wait_procs(family, timeout=60)
    assert [process for process in left if process.status() != psutil.STATUS_ZOMBIE] == []


def test_ctrl_c_is_never_lost_whatever_it_comes_between(fleet: Fleet, lab: Lab, model: ScriptedModel) -> None:
    jobs = [fleet.start("epyc6", "affordabot", "@silent 90\n@say never") for _ in range(3)]
    for number, running in enumerate(jobs * 4):
        if not running.alive:
            continue
        running.wait_for("Task sent")
        time.sleep(0.01 * number)  # the moment is what is tried here
        running.interrupt()
    for running in jobs:
        ended = running.finish()  # a lost one ends well, after the silence
        assert ended.code == 130, ended


def test_a_hang_up_that_nohup_ignores_is_ignored(fleet: Fleet, lab: Lab) -> None:
    gate = Gate(lab, "epyc6")
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # inherited, as from nohup
    try:
        running = fleet.start("epyc6", "affordabot", f"{gate.wait}\n@say stayed", "--json")
    finally:
        signal.signal(signal.SIGHUP, before)
    _wait_till_busy(fleet, "epyc6")
    running.interrupt(number=signal.SIGHUP)
    gate.open()
    assert running.finish().result()["state"] == "completed"
