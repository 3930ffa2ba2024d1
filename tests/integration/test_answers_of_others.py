# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What stands before a real server answers for it: before, after or instead of passing the request on.

The whole product of requests and answers is tried on a server in memory (tests/unit/test_answers_of_others.py).
Here every request meets some of the kinds, and every kind some of the requests; DX_ALL_ANSWERS=1 tries all.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from typing import Literal, cast

import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.beads.claim_sessions import look_at_all
from ansible_collections.dx.fleet.plugins.plugin_utils.beads.dispatcher import Liveness
from ansible_collections.dx.fleet.plugins.plugin_utils.beads.reaping import decide
from ansible_collections.dx.fleet.plugins.plugin_utils.dispatch.place import place
from ansible_collections.dx.fleet.plugins.plugin_utils.dispatch.preflight import look
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.errors import FleetError
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.outcome import State
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.request import Request
from ansible_collections.dx.fleet.plugins.plugin_utils.opencode.client import OpenCode
from ansible_collections.dx.fleet.plugins.plugin_utils.sessions.survey import survey

from tests.lab import Lab, ScriptedModel
from tests.lab.proxy import FaultProxy, answers_for
from tests.reads_of_looks import READS

from .fleet import Fleet, fresh_id
from .in_process import dispatch

HTML = b"<!doctype html><title>Gateway</title>"
KINDS: dict[str, tuple[int, bytes, str]] = {
    "202": (202, b"", "text/plain"),
    "301": (301, HTML, "text/html"),
    "400": (400, HTML, "text/html"),
    "404 in JSON": (404, b'{"message": "no Route matched with those values"}', "application/json"),
    "404 in HTML": (404, HTML, "text/html"),
    "408": (408, b"", "text/plain"),
    "413": (413, HTML, "text/html"),
    "429": (429, b'{"error": {"code": "rate_limited"}}', "application/json"),
    "500": (500, HTML, "text/html"),
    "502": (502, HTML, "text/html"),
    "503": (503, b'{"message": "name resolution failed"}', "application/json"),
    "504": (504, HTML, "text/html"),
    "empty 200": (200, b"", "application/json"),
    "HTML 200": (200, HTML, "text/html"),
    "JSON of another shape": (200, b'{"status": "ok"}', "application/json"),
    "an empty object": (200, b"{}", "application/json"),
    "an empty list": (200, b"[]", "application/json"),
}
# Each request of a dispatch, with how many of the kind come before it, and when others may answer it.
READ, WRITE = ("instead",), ("instead", "after", "before")
REQUESTS: dict[str, tuple[str, str, int, tuple[str, ...]]] = {
    "health": ("GET", r"/global/health$", 0, READ),
    "look for an earlier try": ("GET", r"^/session/[^/]+/message/[^/]+$", 0, READ),
    "the projects": ("GET", r"^/project$", 0, READ),
    "the home": ("GET", r"^/path$", 0, READ),
    "does the directory exist": ("GET", r"^/file$", 0, READ),
    "create the session": ("POST", r"^/api/session$", 0, WRITE),
    "label the session": ("PATCH", r"^/session/[^/]+$", 0, WRITE),
    "send the task": ("POST", r"/prompt_async$", 0, WRITE),
    "confirm that it is stored": ("GET", r"^/session/[^/]+/message/[^/]+$", 1, READ),
    "follow the events": ("GET", r"^/global/event$", 0, READ),
    "what works": ("GET", r"^/session/status$", 0, READ),
    "what waits for permission": ("GET", r"^/permission$", 0, READ),
    "what asks a question": ("GET", r"^/question$", 0, READ),
    "read the messages": ("GET", r"^/session/[^/]+/message$", 0, READ),
    "its subagents": ("GET", r"^/session/[^/]+/children$", 0, READ),
}
LOOKS = [(look, path) for look, paths in READS.items() for path in paths]
BEFORE_THE_TASK = (
    "health",
    "look for an earlier try",
    "the projects",
    "the home",
    "does the directory exist",
)
# An empty list is asked for again, and then it is the server that answers.
ASKED_AGAIN = {("the projects", "an empty list"), ("does the directory exist", "an empty list")}
EACH = len(KINDS) if os.environ.get("DX_ALL_ANSWERS") else 2
AT_A_TIME = 3


@dataclass(frozen=True)
class Spoilt:
    """One answer of somebody else to one request."""

    request: str
    kind: str
    when: str

    def __str__(self) -> str:
        return f"{self.request}: {self.kind} {self.when}"


def spoilt(request: str) -> list[Spoilt]:
    """The kinds for a request: all, or some that come round over the requests."""
    first = list(REQUESTS).index(request) * EACH
    kinds = [list(KINDS)[(first + number) % len(KINDS)] for number in range(EACH)]
    return [Spoilt(request, kind, when) for kind in kinds for when in REQUESTS[request][3]]


