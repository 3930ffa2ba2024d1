# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the product relies on in OpenCode, true of the real server and of the fake of the unit tests alike."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from typing import Any, Protocol

import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.opencode.client import OpenCode
from ansible_collections.dx.fleet.plugins.plugin_utils.opencode.errors import (
    NotFound,
    NotOpenCode,
    Rejected,
    ServerFault,
)
from ansible_collections.dx.fleet.plugins.plugin_utils.sessions.turn import judge

from tests.lab.binaries import pinned_version
from tests.unit.fake_opencode import HOME, FakeOpenCode

PATIENCE_S = 120.0
WORKS = "@silent\n@say never"
ASKS = "@permission"
TASK = "Say hello"


class Server(Protocol):
    """A server of either kind, with two directories in which a session can work."""

    client: OpenCode
    directory: str
    other: str

    async def answered(self, session: str) -> None:
        """The agent has done the task that the session was given."""

    async def asks(self, session: str) -> None:
        """The agent, which was told to, waits for a permission."""


class Fake:
    """The fake, whose agent does what a test says."""

    def __init__(self) -> None:
        self.fake = FakeOpenCode()
        self.fake.version = pinned_version()
        self.client = self.fake.client()
        self.directory, self.other = HOME, f"{HOME}/affordabot"

    async def answered(self, session: str) -> None:
        self.fake.sessions[session].step("a", finish="stop", text="hello")
        self.fake.idle(session)

    async def asks(self, session: str) -> None:
        self.fake.sessions[session].step("a", completed=False)
        self.fake.permissions.append(
            {
                "id": "per_1",
                "sessionID": session,
                "permission": "external_directory",
                "tool": {"messageID": "a", "callID": "c"},
            }
        )


class Real:
    """One of the lab's servers."""

    def __init__(self, url: str, directory: str, other: str) -> None:
        self.client = OpenCode(url)
        self.directory, self.other = directory, other

    async def answered(self, session: str) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while session in await self.client.statuses(self.directory):  # noqa: ASYNC110 - it has no other sign
                await asyncio.sleep(0.05)

    async def asks(self, session: str) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not await self.client.permissions(self.directory):  # noqa: ASYNC110
                await asyncio.sleep(0.05)


@pytest.fixture(params=["fake", "real"])
async def server(request: pytest.FixtureRequest) -> AsyncIterator[Server]:
    found: Server
    if request.param == "fake":
        found = Fake()
    elif request.config.getoption("--fleet") is not None:
        pytest.skip("needs the lab")
    else:
        vm = request.getfixturevalue("lab").vms["macmini"]
        found = Real(vm.url, str(vm.repo("affordabot")), str(vm.home))
    async with found.client:
        yield found


@pytest.fixture
async def session(server: Server) -> AsyncIterator[str]:
    """A new session in the server's directory."""
    name = f"ses_contract-{secrets.token_hex(6)}"
    await server.client.create_session(name, server.directory)
    yield name
    await server.client.abort(name)


async def prompt(server: Server, session: str, message: str, text: str, part: str | None = None) -> None:
    body: dict[str, Any] = {"type": "text", "text": text} | ({"id": part} if part else {})
    await server.client.prompt(session, {"messageID": message, "parts": [body]})
    async with asyncio.timeout(PATIENCE_S):
        while await server.client.message(session, message) is None:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def idle(server: Server, session: str) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while session in await server.client.statuses(server.directory):  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_it_is_healthy_and_says_its_version_and_home(server: Server) -> None:
    assert (await server.client.health(PATIENCE_S)).version == pinned_version()
    assert (await server.client.paths()).home.startswith("/")


async def test_a_route_that_it_does_not_know_is_a_web_page(server: Server) -> None:
    with pytest.raises(NotOpenCode, match="text/html"):
        await server.client._get("/no/such/route", dict[str, Any])


@pytest.mark.parametrize(
    "path", ["/session/status", "/experimental/session", "/project", "/session/ses_1/children"]
)
async def test_a_list_of_two_directories_is_refused_in_a_body_of_its_own(server: Server, path: str) -> None:
    with pytest.raises(Rejected):
        await server.client._get(path, list[Any], params=[("directory", "/"), ("directory", "/")])


async def test_it_says_whether_a_directory_exists(server: Server) -> None:
    assert await server.client.directory_exists(server.directory)
    assert not await server.client.directory_exists(f"{server.directory}/no/such")


