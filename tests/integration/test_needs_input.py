# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An agent that waits for a person is told to one at once, with what it wants and how to answer."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

from tests.command import Completed, words_of
from tests.lab import Lab, ScriptedModel
from tests.lab.proxy import FaultProxy

from .fleet import Fleet, Server, fresh_id
from .gate import Gate

LIMIT_S = 2.0
TRIES = (
    3  # a busy machine may delay any one; how often it is looked for is held by the unit tests of the wait
)
pytestmark = pytest.mark.usefixtures("idle_afterwards")

ASKED = {"permission": "@permission cat /etc/hosts", "question": "@question Which colour? | red | blue"}
REASONS = {"permission": "permission_pending", "question": "question_pending"}


def _asked_at(server: Server, session: str) -> float:
    """When the session's tool call began to wait: epoch seconds, by the server's clock, which is ours."""
    *_, tool = [
        part for message in server.messages(session) for part in message["parts"] if part["type"] == "tool"
    ]
    return float(tool["state"]["time"]["start"]) / 1000


def _noticed_at(result: dict[str, Any]) -> float:
    return datetime.fromisoformat(result["evidence"]["noticed_at"]).timestamp()


def _noticed_in_time(fleet: Fleet, kind: str, dispatch: Callable[[], Completed]) -> dict[str, Any]:
    """The result of a dispatch that is noticed to wait for a person as soon as is promised."""
    delays: list[float] = []
    for _ in range(TRIES):
        completed = dispatch()
        result = completed.result()
        assert (completed.code, result["state"], result["reason_code"]) == (6, "needs_input", REASONS[kind])
        (pending,) = fleet["epyc6"].pending(kind, result["session"])
        assert result["evidence"]["request"]["id"] == pending["id"]
        delays.append(_noticed_at(result) - _asked_at(fleet["epyc6"], result["session"]))
        if delays[-1] < LIMIT_S:
            return result
    raise AssertionError(f"noticed after {delays} s")


@pytest.mark.parametrize("kind", ASKED)
def test_it_is_noticed_within_two_seconds(fleet: Fleet, model: ScriptedModel, kind: str) -> None:
    words = ("epyc6", "affordabot", f"@silent 1\n{ASKED[kind]}\n@say answered")
    result = _noticed_in_time(fleet, kind, lambda: fleet.dispatch(*words))
    assert {"permission": "cat /etc/hosts", "question": "Which colour?"}[kind] in str(
        result["evidence"]["request"]
    )


def test_it_is_noticed_although_its_event_is_lost(
    fleet: Fleet, fleet_behind: Fleet, model: ScriptedModel, proxy: FaultProxy
) -> None:
    proxy.filter_events(("permission.asked", "question.asked"))
    words = ("epyc6", "affordabot", f"@silent 1\n{ASKED['question']}\n@say answered")
    _noticed_in_time(fleet, "question", lambda: fleet_behind.dispatch(*words))


def test_it_is_noticed_although_the_stream_has_frozen(
    fleet: Fleet, fleet_behind: Fleet, lab: Lab, model: ScriptedModel, proxy: FaultProxy
) -> None:
    def dispatch() -> Completed:
        gate = Gate(lab, "epyc6")
        task = f"{gate.wait}\n{ASKED['permission']}\n@say answered"
        running = fleet_behind.start("epyc6", "affordabot", task, "--json")
        while not proxy.freeze_streams():
            assert running.alive
            time.sleep(0.02)  # there is no event for the beginning of a stream
        gate.open()
        return running.finish()

    _noticed_in_time(fleet, "permission", dispatch)


def _words_of_next_action(result: dict[str, Any]) -> list[str]:
    """What a person types to answer, as the result says it."""
    program, *words = words_of(result["next_action"])
    assert (program, words[:2]) == ("dx-fleet", ["answer", result["session"]])
    return words


@pytest.mark.parametrize("kind", ASKED)
def test_once_answered_as_it_says_it_can_be_followed_to_its_end(
    fleet: Fleet, model: ScriptedModel, kind: str
) -> None:
    dispatch, task = fresh_id(), f"{ASKED[kind]}\n@say answered {kind}"
    waiting = fleet.dispatch("epyc6", "affordabot", task, "--id", dispatch).result()
    still = fleet.dispatch("epyc6", "--id", dispatch)
    assert (still.code, still.result()["state"]) == (6, "needs_input")
    words = _words_of_next_action(waiting)
    answered = fleet.look(*words)
    assert answered.code == 0, answered
    assert [each["state"] for each in answered.document()["requests"]] == ["answered"]
    done = fleet.dispatch("epyc6", "--id", dispatch)
    assert (done.code, done.result()["state"], done.result()["evidence"]["text"]) == (
        0,
        "completed",
        f"answered {kind}",
    )
    assert len(model.prompts(f"answered {kind}")) == 1
    late = fleet.look(*words)
    assert (late.code, late.result()["reason_code"]) == (4, "already_answered")


@pytest.mark.parametrize("kind", ASKED)
def test_a_refusal_ends_the_task_as_failed(fleet: Fleet, model: ScriptedModel, kind: str) -> None:
    dispatch = fresh_id()
    waiting = fleet.dispatch("epyc6", "affordabot", f"{ASKED[kind]}\n@say never", "--id", dispatch).result()
    words = _words_of_next_action(waiting)
    words[2] = "reject"
    refused = fleet.look(*words)
    assert (refused.code, [each["state"] for each in refused.document()["requests"]]) == (0, ["answered"])
    done = fleet.dispatch("epyc6", "--id", dispatch)
    assert (done.code, done.result()["state"], done.result()["reason_code"]) == (
        3,
        "failed",
        "input_rejected",
    )


def test_a_left_over_of_an_aborted_session_is_nobody_s_request(fleet: Fleet, model: ScriptedModel) -> None:
    first = fleet.dispatch("epyc6", "affordabot", f"{ASKED['permission']}\n@say first").result()
    fleet["epyc6"].ask("POST", f"/session/{first['session']}/abort").raise_for_status()
    assert fleet["epyc6"].pending("permission", first["session"])  # OpenCode 1.18 keeps it
    second = fleet.dispatch("epyc6", "affordabot", "@silent 1\n@say second")
    assert (second.code, second.result()["state"]) == (0, "completed")
    again = fleet.dispatch("epyc6", "--id", first["dispatch"])
    assert (again.code, again.result()["state"]) == (8, "aborted")


def test_permission_rules_can_answer_beforehand(fleet: Fleet, model: ScriptedModel) -> None:
    allow = [{"permission": "*", "pattern": "*", "action": "allow"}]
    task = f"{ASKED['permission']}\n@say allowed"
    completed = fleet.playbook("dx.fleet.dispatch", repo="affordabot", task=task, permission=allow)
    assert completed.code == 0, completed
    assert "finished, not verified: the agent wrote: allowed" in completed.out
