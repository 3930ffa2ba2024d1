# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Agents that an agent sends out: they count, and they stop with it."""

from __future__ import annotations

import time

from ansible_collections.dx.fleet.plugins.module_utils.session_ids import session_id

from tests.lab import Lab, ScriptedModel

from .fleet import Fleet, fresh_id
from .gate import Gate


def test_what_a_subagent_does_is_part_of_the_evidence(fleet: Fleet, lab: Lab) -> None:
    completed = fleet.dispatch("epyc6", "affordabot", "@task @bash true\\n@say below\n@say above")
    result = completed.result()
    assert (completed.code, result["evidence"]["text"]) == (0, "above")
    # Two steps of the agent, and two of the other.
    assert (result["evidence"]["steps"], result["evidence"]["tokens"]["output"]) == (4, 80)


def test_an_endless_subagent_is_stopped_by_the_steps_of_its_agent(fleet: Fleet, lab: Lab) -> None:
    completed = fleet.dispatch("epyc6", "affordabot", "@task @loop\n@say never", "--max-steps", "4")
    result = completed.result()
    assert (completed.code, result["reason_code"]) == (8, "max_steps")
    assert result["evidence"]["steps"] > 4
    server = fleet["epyc6"]
    (child,) = server.get(f"/session/{result['session']}/children")
    assert not server.works_on(child["id"])


def test_a_subagent_that_works_on_is_waited_for_and_its_session_is_busy(
    fleet: Fleet, lab: Lab, model: ScriptedModel
) -> None:
    """As a background subagent does: its own agent has given its answer already."""
    server, gate, dispatch = fleet["epyc6"], Gate(lab, "epyc6"), fresh_id()
    root = session_id(dispatch)
    task = "@silent 3\n@say the root is over"
    running = fleet.start("epyc6", "affordabot", task, "--json", "--id", dispatch)
    model.wait_for_prompt("the root is over")
    directory = str(lab.vms["epyc6"].repo("affordabot"))
    child = (
        server.ask("POST", "/session", {"parentID": root}, directory=directory)
        .raise_for_status()
        .json()["id"]
    )
    body = {"parts": [{"type": "text", "text": f"{gate.wait}\n@say the child is over"}]}
    server.ask("POST", f"/session/{child}/prompt_async", body).raise_for_status()
    model.wait_for_prompt("the child is over")
    while server.works_on(root):
        time.sleep(0.05)  # the server tells nobody but by events
    (vm,) = [each for each in fleet.look("status").document()["vms"] if each["vm"] == "epyc6"]
    assert {each["session"]: each["state"] for each in vm["sessions"]}[root] == "busy"
    refused = fleet.dispatch("epyc6", "@say not now", "--session", root)
    assert (refused.code, refused.result()["reason_code"]) == (4, "session_busy")
    assert running.alive
    gate.open()
    completed = running.finish()
    assert (completed.code, completed.result()["evidence"]["text"]) == (0, "the root is over")
    assert not server.works_on(child)
