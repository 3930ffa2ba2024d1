# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is looked at before anything is sent; a look changes nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import httpx
import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.dispatch.preflight import Plan, look
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.errors import PreflightError
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.outcome import State
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.request import Request, Resolution
from ansible_collections.dx.fleet.plugins.plugin_utils.opencode.versions import NEWEST_TESTED, OLDEST

from tests.unit.fake_opencode import HOME, FakeOpenCode, answer, lost, not_sent, own_error, unauthorized

REQUEST = Request(dispatch="d1", task="Run make test", vm="epyc6", repo="affordabot")


async def planned(fake: FakeOpenCode, request: Request = REQUEST, *, patience_s: float = 0.0) -> Plan:
    async with fake.client() as server:
        plan = await look(server, request, patience_s=patience_s)
    assert {method for method, _ in fake.requests} == {"GET"}, "a look changes nothing"
    return plan


async def refused(fake: FakeOpenCode, request: Request = REQUEST) -> PreflightError:
    with pytest.raises(PreflightError) as caught:
        await planned(fake, request)
    assert {method for method, _ in fake.requests} <= {"GET"}
    error = caught.value
    assert "\n" not in error.message
    assert error.next_action
    return error


# -- the server --


HTML = b"<html>"


@pytest.mark.parametrize(
    ("fault", "state", "reason", "advice"),
    [
        (
            not_sent(),
            State.UNREACHABLE,
            "connection_refused",
            "start the server on epyc6: opencode serve --hostname epyc6 --port 4105",
        ),
        (not_sent(httpx.ConnectTimeout), State.UNREACHABLE, "connect_timeout", "tailscale ping epyc6"),
        (
            lost(httpx.ReadTimeout),
            State.UNREACHABLE,
            "answer_timeout",
            "curl -m 5 http://epyc6:4105/global/health",
        ),
        (answer(502, HTML, "text/html"), State.UNREACHABLE, "gateway_error", "behind the gateway"),
        (own_error(500, "UnknownError", ref="err_1"), State.UNREACHABLE, "server_error", "look for err_1 in"),
        (unauthorized(), State.REFUSED, "unauthorized", "password_env of epyc6"),
        (answer(200, HTML, "text/html"), State.REFUSED, "not_opencode", "lsof -nP -iTCP:4105 -sTCP:LISTEN"),
        (answer(200, {"healthy": False, "version": "1"}), State.REFUSED, "not_opencode", "lsof"),
        (answer(200, {"status": "ok"}), State.REFUSED, "not_opencode", "lsof"),
        (answer(404, {"message": "no Route matched"}), State.REFUSED, "not_opencode", "lsof"),
        (answer(301, b"", "text/html"), State.REFUSED, "redirected", "curl -sI http://epyc6:4105"),
    ],
)
async def test_a_server_that_is_not_there_or_not_opencode_gets_nothing(
    fault: Any, state: State, reason: str, advice: str
) -> None:
    fake = FakeOpenCode()
    fake.add("GET", "/global/health", fault, times=100)
    error = await refused(fake)
    assert (error.state, error.reason_code) == (state, reason)
    assert advice in (error.next_action or "")


@pytest.mark.parametrize("version", ["1.17.19", "1.18.3", "1.18.14", "0.9.1", "2.3.2", "dev", ""])
async def test_a_version_that_was_never_tested_is_refused_with_the_one_that_is_needed(version: str) -> None:
    fake = FakeOpenCode()
    fake.version = version
    error = await refused(fake)
    assert (error.state, error.reason_code) == (State.REFUSED, "version_unsupported")
    assert f"runs OpenCode {version}" in error.message
    assert OLDEST in error.message
    assert f"npm install -g opencode-ai@{NEWEST_TESTED}" in (error.next_action or "")
    assert "--hostname epyc6 --port 4105" in (error.next_action or "")
    assert [path for _, path in fake.requests] == ["/global/health"]