@pytest.mark.parametrize("request_", REQUESTS)
def test_what_others_answer_is_no_word_of_the_server(
    lab: Lab, fleet: Fleet, model: ScriptedModel, request_: str
) -> None:
    async def one(each: Spoilt, turns: asyncio.Semaphore) -> None:
        name = f"{fresh_id()}.txt"
        task = f"@silent 0.2\n@bash echo run >> {name}\n@say over with {name}"
        asked = Request(dispatch=fresh_id(), task=task, vm="epyc6", repo="affordabot")
        method, path, after, _ = REQUESTS[each.request]
        when = cast(Literal["instead", "after", "before"], each.when)
        async with turns:
            with FaultProxy(lab.vms["epyc6"].url) as proxy:
                proxy.add(method, path, answers_for(*KINDS[each.kind], when=when), after=after)
                outcome = await dispatch(proxy.url, asked)
            file = lab.vms["epyc6"].repo("affordabot") / name
            if each.request in BEFORE_THE_TASK and (each.request, each.kind) not in ASKED_AGAIN:
                assert outcome.state in (State.REFUSED, State.UNREACHABLE), (str(each), outcome)
                assert not fleet["epyc6"].has(asked.session), str(each)
                assert outcome.next_action, str(each)
            else:
                assert outcome.state is State.COMPLETED, (str(each), outcome)
            # The same dispatch again, with nobody in between: it runs the task if it did not run, and never twice.
            again = await dispatch(lab.vms["epyc6"].url, asked)
            assert again.state is State.COMPLETED, (str(each), again)
            assert file.read_text() == "run\n", str(each)
            assert fleet["epyc6"].prompts(asked.session) == [[task]], str(each)
            assert len(model.prompts(name)) == 1, str(each)

    async def all_of_it() -> None:
        turns = asyncio.Semaphore(AT_A_TIME)
        async with asyncio.TaskGroup() as group:
            for each in spoilt(request_):
                group.create_task(one(each, turns))

    asyncio.run(all_of_it())


async def status_of(url: str, session: str) -> str:
    """What the status calls a session; the state of the VM, where that could not be asked."""
    async with OpenCode(url) as server:
        try:
            found = await survey(server, "epyc6", patience_s=5)
        except FleetError as error:
            return error.state.value
    return {each.session: each.state for each in found.sessions}[session]


async def reaped(url: str, request: Request) -> str:
    """What a reap makes of the claim of a dead dispatcher."""
    claim = {"bead": "bd-1", "vm": "epyc6", "session": request.session, "message": request.message}
    claim |= {"dispatch": request.dispatch, "status": "in_progress", "held_s": 1e6}
    (seen,) = await look_at_all([claim], {"epyc6": OpenCode(url)}, patience_s=5)
    return decide(claim, seen, life=Liveness.GONE, ttl_s=0).state


@pytest.mark.usefixtures("idle_afterwards")
def test_what_others_answer_to_a_status_or_a_reap_concludes_nothing(lab: Lab, fleet: Fleet) -> None:
    """One session works and one is over; whatever is answered for the server, neither is taken for another."""
    url = lab.vms["epyc6"].url
    works, over = (
        Request(fresh_id(), task, "epyc6", repo="affordabot")
        for task in ("@silent 600\n@say never", "@say it")
    )

    async def begun(request: Request) -> None:
        async with OpenCode(url) as server:
            await place(server, request, await look(server, request))

    async def spoilt_look(proxy: FaultProxy, what: str) -> None:
        if what == "status":
            assert await status_of(proxy.url, works.session) in ("busy", "unreachable", "refused")
        else:
            assert await reaped(proxy.url, works) == "kept"
            assert await reaped(proxy.url, over) in ("kept", "blocked")

    async def all_of_it() -> None:
        await begun(works)
        assert (await dispatch(url, over)).state is State.COMPLETED
        assert (await status_of(url, works.session), await reaped(url, over)) == ("busy", "blocked")
        for number, (what, path) in enumerate(LOOKS):
            kinds = [list(KINDS)[(number * EACH + more) % len(KINDS)] for more in range(EACH)]
            for kind in kinds:
                with FaultProxy(url) as proxy:
                    proxy.add("GET", path, answers_for(*KINDS[kind]), times=None)
                    try:
                        await spoilt_look(proxy, what)
                    except AssertionError as error:
                        raise AssertionError(f"{what}, {path}, {kind}: {error}") from error

    asyncio.run(all_of_it())
    assert fleet["epyc6"].works_on(works.session)
