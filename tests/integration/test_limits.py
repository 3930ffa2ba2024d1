# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Our own limits stop what OpenCode would let run for ever; and what is stopped is really idle."""

from __future__ import annotations

import psutil
import pytest

from tests.lab import Lab, ScriptedModel
from tests.lab.proxy import FaultProxy

from .fleet import Fleet

LOOP = "@silent 0.3\n@loop"  # three steps a second, which leave the machine time for the rest


def _assert_idle(fleet: Fleet, model: ScriptedModel, session: str, mark: str) -> None:
    """The session does nothing any more: neither says its server so, nor does the model hear of it."""
    assert not fleet["epyc6"].works_on(session)
    calls = len(model.calls(mark))
    with pytest.raises(TimeoutError):
        model.wait_for_call(mark, count=calls + 1, timeout_s=1.0)


@pytest.mark.parametrize("endless", ["@loop", "@nofinish"])
def test_an_endless_agent_is_stopped_by_its_steps(fleet: Fleet, model: ScriptedModel, endless: str) -> None:
    task = f"@say endless {endless[1:]}\n{endless}"
    completed = fleet.dispatch("epyc6", "affordabot", task, "--max-steps", "4")
    result = completed.result()
    assert (completed.code, result["state"], result["reason_code"]) == (8, "aborted", "max_steps")
    assert result["evidence"]["steps"] > 4
    _assert_idle(fleet, model, result["session"], "endless")


def test_an_endless_agent_is_stopped_by_the_clock(fleet: Fleet, lab: Lab, model: ScriptedModel) -> None:
    completed = fleet.dispatch("epyc6", "affordabot", LOOP, "--timeout", "6", "--max-steps", "0")
    result = completed.result()
    assert (completed.code, result["state"], result["reason_code"]) == (7, "timed_out", "timeout")
    assert result["evidence"]["tools"]
    assert result["next_action"] == (
        f"dx-dispatch epyc6 affordabot 'Continue work' --session {result['session']} --timeout 6 --max-steps 0"
    )
    _assert_idle(fleet, model, result["session"], "@loop")


def test_an_expensive_agent_is_stopped_by_its_cost(fleet: Fleet, model: ScriptedModel) -> None:
    task = "@usage 100000 1000\n@loop"  # 0.315 USD a step
    completed = fleet.dispatch("epyc6", "affordabot", task, "--max-cost", "0.5")
    result = completed.result()
    assert (completed.code, result["state"], result["reason_code"]) == (8, "aborted", "max_cost")
    assert result["evidence"]["cost"] > 0.5
    _assert_idle(fleet, model, result["session"], "@usage")


def test_a_silent_model_is_a_stall(fleet: Fleet, model: ScriptedModel) -> None:
    completed = fleet.dispatch("epyc6", "affordabot", "@silent", "--stall-timeout", "5")
    result = completed.result()
    assert (completed.code, result["state"], result["reason_code"]) == (7, "stalled", "stall_timeout")
    assert not fleet["epyc6"].works_on(result["session"])
    assert [call.answered for call in model.calls("@silent")] == ["silent, client went away"]


def test_a_slow_model_is_no_stall(fleet: Fleet, model: ScriptedModel) -> None:
    task = "@slow 8 0.5\n@say " + "slow but moving " * 8
    completed = fleet.dispatch("epyc6", "affordabot", task, "--stall-timeout", "6")
    assert (completed.code, completed.result()["state"]) == (0, "completed")


def test_what_a_stopped_agent_had_started_is_gone(fleet: Fleet, lab: Lab, model: ScriptedModel) -> None:
    completed = fleet.dispatch("epyc6", "affordabot", "@bash sleep 4711", "--timeout", "6")
    assert (completed.code, completed.result()["reason_code"]) == (7, "timeout")
    left = [child for child in lab.vms["epyc6"].children() if "4711" in " ".join(child.cmdline())]
    _, alive = psutil.wait_procs(left, timeout=60)  # OpenCode says idle a little before they are dead
    assert alive == []


def test_limits_hold_although_every_event_is_lost(
    fleet: Fleet, fleet_behind: Fleet, model: ScriptedModel, proxy: FaultProxy
) -> None:
    running = fleet_behind.start("epyc6", "affordabot", LOOP, "--json", "--max-steps", "3", "--timeout", "90")
    model.wait_for_prompt("@loop")
    proxy.freeze_streams()
    completed = running.finish()
    result = completed.result()
    assert (completed.code, result["reason_code"]) == (8, "max_steps")
    _assert_idle(fleet, model, result["session"], "@loop")