async def test_an_opencode_2_is_told_from_another_service_by_its_own_page() -> None:
    fake = FakeOpenCode()
    fake.add("GET", "/global/health", answer(200, HTML, "text/html"))
    fake.add("GET", "/api/info", answer(200, {"version": "2.3.2", "pid": 1, "urls": [], "paths": {}}))
    error = await refused(fake)
    assert (error.state, error.reason_code) == (State.REFUSED, "version_unsupported")
    assert "runs OpenCode 2.3.2" in error.message


@pytest.mark.parametrize(("version", "warns"), [(OLDEST, False), (NEWEST_TESTED, False), ("1.99.0", True)])
async def test_a_version_that_is_newer_than_tested_goes_on_with_a_warning(version: str, warns: bool) -> None:
    fake = FakeOpenCode()
    fake.version = version
    plan = await planned(fake)
    assert (plan.warning is not None) is warns
    if plan.warning is not None:
        assert version in plan.warning
        assert NEWEST_TESTED in plan.warning


async def test_a_server_that_is_silent_for_a_while_is_waited_for() -> None:
    """A starting server never answers what it got too early: each try is a request of its own."""
    fake = FakeOpenCode()
    fake.add("GET", "/global/health", lost(httpx.ReadTimeout), times=3)
    assert (await planned(fake, patience_s=60)).server_version == "1.18.33"
    assert fake.count("GET", "/global/health") == 4


async def test_a_server_that_refuses_is_not_waited_for() -> None:
    fake = FakeOpenCode()
    fake.add("GET", "/global/health", not_sent(), times=100)
    with pytest.raises(PreflightError):
        await planned(fake, patience_s=60)
    assert len(fake.requests) == 1


async def test_a_stranger_that_has_a_health_page_is_found_out_by_the_next_look() -> None:
    fake = FakeOpenCode()
    fake.add("GET", "/session/", answer(404, b"404 page not found", "text/plain"), times=100)
    error = await refused(fake)
    assert (error.state, error.reason_code) == (State.REFUSED, "not_opencode")


async def test_what_a_gateway_answers_to_the_question_for_the_directory_is_not_that_there_is_none() -> None:
    fake = FakeOpenCode()
    fake.add("GET", "/file", answer(503, HTML, "text/html"), times=100)
    error = await refused(fake)
    assert (error.state, error.reason_code) == (State.UNREACHABLE, "gateway_error")


async def test_a_project_with_a_broken_configuration_is_refused_with_its_file() -> None:
    fake = FakeOpenCode()
    fake.broken[f"{HOME}/affordabot"] = [{"path": ["provider"], "message": "Expected object, got 7"}]
    error = await refused(fake)
    assert (error.state, error.reason_code) == (State.REFUSED, "config_invalid")
    assert f"{HOME}/affordabot/opencode.json is broken: provider: Expected object, got 7" in error.message
    assert error.next_action == f"mend {HOME}/affordabot/opencode.json on epyc6"


# -- the directory --


@pytest.mark.parametrize(
    ("request_", "directory"),
    [
        (REQUEST, f"{HOME}/affordabot"),
        (
            replace(REQUEST, resolution=Resolution(repos={"affordabot": "/srv/repos/affordabot"})),
            "/srv/repos/affordabot",
        ),
        (replace(REQUEST, resolution=Resolution(repos_root="/srv/repos/")), "/srv/repos/affordabot"),
        (replace(REQUEST, resolution=Resolution(repos={"other": "/x"})), f"{HOME}/affordabot"),
        (replace(REQUEST, directory="/srv/repos/affordabot/"), "/srv/repos/affordabot"),
        (replace(REQUEST, directory="~/affordabot", repo=None), f"{HOME}/affordabot"),
        (replace(REQUEST, repo="~/affordabot"), f"{HOME}/affordabot"),
        (replace(REQUEST, repo="/srv/repos/affordabot"), "/srv/repos/affordabot"),
    ],
)
async def test_a_repo_becomes_the_directory_that_is_said_for_it(request_: Request, directory: str) -> None:
    plan = await planned(FakeOpenCode(), request_)
    assert plan.directory == directory
    assert not plan.replay


