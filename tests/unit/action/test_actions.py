# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The edge to Ansible: options and host variables in, a result or a failed task with an outcome out."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.dx.fleet.plugins.action import (
    opencode_dispatch,
    opencode_info,
    opencode_reply,
    opencode_stop,
    opencode_wait,
)
from ansible_collections.dx.fleet.plugins.plugin_utils.ansible_edge import action as ansible_action
from ansible_collections.dx.fleet.plugins.plugin_utils.opencode.versions import NEWEST_TESTED

from tests.unit.fake_opencode import HOME, URL, answer, answered_for
from tests.unit.run_action import Ansible


@pytest.fixture
def ansible(monkeypatch: pytest.MonkeyPatch) -> Ansible:
    return Ansible(monkeypatch)


def test_an_option_that_is_left_out_comes_from_the_host(
    ansible: Ansible, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PW", "secret")
    ansible.host |= {"opencode_password_env": "PW", "opencode_username": "me"}
    assert ansible.run(opencode_info)["version"] == "1.18.33"
    assert ansible.connected == [{"url": URL, "password": "secret", "username": "me"}]


def test_an_option_that_is_given_goes_before_the_hosts(ansible: Ansible) -> None:
    ansible.host["opencode_password_env"] = "UNSET"
    ansible.run(opencode_info, url="http://other:1", password="mine")
    assert ansible.connected == [{"url": "http://other:1", "password": "mine", "username": "opencode"}]


@pytest.mark.parametrize(
    ("host", "reason"),
    [
        ({"opencode_url": None}, "url_missing"),
        ({"opencode_url": "http://me:secret@epyc6:1"}, "bad_url"),
        ({"opencode_url": "epyc6:4105"}, "bad_url"),
        ({"opencode_url": "http://epyc6:99999"}, "bad_url"),
        ({"opencode_url": "http://-\u00e9-.x:1"}, "bad_url"),
        ({"opencode_password_env": "DX_UNSET"}, "password_missing"),
    ],
)
def test_a_server_that_cannot_be_meant_is_a_failed_task_with_a_reason(
    ansible: Ansible, host: dict[str, Any], reason: str
) -> None:
    ansible.host |= host
    found = ansible.run(opencode_info)
    assert (found["failed"], found["reason_code"]) == (True, reason)
    assert found["outcome"]["vm"] == "epyc6"
    assert found["next_action"] in found["msg"]
    assert "secret" not in str(found)
    assert ansible.fake.requests == []


def test_a_dispatch_returns_what_the_wait_needs(ansible: Ansible) -> None:
    found = ansible.run(opencode_dispatch, repo="affordabot", task="Run make test", id="d1")
    assert (found["changed"], found["replay"], found["id"]) == (True, False, "d1")
    assert (found["directory"], found["version"]) == (f"{HOME}/affordabot", "1.18.33")
    assert ansible.fake.stored(found["session"], found["message"]) == ["Run make test"]
    assert (found["outcome"]["state"], found["outcome"]["reason_code"]) == ("running", "sent")


def test_the_tries_of_one_task_are_one_dispatch(ansible: Ansible) -> None:
    """`until`: the answer to the first try is lost for good, though the task arrived."""
    ansible.fake.add("POST", "/prompt_async$", answered_for(502, b"<html>", "text/html", "after"))
    ansible.fake.add("GET", "/message/", answer(502, b"<html>", "text/html"), times=1000, after=1)
    first = ansible.run(opencode_dispatch, repo="affordabot", task="Run make test")
    assert (first["failed"], first["reason_code"]) == (True, "effect_unknown")
    ansible.fake.mend()
    again = ansible.try_again()
    assert (again["replay"], again["id"]) == (True, first["outcome"]["dispatch"])
    assert len(ansible.fake.sessions) == len(ansible.fake.bodies) == 1


def test_two_tasks_are_two_dispatches(ansible: Ansible) -> None:
    ids = {ansible.run(opencode_dispatch, repo="affordabot", task="Run")["id"] for _ in range(2)}
    assert len(ids) == 2


@pytest.mark.parametrize("check", [True, False])
def test_a_version_that_is_newer_than_tested_is_a_warning(ansible: Ansible, check: bool) -> None:
    ansible.fake.version = "1.99.7"
    found = ansible.run(opencode_dispatch, check=check, repo="affordabot", task="Run make test")
    (warning,) = found["warnings"]
    assert "1.99.7" in warning
    assert NEWEST_TESTED in warning
    ansible.fake.version = NEWEST_TESTED
    assert "warnings" not in ansible.run(opencode_dispatch, check=check, repo="affordabot", task="Run")


def test_a_dispatch_in_check_mode_says_what_it_would_do_and_does_nothing(ansible: Ansible) -> None:
    found = ansible.run(opencode_dispatch, check=True, repo="affordabot", task="Run make test", id="d1")
    assert found["changed"]
    assert found["outcome"]["state"] == "planned"
    assert {method for method, _ in ansible.fake.requests} == {"GET"}


def test_a_replay_changes_nothing_and_says_so(ansible: Ansible) -> None:
    ansible.run(opencode_dispatch, repo="affordabot", task="Run make test", id="d1")
    ansible.fake.requests.clear()
    found = ansible.run(opencode_dispatch, repo="affordabot", task="Run make test", id="d1")
    assert (found["changed"], found["replay"]) == (False, True)
    assert found["outcome"]["reason_code"] == "already_sent"
    assert {method for method, _ in ansible.fake.requests} == {"GET"}


def test_a_disabled_vm_is_refused_unless_it_has_the_task_already(ansible: Ansible) -> None:
    ansible.host["opencode_enabled"] = False
    found = ansible.run(opencode_dispatch, repo="affordabot", task="Run make test", id="d1")
    assert (found["failed"], found["outcome"]["state"], found["reason_code"]) == (
        True,
        "refused",
        "vm_disabled",
    )
    assert {method for method, _ in ansible.fake.requests} <= {"GET"}


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({}, "empty_task"),
        ({"task": " ", "repo": "a"}, "empty_task"),
        ({"task": "x"}, "repo_missing"),
        ({"task": "a\0b", "repo": "a"}, "bad_task_text"),
        ({"task": "\ud83d", "repo": "a"}, "bad_task_text"),
        ({"task": "x" * 262_145, "repo": "a"}, "task_too_large"),
        ({"task": "x", "repo": "a", "id": "a b"}, "bad_dispatch_id"),
        ({"task": "x", "repo": "a", "id": ""}, "bad_dispatch_id"),
        ({"task": "x", "repo": "a", "model": "gpt"}, "bad_model"),
        ({"task": "x", "repo": "../a"}, "bad_repo"),
    ],
)
def test_a_request_that_cannot_be_meant_asks_the_server_nothing(
    ansible: Ansible, options: dict[str, Any], reason: str
) -> None:
    found = ansible.run(opencode_dispatch, **options)
    assert (found["failed"], found["reason_code"], found["outcome"]["state"]) == (True, reason, "refused")
    assert "\n" not in found["msg"]
    assert ansible.fake.requests == []


