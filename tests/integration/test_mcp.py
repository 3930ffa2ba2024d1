# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Model Context Protocol server, by the SDK's own client, with real servers behind it.

Both run in an environment of their own: the SDK brings click, with which httpx imports a command line at each
start, and the environment of the tests is that of a plain installation.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.lab.binaries import CHECKOUT

from .fleet import Fleet

PYTHON = CHECKOUT / ".tools" / "mcp" / "bin" / "python"
CLIENT = Path(__file__).with_name("mcp_client.py")
FLEET = "from ansible_collections.dx.fleet.plugins.plugin_utils.cli.entry import fleet_main; fleet_main()"
TOOLS = ["answer", "dispatch", "fleet_test", "join", "retry", "status", "stop"]

Call = Mapping[str, Any]
Play = Callable[..., dict[str, Any]]


@pytest.fixture
def play(fleet: Fleet) -> Play:
    """Runs calls, one after the other, by a client of the server for the fleet."""
    assert PYTHON.exists(), "make setup makes the environment with the SDK"

    def run(*calls: Call) -> dict[str, Any]:
        server = [str(PYTHON), "-c", FLEET, "mcp", "--inventory", str(fleet.inventory)]
        done = subprocess.run(
            [str(PYTHON), str(CLIENT)],
            input=json.dumps({"server": server, "calls": calls}),
            env={**fleet.env, "PYTHONPATH": str(CHECKOUT / "collections")},
            capture_output=True,
            text=True,
            check=False,
            timeout=180,
        )
        assert done.returncode == 0, done.stderr
        played: dict[str, Any] = json.loads(done.stdout)
        return played

    return run


def test_an_agent_sees_what_it_can_do_and_what_is_wrong_is_a_result(fleet: Fleet, play: Play) -> None:
    wrong = {"tool": "dispatch", "arguments": {"repo": "affordabot", "vm": "no-such-vm", "task": "x"}}
    played = play(wrong, {"tool": "status", "arguments": {}})
    assert played["tools"] == TOOLS
    refused, status = (each["result"] for each in played["calls"])
    assert (refused["exit_code"], refused["error"]["reason_code"]) == (2, "unknown_vm")
    assert {vm["vm"] for vm in status["vms"]} == set(fleet.servers)


def test_a_dispatch_reports_progress_and_returns_the_document(fleet: Fleet, play: Play) -> None:
    arguments = {"repo": fleet.repo, "vm": fleet.default, "task": "@say it is {{ done }}"}
    (call,) = play({"tool": "dispatch", "arguments": arguments})["calls"]
    (result,) = call["result"]["results"]
    assert (call["result"]["exit_code"], result["state"]) == (0, "completed")
    assert (result["vm"], result["evidence"]["text"]) == (fleet.default, "it is {{ done }}")
    assert any("Session created" in line for line in call["progress"])


def test_a_tool_that_is_cancelled_detaches_and_can_be_joined(fleet: Fleet, play: Play) -> None:
    server = fleet.servers[fleet.default]
    before = server.sessions()
    arguments = {"repo": fleet.repo, "vm": fleet.default, "task": "@silent 8 @say went on"}
    (call,) = play({"tool": "dispatch", "arguments": arguments, "cancel_at": "Task sent"})["calls"]
    assert call["cancelled"]
    (session,) = server.sessions() - before
    dispatch = server.session(session)["metadata"]["dx_dispatch"]
    join = {"tool": "join", "arguments": {"vm": fleet.default, "dispatch": dispatch}}
    (joined,) = play(join)["calls"]
    (result,) = joined["result"]["results"]
    assert (result["state"], result["session"]) == ("completed", session)
    assert len(server.prompts(session)) == 1


def test_a_stop_returns_its_proof(fleet: Fleet, play: Play) -> None:
    arguments = {"repo": fleet.repo, "vm": fleet.default, "task": "@bash sleep 607"}
    (call,) = play({"tool": "dispatch", "arguments": arguments, "cancel_at": "Task sent"})["calls"]
    assert call["cancelled"]
    stop = {"tool": "stop", "arguments": {"target": fleet.default, "reason": "wrong branch"}}
    (stopped,) = play(stop)["calls"]
    (proof,) = stopped["result"]["stops"]
    assert (stopped["result"]["exit_code"], proof["state"], proof["proven"]) == (0, "stopped", True)
    assert proof["reason"] == "wrong branch"