async def test_a_project_that_the_server_knows_is_found_wherever_it_is() -> None:
    fake = FakeOpenCode()
    fake.directories = {"/srv/repos/affordabot"}
    fake.projects = ["/", "/srv/other", "/srv/repos/affordabot"]
    assert (await planned(fake)).directory == "/srv/repos/affordabot"


@pytest.mark.parametrize("home", [True, False])
async def test_two_places_of_one_name_are_refused_with_the_list(home: bool) -> None:
    fake = FakeOpenCode()
    places = ["/srv/repos/affordabot", f"{HOME}/affordabot" if home else "/srv/clients/affordabot"]
    fake.directories = set(places)
    fake.projects = ["/srv/repos/affordabot"] if home else places
    error = await refused(fake)
    assert (error.state, error.reason_code) == (State.REFUSED, "repo_ambiguous")
    assert ", ".join(places) in error.message
    assert (await planned(fake, replace(REQUEST, repo=places[1]))).directory == places[1]


async def test_two_names_of_one_place_are_one() -> None:
    fake = FakeOpenCode()
    fake.projects = ["/srv/repos/affordabot"]
    fake.links[f"{HOME}/affordabot"] = "/srv/repos/affordabot"
    assert (await planned(fake)).directory == "/srv/repos/affordabot"


async def test_a_project_that_is_gone_is_passed_over() -> None:
    fake = FakeOpenCode()
    fake.projects = ["/gone/affordabot"]
    assert (await planned(fake)).directory == f"{HOME}/affordabot"


async def test_a_repo_that_is_not_there_is_answered_with_what_was_tried() -> None:
    fake = FakeOpenCode()
    fake.projects = ["/gone/prime-radiant"]
    error = await refused(fake, replace(REQUEST, repo="prime-radiant"))
    assert (error.state, error.reason_code) == (State.REFUSED, "repo_not_found")
    assert "/gone/prime-radiant" in error.message
    assert f"{HOME}/prime-radiant" in error.message


async def test_what_the_file_says_of_a_repo_is_not_guessed_away() -> None:
    fake = FakeOpenCode()
    request = replace(REQUEST, resolution=Resolution(repos={"affordabot": "/gone"}, repos_root="/srv/repos"))
    error = await refused(fake, request)
    assert error.reason_code == "repo_not_found"
    assert error.message.endswith("tried /gone")


# -- the dispatch --


async def test_a_dispatch_that_was_sent_is_a_replay_in_its_own_directory() -> None:
    fake = FakeOpenCode()
    fake.session(REQUEST.session, "/srv/repos/affordabot").user(REQUEST.message, REQUEST.task)
    plan = await planned(fake, replace(REQUEST, task="", repo=None))
    assert plan == Plan(REQUEST.session, REQUEST.message, "/srv/repos/affordabot", "1.18.33", replay=True)


@pytest.mark.parametrize("differs", [{"directory": HOME}, {"agent": "plan"}, {"model": "scripted/small"}])
async def test_an_id_that_was_used_elsewhere_or_otherwise_is_refused(differs: dict[str, Any]) -> None:
    fake = FakeOpenCode()
    fake.session(REQUEST.session, "/srv/repos/affordabot").user(REQUEST.message, REQUEST.task)
    fake.directories.add(HOME)
    asked = replace(REQUEST, repo=None)
    error = await refused(fake, replace(asked, **differs))
    assert (error.state, error.reason_code) == (State.REFUSED, "dispatch_id_in_use")


async def test_a_dispatch_whose_text_was_stored_twice_is_the_same() -> None:
    fake = FakeOpenCode()
    session = fake.session(REQUEST.session)
    session.user(REQUEST.message, REQUEST.task)
    session.messages[0]["parts"] *= 2
    assert (await planned(fake)).replay


