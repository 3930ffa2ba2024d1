# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A model, or an agent, that fails is never a success: it ends failed, with a reason."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.dispatch import place as submit
from ansible_collections.dx.fleet.plugins.plugin_utils.dispatch.preflight import Plan
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.errors import DispatchError
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.outcome import Outcome, State
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.request import Request
from ansible_collections.dx.fleet.plugins.plugin_utils.opencode.client import OpenCode

from tests.lab import Lab, ScriptedModel
from tests.lab.proxy import FaultProxy, status

from .ahead import Ahead, ahead, chosen
from .fleet import Fleet, fresh_id
from .in_process import dispatch

FAILURES = {
    "@status 400": ("model_error", "scripted status 400", 1),
    "@status 401": ("model_unauthorized", "scripted status 401", 1),
    "@status 403": ("model_unauthorized", "scripted status 403", 1),
    "@status 404": ("model_error", "scripted status 404", 1),
    "@badjson": ("model_error", "JSON", 1),
    "@length": ("answer_cut", "cut", 1),
    # Of these OpenCode 1.18 tries each five times more.
    "@status 429 retry-after=0": ("model_rate_limited", "scripted status 429", 6),
    "@status 500 retry-after=0": ("model_error", "scripted status 500", 6),
    "@status 503 retry-after=0": ("model_error", "scripted status 503", 6),
}
"""How the model fails for good -> reason code, what is said, how often the model was asked."""


@pytest.fixture(scope="module")
def failed(request: pytest.FixtureRequest, lab: Lab) -> Iterator[Ahead[str, tuple[Outcome, int]]]:
    """What each failure led to, and how often the model was asked."""

    def run(how: str) -> tuple[Outcome, int]:
        asked_for = Request(dispatch=fresh_id(), task=f"{how}\n@say never", vm="epyc6", repo="affordabot")
        outcome = asyncio.run(dispatch(lab.vms["epyc6"].url, asked_for))
        return outcome, len([call for call in lab.model.calls(how) if call.session == asked_for.session])

    with ahead(run, chosen(request, "how")) as failed:
        yield failed


@pytest.mark.parametrize("how", FAILURES)
def test_a_model_that_fails_for_good(failed: Ahead[str, tuple[Outcome, int]], how: str) -> None:
    reason, said, calls = FAILURES[how]
    outcome, asked = failed[how]
    assert (outcome.state, outcome.reason_code) == (State.FAILED, reason)
    assert said in outcome.message_to_human
    assert asked == calls


def test_a_failure_after_some_work_keeps_the_evidence_of_that_work(fleet: Fleet, lab: Lab) -> None:
    completed = fleet.dispatch("epyc6", "affordabot", "@bash exit 3\n@status 401\n@say never")
    result = completed.result()
    assert (completed.code, result["state"], result["reason_code"]) == (3, "failed", "model_unauthorized")
    assert "scripted status 401" in result["message_to_human"]
    assert result["next_action"].startswith("dx-dispatch epyc6 affordabot ")
    assert [tool["exit"] for tool in result["evidence"]["tools"]] == [3]
    assert "scripted status 401" in result["evidence"]["error"]


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
    ("chosen", "reason"),
    [
        ({"agent": "nosuch"}, "unknown_agent"),
        ({"agent": "title"}, "unknown_agent"),  # a hidden one of OpenCode's own
        ({"model": "scripted/nosuch"}, "unknown_model"),
        ({"model": "nosuch/main"}, "unknown_model"),
    ],
)
async def test_an_unknown_agent_or_model_is_found_before_anything_is_made(
    fleet: Fleet, lab: Lab, model: ScriptedModel, chosen: dict[str, str], reason: str
) -> None:
    before = fleet["epyc6"].sessions()
    request = Request(dispatch=fresh_id(), task="@say never", vm="epyc6", repo="affordabot", **chosen)
    outcome = await dispatch(lab.vms["epyc6"].url, request)
    assert (outcome.state, outcome.reason_code) == (State.REFUSED, reason)
    assert "it has " in outcome.message_to_human
    assert fleet["epyc6"].sessions() == before
    assert model.prompts() == []


def test_a_dispatch_for_an_unknown_agent_is_refused(fleet: Fleet, model: ScriptedModel) -> None:
    before = fleet["epyc6"].sessions()
    completed = fleet.dispatch("epyc6", "affordabot", "@say never", "--agent", "nosuch")
    result = completed.result()
    assert (completed.code, result["state"], result["reason_code"]) == (4, "refused", "unknown_agent")
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


VANISHED = {
    "agent": ("gone", "^/agent$", [{"name": "gone", "mode": "primary"}], "prompt_not_stored"),
    "model": (
        "scripted/gone",
        "^/config/providers$",
        {"providers": [{"id": "scripted", "models": {"gone": {"id": "gone"}}}]},
        "no_answer",
    ),
}


@pytest.fixture(scope="module")
def vanished(request: pytest.FixtureRequest, lab: Lab) -> Iterator[Ahead[str, Outcome]]:
    """What became of a task for which the look beforehand found something that is not there any more."""

    def run(what: str) -> Outcome:
        name, path, answer, _ = VANISHED[what]
        asked_for = Request(
            dispatch=fresh_id(), task="@say never in vain", vm="epyc6", repo="affordabot", **{what: name}
        )
        with FaultProxy(lab.vms["epyc6"].url) as proxy:
            proxy.add("GET", path, status(200, answer), times=None)
            return asyncio.run(dispatch(proxy.url, asked_for))

    with ahead(run, chosen(request, "what")) as outcomes:
        yield outcomes


@pytest.mark.parametrize("what", VANISHED)
def test_what_vanishes_after_the_look_is_a_failure(
    lab: Lab, vanished: Ahead[str, Outcome], what: str
) -> None:
    assert (vanished[what].state, vanished[what].reason_code) == (State.FAILED, VANISHED[what][-1])
    assert lab.model.prompts("never in vain") == []


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