MACMINI = {
    "inventory_hostname": "macmini",
    "opencode_url": "http://macmini:4105",
    "opencode_aliases": ["mac"],
}


@pytest.mark.parametrize(
    ("action", "options"),
    [
        (opencode_info, {}),
        (opencode_dispatch, {"task": "Run", "repo": "affordabot", "id": "d1"}),
        (opencode_wait, {"session": "ses_1", "message_id": "msg_1"}),
        (opencode_stop, {"name": "mac"}),
        (opencode_reply, {"name": "mac"}),
    ],
    ids=["info", "dispatch", "wait", "stop", "reply"],
)
def test_a_task_that_is_delegated_to_a_vm_is_that_vms(
    ansible: Ansible, action: Any, options: dict[str, Any]
) -> None:
    session = ansible.fake.session("ses_1")
    session.user("msg_1", "Run")
    session.step("a", finish="stop", text="done")
    ansible.delegate_to = "macmini"
    ansible.host["ansible_delegated_vars"] = {"macmini": MACMINI}
    found = ansible.run(action, **options)
    assert not found.get("failed"), found
    assert [client["url"] for client in ansible.connected] == ["http://macmini:4105"]
    assert found.get("outcome", {"vm": "macmini"})["vm"] == "macmini"


@pytest.mark.parametrize(
    "action",
    [opencode_info, opencode_dispatch, opencode_wait, opencode_stop, opencode_reply],
    ids=["info", "dispatch", "wait", "stop", "reply"],
)
@pytest.mark.parametrize("known", [{}, {"localhost": {"inventory_hostname": "localhost"}}])
def test_a_task_that_is_delegated_to_a_host_without_a_server_is_refused(
    ansible: Ansible, action: Any, known: dict[str, Any]
) -> None:
    ansible.delegate_to = "localhost"
    ansible.host["ansible_delegated_vars"] = known
    options: dict[Any, dict[str, Any]] = {
        action: {} for action in (opencode_info, opencode_stop, opencode_reply)
    }
    options[opencode_wait] = {"session": "ses_1"}
    found = ansible.run(action, **options.get(action, {"task": "Run", "repo": "affordabot"}))
    assert (found["failed"], found["reason_code"], found["outcome"]["vm"]) == (
        True,
        "url_missing",
        "localhost",
    )
    assert "leave delegate_to out" in found["next_action"]
    assert ansible.connected == []


