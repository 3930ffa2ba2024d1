# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every VM gets what is meant for it, where it is meant to be; also on a live fleet."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

from tests.lab import Lab, ScriptedModel

from .fleet import Fleet, fresh_id

ANY = "Say the word pineapple and nothing else. Use no tool and change nothing."


def test_each_vm_gets_its_own_task_and_nothing_else_s(fleet: Fleet) -> None:
    tasks = {vm: f"{ANY} This is for {vm}, mark {fresh_id()}." for vm in fleet.servers}
    with ThreadPoolExecutor() as pool:
        done = dict(
            zip(tasks, pool.map(lambda vm: fleet.dispatch(vm, fleet.repo, tasks[vm]), tasks), strict=True)
        )
    for vm, completed in done.items():
        result = completed.result()
        assert (completed.code, result["vm"], result["state"]) == (0, vm, "completed"), completed
        assert fleet[vm].prompts(result["session"]) == [[tasks[vm]]]
        assert [other for other in fleet.servers if fleet[other].has(result["session"])] == [vm]


def test_all_gives_every_vm_the_task_once_in_the_same_repo(fleet: Fleet) -> None:
    task = f"{ANY} Mark {fresh_id()}."
    completed = fleet.dispatch("--all", fleet.repo, task)
    assert completed.code == 0, completed
    results = completed.results()
    assert set(results) == set(fleet.servers)
    for vm, result in results.items():
        assert result["state"] == "completed"
        assert fleet[vm].prompts(result["session"]) == [[task]]
        directory = fleet[vm].session(result["session"])["directory"]
        assert directory == result["evidence"]["directory"]
        assert directory.rpartition("/")[2] == fleet.repo


def test_without_a_vm_the_default_one_gets_it(fleet: Fleet) -> None:
    result = fleet.dispatch(fleet.repo, ANY).result()
    assert (result["vm"], result["state"]) == (fleet.default, "completed")
    assert fleet[fleet.default].prompts(result["session"]) == [[ANY]]


def test_an_alias_means_its_vm(fleet: Fleet) -> None:
    named = [(vm, alias) for vm, server in fleet.servers.items() for alias in server.aliases]
    assert named, "no VM of this fleet has an alias"
    for vm, alias in named[:2]:
        result = fleet.dispatch(alias, fleet.repo, ANY, "--dry-run").result()
        assert (result["vm"], result["state"]) == (vm, "planned")


def test_the_seed_s_alias_homedesktop_wsl(fleet: Fleet, lab: Lab) -> None:
    result = fleet.dispatch("homedesktop-wsl", "affordabot", "@bash pwd > here.txt").result()
    assert (result["vm"], result["state"]) == ("homedesktop", "completed")
    directory = lab.vms["homedesktop"].repo("affordabot")
    assert (directory / "here.txt").read_text().strip() == str(directory)


def test_the_agent_s_shell_runs_in_the_repo_of_that_vm(fleet: Fleet, lab: Lab, model: ScriptedModel) -> None:
    tasks = {vm: f"for {vm}\n@bash pwd && echo $HOME > where-{vm}.txt" for vm in lab.vms}
    repos = dict(zip(lab.vms, ("affordabot", "prime-radiant", "affordabot"), strict=True))
    with ThreadPoolExecutor() as pool:
        done = list(pool.map(lambda vm: fleet.dispatch(vm, repos[vm], tasks[vm]), tasks))
    for (vm, lab_vm), completed in zip(lab.vms.items(), done, strict=True):
        directory = lab_vm.repo(repos[vm])
        evidence = completed.result()["evidence"]
        assert evidence["directory"] == str(directory)
        assert [tool["exit"] for tool in evidence["tools"]] == [0]
        assert evidence["text"] == f"Done.\n- {directory}"  # what pwd printed
        assert (directory / f"where-{vm}.txt").read_text().strip() == str(lab_vm.home)
        assert {call.vm for call in model.calls(f"for {vm}\n")} == {vm}


def test_a_repo_s_own_tests_are_run(fleet: Fleet, lab: Lab) -> None:
    result = fleet.dispatch("epyc6", "prime-radiant", "Run make test").result()
    (make,) = result["evidence"]["tools"]
    assert (result["state"], make["exit"], make["tool"]) == ("completed", 0, "bash")
    assert result["evidence"]["directory"] == str(lab.vms["epyc6"].repo("prime-radiant"))


def test_one_vm_that_is_down_neither_stops_nor_delays_the_others(
    fleet: Fleet, lab: Lab, model: ScriptedModel
) -> None:
    lab.vms["macmini"].kill()
    try:
        completed = fleet.dispatch("--all", "affordabot", "@say with one down", "--progress-json")
    finally:
        lab.vms["macmini"].start()
    assert completed.code == 3
    events = [json.loads(line) for line in completed.err.splitlines()]
    assert ("epyc6", "task_sent") in [(event["vm"], event["kind"]) for event in events]
    states = {vm: result["state"] for vm, result in completed.results().items()}
    assert states == {"homedesktop": "completed", "macmini": "unreachable", "epyc6": "completed"}
    down = completed.results()["macmini"]
    assert down["reason_code"] == "connection_refused"
    assert "start the server on macmini" in down["next_action"]
    assert sorted(call.vm for call in model.prompts("with one down")) == ["epyc6", "homedesktop"]


def test_a_hanging_vm_does_not_delay_the_others(fleet: Fleet, lab: Lab, model: ScriptedModel) -> None:
    lab.vms["macmini"].pause()
    try:
        running = fleet.start("--all", "affordabot", "@say with one hanging")
        for vm in ("homedesktop", "epyc6"):
            model.wait_for_prompt("with one hanging", vm=vm)
        assert running.alive
        running.kill()
    finally:
        lab.vms["macmini"].resume()
    assert {call.vm for call in model.prompts("with one hanging")} == {"homedesktop", "epyc6"}


def test_a_repo_that_is_not_there_is_named_with_what_was_tried(fleet: Fleet) -> None:
    before = fleet[fleet.default].sessions()
    completed = fleet.dispatch(fleet.default, f"no-such-repo-{fresh_id()}", ANY)
    result = completed.result()
    assert (completed.code, result["state"], result["reason_code"]) == (4, "refused", "repo_not_found")
    assert "tried /" in result["message_to_human"]
    assert fleet[fleet.default].sessions() == before
