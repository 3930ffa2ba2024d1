# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Agents that an agent sends out: they count, and they stop with it."""

from __future__ import annotations

from tests.lab import Lab

from .fleet import Fleet


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
