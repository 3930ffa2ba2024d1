# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the sessions of claims do. What can't be asked may work."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.beads.claim_sessions import SessionSeen, look_at_all
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.errors import ConfigError

from tests.unit.fake_opencode import FakeOpenCode, answer, not_sent, own_error

CLAIM = {"bead": "bd-1", "vm": "epyc6", "dispatch": "bd-1@1", "session": "ses_1", "message": "msg_dx-1"}


async def seen(fake: FakeOpenCode, **claim: Any) -> SessionSeen:
    (found,) = await look_at_all([{**CLAIM, **claim}], {"epyc6": fake.client()}, patience_s=0)
    assert {method for method, _ in fake.requests} <= {"GET"}
    return found


@pytest.fixture
def fake() -> FakeOpenCode:
    server = FakeOpenCode()
    server.session("ses_1").user("msg_dx-1", "Do it")
    return server


@pytest.mark.parametrize("status", ["busy", "retry"])
async def test_a_session_that_works(fake: FakeOpenCode, status: str) -> None:
    fake.sessions["ses_1"].status = {"type": status, "attempt": 1, "message": "429", "next": 1}
    found = await seen(fake)
    assert (found.state, found.maybe_works, found.verdict) == (status, True, None)


async def test_one_that_waits_for_a_person(fake: FakeOpenCode) -> None:
    fake.sessions["ses_1"].status = {"type": "busy"}
    fake.permissions.append({"id": "per_1", "sessionID": "ses_1", "permission": "bash", "patterns": ["x"]})
    found = await seen(fake)
    assert (found.state, found.maybe_works) == ("needs_input", True)


@pytest.mark.parametrize("asks", [True, False])
async def test_one_whose_subagent_works_on(fake: FakeOpenCode, asks: bool) -> None:
    fake.sessions["ses_1"].step("a_1", finish="stop", text="done")
    fake.session("ses_sub", "/srv/elsewhere", parent="ses_1").status = {"type": "busy"}
    if asks:
        fake.permissions.append({"id": "per_1", "sessionID": "ses_sub", "permission": "bash", "patterns": []})
    found = await seen(fake)
    assert (found.state, found.maybe_works) == ("needs_input" if asks else "busy", True)


async def test_one_in_a_directory_that_cannot_be_opened(fake: FakeOpenCode) -> None:
    fake.broken[fake.sessions["ses_1"].directory] = [{"path": [], "message": "Expected object"}]
    found = await seen(fake)
    assert (found.state, found.maybe_works) == ("unknown", True)
    assert "Expected object" in str(found.why)


async def test_an_idle_one_has_a_verdict_on_the_task_of_the_claim(fake: FakeOpenCode) -> None:
    session = fake.sessions["ses_1"]
    session.step("a_1", finish="stop", text="done")
    session.user("msg_2", "someone's own, later")
    session.step("a_2", error={"name": "UnknownError", "data": {}})
    found = await seen(fake)
    assert (found.state, found.maybe_works) == ("idle", False)
    assert found.verdict is not None
    assert found.verdict.reason_code == "completed"


async def test_one_that_never_got_the_task(fake: FakeOpenCode) -> None:
    found = await seen(fake, message="msg_dx-other")
    assert found.verdict is not None
    assert found.verdict.reason_code == "prompt_not_stored"


async def test_one_that_is_not_there_is_gone(fake: FakeOpenCode) -> None:
    found = await seen(fake, session="ses_2")
    assert (found.state, found.maybe_works) == ("gone", False)


@pytest.mark.parametrize(
    "fault",
    [
        not_sent(),
        not_sent(httpx.ConnectTimeout),
        own_error(500, "UnknownError"),
        answer(404, {"message": "no Route matched"}),
        answer(502, b"<html>", "text/html"),
        answer(401),
        answer(200, b"<html>", "text/html"),
        answer(200, b"{", "application/json"),
        answer(404, b"<html>not here", "text/html"),
    ],
)
@pytest.mark.parametrize(
    "path", ["/global/health", "/session/ses_1$", "/session/ses_1/children", "/session/status", "/message$"]
)
async def test_a_server_that_lies_or_is_silent_counts_as_at_work(
    fake: FakeOpenCode, fault: Any, path: str
) -> None:
    fake.add("GET", path, fault, times=99)
    found = await seen(fake)
    assert (found.state, found.maybe_works) == ("unknown", True)
    assert found.why


@pytest.mark.parametrize("claim", [{"session": None}, {"vm": "renamed"}, {"vm": None}])
async def test_a_claim_that_does_not_say_where_counts_as_at_work(
    fake: FakeOpenCode, claim: dict[str, Any]
) -> None:
    found = await seen(fake, **claim)
    assert (found.state, found.maybe_works) == ("unknown", True)
    assert found.why


async def test_one_bad_vm_does_not_hide_the_others(fake: FakeOpenCode) -> None:
    claims = [{**CLAIM, "vm": "old"}, CLAIM]
    servers = {"old": ConfigError("no server", reason_code="url_missing"), "epyc6": fake.client()}
    found = await look_at_all(claims, servers, patience_s=0)
    assert [each.state for each in found] == ["unknown", "idle"]
    assert found[0].why == "no server"


async def test_a_claim_that_names_no_session_says_how_to_end_it(fake: FakeOpenCode) -> None:
    found = await seen(fake, bead="bd-a.1", session=None)
    assert (found.state, found.maybe_works) == ("unknown", True)
    assert "bd update bd-a.1 -s open -a ''" in str(found.why)