async def test_its_agents_and_models_are_known(server: Server) -> None:
    agents = {agent.name: agent for agent in await server.client.agents(server.directory)}
    assert agents["build"].mode == "primary"
    assert agents["general"].mode == "subagent"
    assert agents["title"].hidden
    assert "scripted/main" in await server.client.model_names(server.directory)


async def test_a_session_is_made_once_and_stays_where_it_was_made(server: Server, session: str) -> None:
    assert await server.client.create_session(session, server.other) == server.directory
    assert (await server.client.session(session)).directory == server.directory
    assert session in [found.id for found in await server.client.sessions()]


async def test_a_mark_is_kept(server: Server, session: str) -> None:
    changes = {"title": "Tests", "metadata": {"dx_dispatch": "d1"}}
    for found in (await server.client.update_session(session, changes), await server.client.session(session)):
        assert (found.title, found.metadata) == ("Tests", {"dx_dispatch": "d1"})


async def test_an_unknown_session_is_not_found_and_a_malformed_one_a_fault(server: Server) -> None:
    with pytest.raises(NotFound):
        await server.client.session("ses_none")
    with pytest.raises(ServerFault) as caught:
        await server.client.session("none")
    assert caught.value.log_ref
    assert await server.client.message("ses_none", "msg_none") is None
    await server.client.abort("ses_none")  # it says yes to anything


async def test_an_unknown_message_is_none(server: Server, session: str) -> None:
    assert await server.client.message(session, "msg_none") is None
    assert await server.client.messages(session, limit=5) == ([], None)


async def test_a_working_session_is_busy_in_its_own_directory_and_an_aborted_one_is_absent(
    server: Server, session: str
) -> None:
    await prompt(server, session, f"msg_{session}", WORKS)
    async with asyncio.timeout(PATIENCE_S):
        while session not in (found := await server.client.statuses(server.directory)):  # noqa: ASYNC110
            await asyncio.sleep(0.05)  # a loaded server begins a moment after it took the prompt
    assert found[session].type == "busy"
    assert session not in await server.client.statuses(server.other)
    await server.client.abort(session)
    await idle(server, session)


async def test_a_prompt_that_comes_again_with_its_part_is_stored_once(server: Server, session: str) -> None:
    message = f"msg_{session}"
    for _ in range(3):
        await prompt(server, session, message, WORKS, part=f"prt_{session}")
    stored = await server.client.message(session, message)
    assert stored is not None
    assert [part.text for part in stored.parts] == [WORKS]


async def test_the_end_is_told_and_the_messages_say_what_it_was(server: Server, session: str) -> None:
    async with server.client.events(PATIENCE_S) as events:
        assert (await anext(events))["payload"]["type"] == "server.connected"
        await prompt(server, session, f"msg_{session}", TASK)
        await server.answered(session)
        async with asyncio.timeout(PATIENCE_S):
            async for event in events:
                told = event["payload"]
                if told["type"] == "session.idle" and told["properties"]["sessionID"] == session:
                    break
    messages, _ = await server.client.messages(session, limit=50)
    assert [message.info.role for message in messages] == ["user", "assistant"]
    assert judge(messages).reason_code == "completed"


async def test_messages_come_in_pages_the_newest_first(server: Server, session: str) -> None:
    await prompt(server, session, f"msg_{session}", TASK)
    await server.answered(session)
    newest, cursor = await server.client.messages(session, limit=1)
    assert [message.info.role for message in newest] == ["assistant"]
    assert cursor is not None
    oldest, _ = await server.client.messages(session, limit=1, before=cursor)
    assert [message.info.id for message in oldest] == [f"msg_{session}"]


async def test_a_request_stays_listed_when_its_turn_is_aborted_and_its_step_is_over_then(
    server: Server, session: str
) -> None:
    await prompt(server, session, f"msg_{session}", ASKS)
    await server.asks(session)
    (request,) = [
        found for found in await server.client.permissions(server.directory) if found.session == session
    ]
    assert request.tool is not None
    step = await server.client.message(session, request.tool.message)
    assert step is not None
    assert step.info.time.completed is None
    await server.client.abort(session)
    await idle(server, session)
    if isinstance(server, Fake):
        server.fake.sessions[session].step("a", error={"name": "MessageAbortedError", "data": {}})
    assert request.id in [found.id for found in await server.client.permissions(server.directory)]
    step = await server.client.message(session, request.tool.message)
    assert step is not None
    assert step.info.time.completed is not None


async def test_of_a_deleted_session_nothing_is_left(server: Server, session: str) -> None:
    await server.client.delete_session(session)
    with pytest.raises(NotFound):
        await server.client.messages(session, limit=1)
