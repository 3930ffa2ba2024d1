# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Model Context Protocol server, by the SDK's own client, with real servers behind it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

# Not in the environment of the tests: it brings click, with which httpx imports a command line at each start.
pytest.importorskip("mcp", reason="the extra is not installed: pip install 'dx-fleet[mcp]'")
from mcp import Client, StdioServerParameters, stdio_client

from tests.integration.fleet import Fleet

FLEET = "from ansible_collections.dx.fleet.plugins.plugin_utils.cli.entry import fleet_main; fleet_main()"

Scene = Callable[[Client], Awaitable[Any]]


@pytest.fixture
def play(fleet: Fleet) -> Callable[[Scene], Any]:
    """Runs a scene with a client of the server for the fleet."""

    def run(scene: Scene) -> Any:
        server = StdioServerParameters(
            command=sys.executable,
            args=["-c", FLEET, "mcp", "--inventory", str(fleet.inventory)],
            env=dict(fleet.env),
        )

        async def within() -> Any:
            async with asyncio.timeout(120), Client(stdio_client(server)) as client:
                return await scene(client)

        return asyncio.run(within())

    return run


def test_an_agent_sees_what_it_can_do(play: Callable[[Scene], Any]) -> None:
    async def scene(client: Client) -> set[str]:
        return {tool.name for tool in (await client.list_tools()).tools}

    expected = {"dispatch", "join", "status", "stop", "answer", "retry", "fleet_test"}
    assert play(scene) == expected


def test_a_dispatch_reports_progress_and_returns_the_document(
    fleet: Fleet, play: Callable[[Scene], Any]
) -> None:
    told: list[str] = []

    async def progress(done: float, total: float | None, message: str | None) -> None:
        told.append(str(message))

    async def scene(client: Client) -> Any:
        arguments = {"repo": fleet.repo, "vm": fleet.default, "task": "@say it is {{ done }}"}
        return await client.call_tool("dispatch", arguments, progress_callback=progress)

    found = play(scene).structured_content
    (result,) = found["results"]
    assert (found["exit_code"], result["state"], result["vm"]) == (0, "completed", fleet.default)
    assert result["evidence"]["text"] == "it is {{ done }}"
    assert any("Session created" in line for line in told)


def test_a_tool_that_is_cancelled_detaches_and_can_be_joined(
    fleet: Fleet, play: Callable[[Scene], Any]
) -> None:
    async def scene(client: Client) -> Any:
        sent = asyncio.Event()

        async def progress(done: float, total: float | None, message: str | None) -> None:
            if "Task sent" in str(message):
                sent.set()

        server = fleet.servers[fleet.default]
        before = server.sessions()
        arguments = {"repo": fleet.repo, "vm": fleet.default, "task": "@silent 8 @say went on"}
        call = asyncio.create_task(client.call_tool("dispatch", arguments, progress_callback=progress))
        await sent.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        (session,) = server.sessions() - before
        dispatch = server.session(session)["metadata"]["dx_dispatch"]
        joined = await client.call_tool("join", {"vm": fleet.default, "dispatch": dispatch})
        return session, joined.structured_content, server.prompts(session)

    session, document, prompts = play(scene)
    (result,) = document["results"]
    assert (result["state"], result["session"]) == ("completed", session)
    assert len(prompts) == 1


def test_what_is_wrong_is_a_result_and_no_exception(play: Callable[[Scene], Any]) -> None:
    async def scene(client: Client) -> Any:
        return await client.call_tool("dispatch", {"repo": "affordabot", "vm": "no-such-vm", "task": "x"})

    found = play(scene).structured_content
    assert (found["exit_code"], found["error"]["reason_code"]) == (2, "unknown_vm")


def test_the_status_changes_nothing_and_shows_every_vm(fleet: Fleet, play: Callable[[Scene], Any]) -> None:
    async def scene(client: Client) -> Any:
        return await client.call_tool("status", {})

    assert {vm["vm"] for vm in play(scene).structured_content["vms"]} == set(fleet.servers)
