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
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
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
LIMIT_S = 180

__all__ = ["person", "repo"]  # fixtures


class Agent:
    """An agent that has the server for a fleet. ``tools`` are their names."""

    def __init__(self, process: subprocess.Popen[str], fleet: Fleet) -> None:
        self._process = process
        server = [str(PYTHON), "-c", FLEET, "mcp", "--inventory", str(fleet.inventory)]
        self.tools = self._ask({"server": server})["tools"]

    def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """What the tool returned, and the progress that it reported: ``{"result", "progress"}``."""
        return self._ask({"tool": tool, "arguments": arguments, "cancel_at": None})

    def cancel(self, tool: str, at: str, **arguments: Any) -> list[str]:
        """Call the tool, and cancel the call at the first progress with these words; the progress till then."""
        answer = self._ask({"tool": tool, "arguments": arguments, "cancel_at": at})
        assert answer["cancelled"]
        progress: list[str] = answer["progress"]
        return progress

    def _ask(self, question: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(question), file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        assert line, "the client ended; why is on standard error"
        answer: dict[str, Any] = json.loads(line)
        return answer


@contextmanager
def agent_of(fleet: Fleet) -> Iterator[Agent]:
    """An agent with a server of its own for this fleet."""
    assert PYTHON.exists(), "make setup makes the environment with the SDK"
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            [str(PYTHON), str(CLIENT)],
            env={**fleet.env, "PYTHONPATH": str(CHECKOUT / "collections")},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        try:
            yield Agent(process, fleet)
        finally:
            process.communicate(timeout=LIMIT_S)
            errors.seek(0)
            print(errors.read(), file=sys.stderr)
        assert process.returncode == 0


@pytest.fixture(scope="module")
def agent(whole_fleet: Fleet) -> Iterator[Agent]:
    """An agent for all tests that need no other fleet."""
    with agent_of(whole_fleet) as agent:
        yield agent


def test_an_agent_sees_what_it_can_do_and_what_is_wrong_is_a_result(fleet: Fleet, agent: Agent) -> None:
    assert agent.tools == TOOLS
    refused = agent.call("dispatch", repo="affordabot", vm="no-such-vm", task="x")["result"]
    assert (refused["exit_code"], refused["error"]["reason_code"]) == (2, "unknown_vm")
    status = agent.call("status")["result"]
    assert {vm["vm"] for vm in status["vms"]} == set(fleet.servers)


def test_a_dispatch_reports_progress_and_returns_the_document(fleet: Fleet, agent: Agent) -> None:
    call = agent.call("dispatch", repo=fleet.repo, vm=fleet.default, task="@say it is {{ done }}")
    (result,) = call["result"]["results"]
    assert (call["result"]["exit_code"], result["state"]) == (0, "completed")
    assert (result["vm"], result["evidence"]["text"]) == (fleet.default, "it is {{ done }}")
    assert any("Session created" in line for line in call["progress"])


def test_a_tool_that_is_cancelled_detaches_and_can_be_joined(fleet: Fleet, agent: Agent) -> None:
    server = fleet.servers[fleet.default]
    before = server.sessions()
    task = "@silent 8 @say went on"
    agent.cancel("dispatch", at="Task sent", repo=fleet.repo, vm=fleet.default, task=task)
    (session,) = server.sessions() - before
    dispatch = server.session(session)["metadata"]["dx_dispatch"]
    joined = agent.call("join", vm=fleet.default, dispatch=dispatch)
    (result,) = joined["result"]["results"]
    assert (result["state"], result["session"]) == ("completed", session)
    assert len(server.prompts(session)) == 1


def test_a_stop_returns_its_proof(fleet: Fleet, agent: Agent) -> None:
    agent.cancel("dispatch", at="Task sent", repo=fleet.repo, vm=fleet.default, task="@bash sleep 607")
    stopped = agent.call("stop", target=fleet.default, reason="wrong branch")["result"]
    (proof,) = stopped["stops"]
    assert (stopped["exit_code"], proof["state"], proof["proven"]) == (0, "stopped", True)
    assert proof["reason"] == "wrong branch"


def test_an_answer_reaches_its_own_request_and_the_work_goes_on(fleet: Fleet, agent: Agent) -> None:
    task = "@permission cat /etc/hosts\n@say it was allowed"
    asked = agent.call("dispatch", repo=fleet.repo, vm=fleet.default, task=task)["result"]
    (result,) = asked["results"]
    assert (asked["exit_code"], result["state"]) == (6, "needs_input")
    request = result["evidence"]["request"]["id"]
    to = {"target": result["session"], "reply": "once"}
    other, own, late = (
        agent.call("answer", **to, request=which)["result"] for which in ("per_another", request, request)
    )
    joined = agent.call("join", vm=fleet.default, dispatch=result["dispatch"])["result"]
    for document in (asked, other, own, late, joined):
        VALIDATOR.validate(document)
    assert (other["exit_code"], other["results"][0]["reason_code"]) == (4, "already_answered")
    assert (own["exit_code"], own["requests"][0]["state"]) == (0, "answered")
    assert (late["exit_code"], late["results"][0]["reason_code"]) == (4, "already_answered")
    assert (joined["results"][0]["state"], joined["results"][0]["evidence"]["text"]) == (
        "completed",
        "it was allowed",
    )


def test_a_retry_that_is_cancelled_detaches_and_is_joined_by_its_bead_from_another_server(
    bead_fleet: Fleet, tracker: Tracker
) -> None:
    bead = tracker.create("Try it", "never sent")
    with agent_of(bead_fleet) as agent:
        failed = agent.call("dispatch", repo=bead_fleet.repo, vm="epyc6", bead=bead, task="@status 401")
        VALIDATOR.validate(failed["result"])
        assert failed["result"]["results"][0]["state"] == "failed"
        instruction = "@silent 4\n@say mended"
        progress = agent.cancel("retry", at="Task sent", bead=bead, instruction=instruction)
        assert any("Session created" in line for line in progress)
    with agent_of(bead_fleet) as another:
        joined = another.call("join", bead=bead)["result"]
    VALIDATOR.validate(joined)
    (result,) = joined["results"]
    assert (result["state"], result["evidence"]["text"]) == ("completed", "mended")
    assert tracker.metadata(bead)["attempt"] == 2
    assert len(bead_fleet["epyc6"].prompts(result["session"])) == 1


def test_the_tests_of_the_fleet_report_progress_and_can_be_left(
    ssh_lab: Lab, person: Fleet, repo: Repo
) -> None:
    sha = repo.push("tests-by-mcp", {"README.md": "by mcp\n"})
    arguments = {"repo": "affordabot", "ref": sha, "vm": "epyc6"}
    with agent_of(person) as agent:
        agent.cancel("fleet_test", at="epyc6", **arguments, command="sleep 3 && make test")
        whole = agent.call("fleet_test", **arguments, command="make test")
    VALIDATOR.validate(whole["result"])
    found = whole["result"]["fleet_test"]
    assert (whole["result"]["exit_code"], found["commit"]) == (0, sha)
    assert {vm["vm"]: vm["state"] for vm in found["vms"]} == {"epyc6": "passed"}
    assert any("epyc6" in line for line in whole["progress"])
