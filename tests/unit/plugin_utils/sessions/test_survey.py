# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a server is doing, in numbers that can be believed."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.errors import PreflightError
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.outcome import State
from ansible_collections.dx.fleet.plugins.plugin_utils.sessions.survey import survey

from tests.unit.fake_opencode import FakeOpenCode, answer, not_sent, own_error


async def found(fake: FakeOpenCode) -> dict[str, Any]:
    async with fake.client() as server:
        result = (await survey(server, "epyc6", patience_s=0)).as_dict()
    assert {method for method, _ in fake.requests} == {"GET"}
    return result


def asks(session: str, **more: Any) -> dict[str, Any]:
    return {"id": f"per_{session}", "sessionID": session, "permission": "bash", "patterns": ["x"], **more}


async def test_sessions_of_all_directories_are_counted_by_what_they_do() -> None:
    fake = FakeOpenCode()
    fake.session("ses_idle", "/srv/a")
    fake.session("ses_busy", "/srv/a", metadata={"dx_dispatch": "d1"}).status = {"type": "busy"}
    fake.session("ses_retry", "/srv/b").status = {"type": "retry", "attempt": 1, "message": "429", "next": 1}
    fake.session("ses_asks", "/srv/b").status = {"type": "busy"}
    fake.permissions.append(asks("ses_asks"))
    result = await found(fake)
    assert result["session_counts"] == {"busy": 1, "retry": 1, "needs_input": 1, "idle": 1, "unreadable": 0}
    states = {session["session"]: session["state"] for session in result["sessions"]}
    assert states == {"ses_asks": "needs_input", "ses_retry": "retry", "ses_busy": "busy", "ses_idle": "idle"}
    assert [session["dispatch"] for session in result["sessions"]] == [None, None, "d1", None]
    assert result["permissions"] == [
        {
            "directory": "/srv/b",
            "id": "per_ses_asks",
            "session": "ses_asks",
            "permission": "bash",
            "patterns": ["x"],
            "metadata": {},
        }
    ]


async def test_a_request_that_an_aborted_turn_left_behind_is_not_counted() -> None:
    fake = FakeOpenCode()
    fake.session("ses_idle", "/srv/a")
    session = fake.session("ses_again", "/srv/a")
    session.step("a_0", error={"name": "MessageAbortedError", "data": {}})
    session.status = {"type": "busy"}
    fake.permissions += [asks("ses_idle"), asks("ses_again", tool={"messageID": "a_0", "callID": "c"})]
    result = await found(fake)
    assert result["session_counts"] == {"busy": 1, "retry": 0, "needs_input": 0, "idle": 1, "unreadable": 0}
    assert result["permissions"] == []


async def test_subagents_are_part_of_their_sessions() -> None:
    fake = FakeOpenCode()
    fake.session("ses_1").status = {"type": "busy"}
    fake.session("ses_sub", parent="ses_1").status = {"type": "busy"}
    result = await found(fake)
    assert [session["session"] for session in result["sessions"]] == ["ses_1"]


async def test_a_session_is_at_work_while_a_subagent_is() -> None:
    fake = FakeOpenCode()
    fake.session("ses_1", cost=0.5)
    fake.session("ses_sub", parent="ses_1", cost=0.25)
    fake.session("ses_below", "/srv/b", parent="ses_sub", cost=0.25).status = {"type": "busy"}
    result = await found(fake)
    assert [(each["session"], each["state"], each["cost"]) for each in result["sessions"]] == [
        ("ses_1", "busy", 1.0)
    ]


async def test_what_a_subagent_asks_is_asked_by_its_session() -> None:
    fake = FakeOpenCode()
    fake.session("ses_1").status = {"type": "busy"}
    fake.session("ses_sub", parent="ses_1").status = {"type": "busy"}
    fake.permissions.append(asks("ses_sub"))
    result = await found(fake)
    assert result["session_counts"]["needs_input"] == 1
    assert [each["state"] for each in result["sessions"]] == ["needs_input"]


async def test_an_old_session_of_which_a_subagent_works_is_shown() -> None:
    fake = FakeOpenCode()
    fake.session("ses_old")
    for number in range(100):
        fake.session(f"ses_{number}")
    fake.session("ses_sub", parent="ses_old").status = {"type": "busy"}
    states = {each["session"]: each["state"] for each in (await found(fake))["sessions"]}
    assert states["ses_old"] == "busy"


@pytest.mark.parametrize("broken", [True, False])
async def test_a_directory_that_cannot_be_opened_spoils_no_other(broken: bool) -> None:
    fake = FakeOpenCode()
    fake.session("ses_well", "/srv/a").status = {"type": "busy"}
    fake.session("ses_ill", "/srv/b")
    if broken:
        fake.broken["/srv/b"] = [{"path": ["provider"], "message": "Expected object, got 7"}]
    else:
        fake.faults_in("/srv/b", own_error(500, "UnknownError", ref="err_1"))
    states = {each["session"]: (each["state"], each["why"]) for each in (await found(fake))["sessions"]}
    assert states["ses_well"] == ("busy", None)
    state, why = states["ses_ill"]
    assert state == "unreadable"
    assert ("/srv/b/opencode.json: provider: Expected object, got 7" if broken else "err_1") in why


@pytest.mark.parametrize("path", ["/global/health", "/path", "/experimental/session", "/session/status"])
async def test_a_server_that_cannot_be_asked_is_an_error(path: str) -> None:
    for fault, state in (
        (not_sent(), State.UNREACHABLE),
        (answer(502, b"<html>", "text/html"), State.UNREACHABLE),
        (answer(200, b"<html>", "text/html"), State.REFUSED),
    ):
        fake = FakeOpenCode()
        fake.session("ses_1")
        fake.add("GET", path, fault, times=100)
        with pytest.raises(PreflightError) as caught:
            await found(fake)
        assert caught.value.state is state
        assert caught.value.next_action
