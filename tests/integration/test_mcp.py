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

from tests.lab import Lab
from tests.lab.binaries import CHECKOUT
from tests.lab.tracker import Tracker

from .fleet import Fleet
from .test_fleet_test import Repo, person, repo
from .test_schema import VALIDATOR

PYTHON = CHECKOUT / ".tools" / "mcp" / "bin" / "python"
CLIENT = Path(__file__).with_name("mcp_client.py")
FLEET = "from ansible_collections.dx.fleet.plugins.plugin_utils.cli.entry import fleet_main; fleet_main()"
TOOLS = ["answer", "dispatch", "fleet_test", "join", "retry", "status", "stop"]

__all__ = ["person", "repo"]  # fixtures

Call = Mapping[str, Any]
Play = Callable[..., dict[str, Any]]


@pytest.fixture
def play(fleet: Fleet) -> Play:
    """Runs calls, one after the other, by a client of the server for the fleet."""
    return player(fleet)


def player(fleet: Fleet) -> Play:
    """Runs calls by a client of the server for this fleet."""
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


def test_an_answer_reaches_its_own_request_and_the_work_goes_on(fleet: Fleet, play: Play) -> None:
    task = "@permission cat /etc/hosts\n@say it was allowed"
    arguments = {"repo": fleet.repo, "vm": fleet.default, "task": task}
    (asked,) = play({"tool": "dispatch", "arguments": arguments})["calls"]
    (result,) = asked["result"]["results"]
    assert (asked["result"]["exit_code"], result["state"]) == (6, "needs_input")
    request = result["evidence"]["request"]["id"]
    to = {"target": result["session"], "reply": "once"}
    join = {"vm": fleet.default, "dispatch": result["dispatch"]}
    other, own, late, joined = (
        each["result"]
        for each in play(
            {"tool": "answer", "arguments": {**to, "request": "per_another"}},
            {"tool": "answer", "arguments": {**to, "request": request}},
            {"tool": "answer", "arguments": {**to, "request": request}},
            {"tool": "join", "arguments": join},
        )["calls"]
    )
    for document in (other, own, late, joined):
        VALIDATOR.validate(document)
    assert (other["exit_code"], other["results"][0]["reason_code"]) == (4, "already_answered")
    assert (own["exit_code"], own["requests"][0]["state"]) == (0, "answered")
    assert (late["exit_code"], late["results"][0]["reason_code"]) == (4, "already_answered")
    assert (joined["results"][0]["state"], joined["results"][0]["evidence"]["text"]) == (
        "completed",
        "it was allowed",
    )


def test_a_retry_that_is_cancelled_detaches_and_is_joined_by_its_bead(
    bead_fleet: Fleet, tracker: Tracker
) -> None:
    play = player(bead_fleet)
    bead = tracker.create("Try it", "never sent")
    first = {"repo": bead_fleet.repo, "vm": "epyc6", "bead": bead, "task": "@status 401"}
    again = {"bead": bead, "instruction": "@silent 4\n@say mended"}
    failed, retried = play(
        {"tool": "dispatch", "arguments": first},
        {"tool": "retry", "arguments": again, "cancel_at": "Task sent"},
    )["calls"]
    assert failed["result"]["results"][0]["state"] == "failed"
    assert retried["cancelled"]
    assert any("Session created" in line for line in retried["progress"])
    (joined,) = play({"tool": "join", "arguments": {"bead": bead}})["calls"]
    VALIDATOR.validate(joined["result"])
    (result,) = joined["result"]["results"]
    assert (result["state"], result["evidence"]["text"]) == ("completed", "mended")
    assert tracker.metadata(bead)["attempt"] == 2
    assert len(bead_fleet["epyc6"].prompts(result["session"])) == 1


def test_the_tests_of_the_fleet_report_progress_and_can_be_left(
    ssh_lab: Lab, person: Fleet, repo: Repo
) -> None:
    sha = repo.push("tests-by-mcp", {"README.md": "by mcp\n"})
    arguments = {"repo": "affordabot", "ref": sha, "command": "make test", "vm": "epyc6"}
    slow = {**arguments, "command": "sleep 3 && make test"}
    left, whole = player(person)(
        {"tool": "fleet_test", "arguments": slow, "cancel_at": "epyc6"},
        {"tool": "fleet_test", "arguments": arguments},
    )["calls"]
    assert left["cancelled"]
    VALIDATOR.validate(whole["result"])
    found = whole["result"]["fleet_test"]
    assert (whole["result"]["exit_code"], found["commit"]) == (0, sha)
    assert {vm["vm"]: vm["state"] for vm in found["vms"]} == {"epyc6": "passed"}
    assert any("epyc6" in line for line in whole["progress"])