async def test_an_id_that_was_used_for_another_task_is_refused() -> None:
    fake = FakeOpenCode()
    fake.session(REQUEST.session).user(REQUEST.message, "Something else")
    error = await refused(fake)
    assert (error.state, error.reason_code) == (State.REFUSED, "dispatch_id_in_use")


async def test_an_unknown_dispatch_cannot_be_joined() -> None:
    error = await refused(FakeOpenCode(), replace(REQUEST, task="", repo=None))
    assert (error.state, error.reason_code) == (State.REFUSED, "unknown_dispatch")


async def test_a_session_without_our_message_is_not_a_replay() -> None:
    fake = FakeOpenCode()
    fake.session(REQUEST.session)
    assert not (await planned(fake)).replay


# -- the session to resume --

RESUME = replace(REQUEST, repo=None, resume="ses_old")


async def test_a_resumed_session_goes_on_in_its_own_directory() -> None:
    fake = FakeOpenCode()
    fake.session("ses_old", "/srv/repos/affordabot")
    plan = await planned(fake, RESUME)
    assert (plan.session, plan.directory) == ("ses_old", "/srv/repos/affordabot")


async def test_a_session_whose_directory_is_gone_is_refused() -> None:
    """OpenCode would make it anew, and empty."""
    fake = FakeOpenCode()
    fake.session("ses_old", "/srv/worktrees/gone")
    error = await refused(fake, RESUME)
    assert (error.state, error.reason_code) == (State.REFUSED, "directory_gone")
    assert "/srv/worktrees/gone" in error.message


async def test_a_session_in_a_broken_project_is_refused_with_its_file() -> None:
    fake = FakeOpenCode()
    fake.session("ses_old", "/srv/repos/affordabot")
    fake.broken["/srv/repos/affordabot"] = [{"path": [], "message": "no"}]
    assert (await refused(fake, RESUME)).reason_code == "config_invalid"


async def test_a_resumed_session_may_be_named_with_its_repo() -> None:
    fake = FakeOpenCode()
    fake.session("ses_old", f"{HOME}/affordabot")
    assert (await planned(fake, replace(RESUME, repo="affordabot"))).session == "ses_old"


@pytest.mark.parametrize("name", ["ses_none", "none", "../x", ""])
async def test_an_unknown_session_is_said_to_be_unknown(name: str) -> None:
    """OpenCode answers a malformed id with 500."""
    error = await refused(FakeOpenCode(), replace(RESUME, resume=name or "x y"))
    assert (error.state, error.reason_code) == (State.REFUSED, "unknown_session")


async def test_a_session_of_another_directory_is_refused() -> None:
    fake = FakeOpenCode()
    fake.session("ses_old", "/srv/repos/affordabot")
    error = await refused(fake, replace(RESUME, repo="affordabot"))
    assert (error.state, error.reason_code) == (State.REFUSED, "session_elsewhere")
    assert "/srv/repos/affordabot" in error.message


@pytest.mark.parametrize(
    "status", [{"type": "busy"}, {"type": "retry", "attempt": 1, "message": "429", "next": 1}]
)
async def test_a_busy_session_is_refused(status: dict[str, Any]) -> None:
    fake = FakeOpenCode()
    fake.session("ses_old").status = status
    error = await refused(fake, RESUME)
    assert (error.state, error.reason_code) == (State.REFUSED, "session_busy")


async def test_a_session_of_which_a_subagent_works_is_busy() -> None:
    fake = FakeOpenCode()
    fake.session("ses_old")
    fake.session("ses_sub", parent="ses_old").status = {"type": "busy"}
    assert (await refused(fake, RESUME)).reason_code == "session_busy"


async def test_a_session_that_is_listed_as_idle_is_not_busy() -> None:
    fake = FakeOpenCode()
    fake.session("ses_old").status = {"type": "idle"}
    assert (await planned(fake, RESUME)).session == "ses_old"


# -- capacity, agent, model --


