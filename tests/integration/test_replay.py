# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A dispatch id names one run of one task: the same id again joins or reports it, and sends nothing."""

from __future__ import annotations

from tests.lab import Lab, ScriptedModel

from .fleet import Fleet, fresh_id

ANY = "Say the word pineapple and nothing else. Use no tool and change nothing."


def test_the_same_dispatch_again_reports_what_became_of_it(fleet: Fleet) -> None:
    words = (fleet.default, fleet.repo, ANY, "--id", fresh_id())
    first, second = fleet.dispatch(*words), fleet.dispatch(*words)
    assert (first.code, second.code) == (0, 0)
    for name in ("dispatch", "session", "message", "state", "started_at"):
        assert first.result()[name] == second.result()[name]
    assert fleet[fleet.default].prompts(first.result()["session"]) == [[ANY]]


def test_the_vm_and_the_id_are_enough_to_ask_for_it(fleet: Fleet) -> None:
    dispatch = fresh_id()
    sent = fleet.dispatch(fleet.default, fleet.repo, ANY, "--id", dispatch, "--no-wait")
    assert (sent.code, sent.result()["state"]) == (0, "running")
    joined = fleet.dispatch(fleet.default, "--id", dispatch)
    assert (joined.code, joined.result()["state"]) == (0, "completed")
    assert joined.result()["session"] == sent.result()["session"]
    assert fleet[fleet.default].prompts(sent.result()["session"]) == [[ANY]]


def test_a_replay_asks_the_model_nothing(fleet: Fleet, lab: Lab, model: ScriptedModel) -> None:
    words = ("epyc6", "affordabot", "@bash echo once >> replayed.txt", "--id", fresh_id())
    for _ in range(3):
        assert fleet.dispatch(*words).result()["state"] == "completed"
    assert len(model.calls("replayed.txt")) == 2  # the step with the tool, and the answer
    assert (lab.vms["epyc6"].repo("affordabot") / "replayed.txt").read_text() == "once\n"


def test_a_replay_while_it_runs_joins_it(fleet: Fleet, model: ScriptedModel) -> None:
    words = ("epyc6", "affordabot", "@silent 3\n@say joined", "--id", fresh_id())
    first = fleet.start(*words, "--json")
    model.wait_for_prompt("joined")
    second = fleet.dispatch(*words)
    assert second.result()["evidence"]["text"] == "joined"
    assert first.finish().result()["session"] == second.result()["session"]
    assert len(model.prompts("joined")) == 1


def test_replays_at_the_same_time_lead_to_one_run(fleet: Fleet, model: ScriptedModel) -> None:
    task = "@bash echo run >> runs.txt\n@say raced"
    words = ("epyc6", "affordabot", task, "--id", fresh_id(), "--json")
    results = [running.finish().result() for running in [fleet.start(*words) for _ in range(4)]]
    assert [result["state"] for result in results] == ["completed"] * 4
    assert len({result["session"] for result in results}) == 1
    assert fleet["epyc6"].prompts(results[0]["session"]) == [[task]]
    assert len(model.prompts("raced")) == 1


def test_all_replayed_asks_no_model_again(fleet: Fleet, lab: Lab, model: ScriptedModel) -> None:
    dispatch = fresh_id()
    words = ("--all", "affordabot", "@say to all", "--id", dispatch)
    first, second = fleet.dispatch(*words).results(), fleet.dispatch(*words).results()
    assert {vm: each["session"] for vm, each in first.items()} == {
        vm: each["session"] for vm, each in second.items()
    }
    assert {vm: each["dispatch"] for vm, each in first.items()} == {vm: f"{dispatch}.{vm}" for vm in lab.vms}
    assert sorted(call.vm for call in model.prompts("to all")) == sorted(lab.vms)


def test_an_id_in_use_for_another_task_is_refused(fleet: Fleet) -> None:
    dispatch = fresh_id()
    first = fleet.dispatch(fleet.default, fleet.repo, ANY, "--id", dispatch).result()
    completed = fleet.dispatch(fleet.default, fleet.repo, f"{ANY} Or another.", "--id", dispatch)
    refused = completed.result()
    assert (completed.code, refused["state"], refused["reason_code"]) == (4, "refused", "dispatch_id_in_use")
    assert fleet[fleet.default].prompts(first["session"]) == [[ANY]]


def test_an_id_that_the_vm_never_saw_is_said(fleet: Fleet) -> None:
    completed = fleet.dispatch(fleet.default, "--id", fresh_id())
    assert (completed.code, completed.result()["reason_code"]) == (4, "unknown_dispatch")


def test_a_failed_dispatch_stays_failed(fleet: Fleet, model: ScriptedModel) -> None:
    words = ("epyc6", "affordabot", "@status 401\n@say never", "--id", fresh_id())
    first, second = fleet.dispatch(*words), fleet.dispatch(*words)
    assert (first.code, second.code) == (3, 3)
    assert first.result()["reason_code"] == second.result()["reason_code"] == "model_unauthorized"
    assert len(model.calls("never")) == 1


def test_a_replay_into_a_resumed_session_sends_nothing(fleet: Fleet) -> None:
    vm, dispatch = fleet.default, fresh_id()
    session = fleet.dispatch(vm, fleet.repo, ANY).result()["session"]
    words = (vm, fleet.repo, f"{ANY} Again.", "--session", session, "--id", dispatch)
    first, second = fleet.dispatch(*words), fleet.dispatch(*words)
    assert (first.result()["state"], second.result()["state"]) == ("completed", "completed")
    assert fleet[vm].prompts(session) == [[ANY], [f"{ANY} Again."]]
