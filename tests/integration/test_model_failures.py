# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A model, or an agent, that fails is never a success: it ends failed, with a reason."""

from __future__ import annotations

import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils import submit
from ansible_collections.dx.fleet.plugins.plugin_utils.errors import DispatchError
from ansible_collections.dx.fleet.plugins.plugin_utils.opencode.client import OpenCode
from ansible_collections.dx.fleet.plugins.plugin_utils.preflight import Plan
from ansible_collections.dx.fleet.plugins.plugin_utils.request import Request

from tests.lab import Lab, ScriptedModel
from tests.lab.proxy import FaultProxy, status

from .fleet import Fleet, fresh_id

FINAL = {
    "@status 400": ("model_error", "scripted status 400"),
    "@status 401": ("model_unauthorized", "scripted status 401"),
    "@status 403": ("model_unauthorized", "scripted status 403"),
    "@status 404": ("model_error", "scripted status 404"),
    "@badjson": ("model_error", "JSON"),
    "@length": ("answer_cut", "cut"),
}


@pytest.mark.parametrize("how", FINAL)
def test_a_failure_of_the_model_that_is_final(fleet: Fleet, lab: Lab, model: ScriptedModel, how: str) -> None:
    reason, said = FINAL[how]
    completed = fleet.dispatch("epyc6", "affordabot", f"{how}\n@say never")
    result = completed.result()
    assert (completed.code, result["state"], result["reason_code"]) == (3, "failed", reason)
    assert said in result["message_to_human"]
    assert result["next_action"].startswith("dx-dispatch epyc6 affordabot ")
    assert len(model.prompts("@say never")) == 1


def test_a_failure_after_some_work_keeps_the_evidence_of_that_work(fleet: Fleet, lab: Lab) -> None:
    completed = fleet.dispatch("epyc6", "affordabot", "@bash exit 3\n@status 401\n@say never")
    result = completed.result()
    assert (completed.code, result["reason_code"]) == (3, "model_unauthorized")
    assert [tool["exit"] for tool in result["evidence"]["tools"]] == [3]
    assert "scripted status 401" in result["evidence"]["error"]


@pytest.mark.parametrize(
    ("code", "reason"), [(429, "model_rate_limited"), (500, "model_error"), (503, "model_error")]
)
def test_a_model_that_never_recovers(
    fleet: Fleet, lab: Lab, model: ScriptedModel, code: int, reason: str
) -> None:
    running = fleet.start("epyc6", "affordabot", f"@status {code} retry-after=0\n@say never", "--json")
    completed = running.finish()
    result = completed.result()
    assert (completed.code, result["state"], result["reason_code"]) == (3, "failed", reason)
    assert len(model.calls("@say never")) == 6  # OpenCode 1.18 tries five times more


def test_a_model_that_recovers_is_no_failure(fleet: Fleet, model: ScriptedModel) -> None:
    completed = fleet.command(
        "epyc6", "affordabot", "@status 429 retry-after=1 times=1\n@drop times=1\n@say recovered"
    )
    assert completed.code == 0, completed
    assert "Model retry 1: " in completed.out
    assert [call.answered for call in model.prompts("recovered")] == ["status 429", "drop", "ok"]


def test_a_model_that_parks_the_session_for_an_hour_runs_into_our_limit(
    fleet: Fleet, model: ScriptedModel
) -> None:
    task = "@status 429 retry-after=3600\n@say never"
    completed = fleet.dispatch("epyc6", "affordabot", task, "--timeout", "3")
    result = completed.result()
    assert (completed.code, result["state"], result["reason_code"]) == (7, "timed_out", "timeout")
    assert not fleet["epyc6"].works_on(result["session"])


@pytest.mark.parametrize(
    ("option", "name", "reason"),
    [
        ("--agent", "nosuch", "unknown_agent"),
        ("--agent", "title", "unknown_agent"),  # a hidden one of OpenCode's own
        ("--model", "scripted/nosuch", "unknown_model"),
        ("--model", "nosuch/main", "unknown_model"),
    ],
)
def test_an_unknown_agent_or_model_is_found_before_anything_is_made(
    fleet: Fleet, lab: Lab, model: ScriptedModel, option: str, name: str, reason: str
) -> None:
    before = fleet["epyc6"].sessions()
    completed = fleet.dispatch("epyc6", "affordabot", "@say never", option, name)
    result = completed.result()
    assert (completed.code, result["state"], result["reason_code"]) == (3, "failed", reason)
    assert "it has " in result["message_to_human"]
    assert fleet["epyc6"].sessions() == before
    assert model.prompts() == []


def test_a_known_agent_and_model_are_used(fleet: Fleet, model: ScriptedModel) -> None:
    words = ("epyc6", "affordabot", "@say planned", "--agent", "plan", "--model", "scripted/small")
    evidence = fleet.dispatch(*words).result()["evidence"]
    assert (evidence["agent"], evidence["model"]) == ("plan", "scripted/small")
    assert [call.model for call in model.prompts("planned")] == ["small"]


# OpenCode 1.18 answers 204 to a prompt with an unknown agent or model. What the look beforehand found may
# have changed since, so the 204 alone must not be believed.


def test_an_agent_that_vanishes_after_the_look_is_a_failure(
    fleet_behind: Fleet, model: ScriptedModel, proxy: FaultProxy
) -> None:
    proxy.add("GET", "^/agent$", status(200, [{"name": "nosuch", "mode": "primary"}]), times=None)
    completed = fleet_behind.dispatch("epyc6", "affordabot", "@say never", "--agent", "nosuch")
    result = completed.result()
    assert ("POST", f"/session/{result['session']}/prompt_async") in proxy.requests or result[
        "session"
    ] is None
    assert (completed.code, result["state"], result["reason_code"]) == (3, "failed", "prompt_not_stored")
    assert model.prompts() == []


async def test_a_prompt_of_which_there_is_no_trace_was_not_placed(
    lab: Lab, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submit, "CONFIRM_S", 1.0)
    request = Request(dispatch=fresh_id(), task="@say never", vm="epyc6", agent="nosuch")
    directory = str(lab.vms["epyc6"].repo("affordabot"))
    plan = Plan(request.session, request.message, directory, "1.18", replay=False)
    async with OpenCode(lab.vms["epyc6"].url) as server:
        with pytest.raises(DispatchError) as caught:
            await submit.place(server, request, plan)
    assert caught.value.reason_code == "prompt_not_stored"
    assert model.prompts() == []


def test_a_model_that_vanishes_after_the_look_is_a_failure(
    fleet_behind: Fleet, model: ScriptedModel, proxy: FaultProxy
) -> None:
    models = {"providers": [{"id": "scripted", "models": {"gone": {"id": "gone"}}}]}
    proxy.add("GET", "^/config/providers$", status(200, models), times=None)
    completed = fleet_behind.dispatch("epyc6", "affordabot", "@say never", "--model", "scripted/gone")
    result = completed.result()
    assert (completed.code, result["state"], result["reason_code"]) == (3, "failed", "no_answer")
    assert model.prompts() == []