async def test_a_vm_at_its_capacity_refuses() -> None:
    fake = FakeOpenCode()
    for number in range(3):
        fake.session(f"ses_{number}", f"/srv/{number}").status = {"type": "busy"}
    fake.session("ses_idle", "/srv/0")
    assert not (await planned(fake, replace(REQUEST, max_concurrent=4))).replay
    error = await refused(fake, replace(REQUEST, max_concurrent=3))
    assert (error.state, error.reason_code) == (State.REFUSED, "at_capacity")
    assert "3 busy" in error.message


async def test_a_session_and_its_subagents_are_one_at_work() -> None:
    fake = FakeOpenCode()
    fake.session("ses_1")
    for name in ("ses_a", "ses_b"):
        fake.session(name, parent="ses_1").status = {"type": "busy"}
    assert not (await planned(fake, replace(REQUEST, max_concurrent=2))).replay
    assert "1 busy" in (await refused(fake, replace(REQUEST, max_concurrent=1))).message


async def test_a_directory_that_cannot_be_opened_is_no_load() -> None:
    fake = FakeOpenCode()
    fake.session("ses_ill", "/srv/b")
    fake.session("ses_worse", "/srv/c")
    fake.broken["/srv/b"] = [{"path": [], "message": "no"}]
    fake.faults_in("/srv/c", own_error(500, "UnknownError"))
    assert not (await planned(fake, replace(REQUEST, max_concurrent=1))).replay


async def test_a_replay_is_no_further_load() -> None:
    fake = FakeOpenCode()
    session = fake.session(REQUEST.session)
    session.user(REQUEST.message, REQUEST.task)
    session.status = {"type": "busy"}
    assert (await planned(fake, replace(REQUEST, max_concurrent=1))).replay


@pytest.mark.parametrize("agent", ["build", "plan"])
async def test_an_agent_that_can_lead_is_taken(agent: str) -> None:
    await planned(FakeOpenCode(), replace(REQUEST, agent=agent))


@pytest.mark.parametrize("agent", ["nosuch", "general", "title", ""])
async def test_any_other_agent_is_unknown_and_the_known_ones_are_named(agent: str) -> None:
    error = await refused(FakeOpenCode(), replace(REQUEST, agent=agent))
    assert (error.state, error.reason_code) == (State.REFUSED, "unknown_agent")
    assert "it has build, plan" in error.message


async def test_what_a_server_calls_its_agents_cannot_steer_a_terminal() -> None:
    fake = FakeOpenCode()
    fake.agents = [{"name": "\x1b]0;owned\x07\nbuild", "mode": "primary"}]
    assert (await refused(fake, replace(REQUEST, agent="nosuch"))).message.isprintable()


async def test_an_unknown_model_is_answered_with_the_known_ones() -> None:
    await planned(FakeOpenCode(), replace(REQUEST, model="scripted/main"))
    error = await refused(FakeOpenCode(), replace(REQUEST, model="scripted/none"))
    assert (error.state, error.reason_code) == (State.REFUSED, "unknown_model")
    assert "scripted/main, scripted/small" in error.message


async def test_of_many_models_only_some_are_named() -> None:
    fake = FakeOpenCode()
    fake.models = {"p": [f"m{number:03}" for number in range(300)]}
    error = await refused(fake, replace(REQUEST, model="p/none"))
    assert "and 288 more" in error.message


@pytest.mark.parametrize(
    ("kept", "repo"), [({"dx_repo": "affordabot"}, "affordabot"), ({}, None), ({"dx_repo": 7}, None)]
)
async def test_who_joins_by_the_id_alone_learns_the_repo_from_the_session(
    kept: dict[str, Any], repo: str | None
) -> None:
    fake = FakeOpenCode()
    fake.session(REQUEST.session, metadata=kept).user(REQUEST.message, REQUEST.task)
    joined = replace(REQUEST, task="", repo=None)
    assert (await planned(fake, joined)).repo == repo