@pytest.mark.parametrize("text", ["a\ud83d/b", "a\0/b"])
@pytest.mark.parametrize(
    "name", ["repo", "directory", "session", "agent", "model", "title", "repos", "permission"]
)
def test_a_name_that_is_no_text_is_refused_and_nothing_is_asked(
    ansible: Ansible, name: str, text: str
) -> None:
    nested: dict[str, Any] = {"repos": {text: "/srv"}, "permission": [{"permission": text, "action": "deny"}]}
    options: dict[str, Any] = {"task": "x", "repo": "affordabot", name: nested.get(name, text)}
    found = ansible.run(opencode_dispatch, **options)
    assert (found["failed"], found["reason_code"], found["outcome"]["state"]) == (True, "bad_text", "refused")
    assert found["msg"].isprintable()
    assert ansible.fake.requests == []


@pytest.mark.parametrize("name", ["session", "message_id", "repo"])
def test_a_wait_for_what_is_no_text_is_refused(ansible: Ansible, name: str) -> None:
    options: dict[str, Any] = {"session": "ses_1", name: "a\ud83d"}
    found = ansible.run(opencode_wait, **options)
    assert found["reason_code"] == "bad_text"
    assert ansible.fake.requests == []


def test_a_wait_of_a_finished_session_returns_its_outcome(ansible: Ansible) -> None:
    session = ansible.fake.session("ses_1")
    session.user("msg_1", "Run")
    session.step("a", finish="stop", text="3 passed")
    found = ansible.run(opencode_wait, session="ses_1", message_id="msg_1", id="d1", repo="affordabot")
    assert not found.get("failed")
    assert (found["changed"], found["outcome"]["state"]) == (False, "completed")
    assert (found["outcome"]["dispatch"], found["outcome"]["repo"]) == ("d1", "affordabot")


def test_a_bad_outcome_is_a_failed_task_with_the_command_to_run_next(ansible: Ansible) -> None:
    session = ansible.fake.session("ses_1")
    session.user("msg_1", "Run")
    session.step("a", error={"name": "APIError", "data": {"statusCode": 401, "message": "no"}})
    found = ansible.run(opencode_wait, session="ses_1", repo="affordabot")
    assert (found["failed"], found["reason_code"]) == (True, "model_unauthorized")
    assert found["next_action"] == "dx-dispatch epyc6 affordabot 'Continue work' --session ses_1"
    assert found["outcome"]["next_action"] == found["next_action"]


def test_several_sessions_give_as_many_outcomes_and_the_first_bad_one_fails_the_task(
    ansible: Ansible,
) -> None:
    for name, finish in (("ses_1", "stop"), ("ses_2", "length"), ("ses_3", "stop")):
        session = ansible.fake.session(name)
        session.user(f"msg_{name}", "Run")
        session.step(f"a_{name}", finish=finish, text="done")
    wanted = [{"vm": "epyc6", "session": name} for name in ("ses_1", "ses_2", "ses_3")]
    found = ansible.run(opencode_wait, sessions=wanted)
    assert [outcome["state"] for outcome in found["outcomes"]] == ["completed", "failed", "completed"]
    assert (found["failed"], found["reason_code"]) == (True, "answer_cut")


def test_the_password_of_the_task_is_never_sent_to_another_server(
    ansible: Ansible, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PW", "secret")
    ansible.host["opencode_password_env"] = "PW"
    for name in ("ses_1", "ses_2"):
        session = ansible.fake.session(name)
        session.user(f"msg_{name}", "Run")
        session.step(f"a_{name}", finish="stop")
    wanted = [
        {"vm": "epyc6", "session": "ses_1"},
        {"vm": "macmini", "session": "ses_2", "url": "http://macmini:4105"},
    ]
    ansible.run(opencode_wait, sessions=wanted)
    passwords = {made["url"]: made["password"] for made in ansible.connected}
    assert passwords == {URL: "secret", "http://macmini:4105": None}


@pytest.mark.parametrize(
    "options", [{}, {"session": "ses_1", "timeout": -1.0}, {"session": "ses_1", "max_cost": -1.0}]
)
def test_a_wait_that_cannot_be_meant_is_refused(ansible: Ansible, options: dict[str, Any]) -> None:
    found = ansible.run(opencode_wait, **options)
    assert found["failed"]
    assert found["reason_code"] in ("session_missing", "bad_limit")
    assert ansible.fake.requests == []


def test_an_unknown_session_is_a_failure_and_no_wait(ansible: Ansible) -> None:
    found = ansible.run(opencode_wait, session="ses_none")
    assert found["failed"]
    assert found["outcome"]["state"] == "failed"


def test_in_check_mode_nothing_is_waited_for(ansible: Ansible) -> None:
    assert ansible.run(opencode_wait, check=True, session="ses_1")["skipped"]
    assert ansible.fake.requests == []


def test_a_missing_library_fails_the_task_and_says_what_to_install(
    ansible: Ansible, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ansible_action, "MISSING_LIBRARY", ImportError("No module named 'httpx'"))
    with pytest.raises(Exception, match="pip install httpx"):
        ansible.run(opencode_info)
