# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever text or data comes in, there is a result or an error of ours, in one line; never a traceback.

The endpoints file has its own examples in plugin_utils/test_endpoints.py, the words of a command line in
plugin_utils/cli/test_arguments.py, a server's answers in plugin_utils/opencode/test_client.py.
"""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from ansible_collections.dx.fleet.plugins.action import opencode_dispatch, opencode_info, opencode_wait
from ansible_collections.dx.fleet.plugins.plugin_utils.cli.document import document, encoded
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.outcome import Outcome, exit_code
from ansible_collections.dx.fleet.plugins.plugin_utils.sessions.wait import pace
from hypothesis import example, given
from hypothesis import strategies as st

from tests import schemas
from tests.unit.endpoints_files import any_json
from tests.unit.fake_opencode import HOME, answer
from tests.unit.run_action import Ansible

RESULT = jsonschema.Draft202012Validator(
    json.loads((schemas.DIRECTORY / "dispatch-result.schema.json").read_text())
)

anything = st.text(st.characters(exclude_categories=()), max_size=20)
names = anything | st.sampled_from(
    [
        "affordabot",
        "..",
        "../..",
        "/",
        "~",
        "~/",
        "~nobody",
        "a/b",
        ".",
        "ses_1",
        "scripted/main",
        "/main",
        "x/",
    ]
)
a_request = st.fixed_dictionaries(
    {},
    optional={
        "task": anything | st.just("Run make test"),
        "id": names,
        "repo": names,
        "directory": names,
        "session": names,
        "agent": names,
        "model": names,
        "title": names,
        "url": names
        | st.sampled_from(["http://epyc6:1", "http://[", "ftp://x", "http://\ud83d", "http://a b"]),
        "password": anything,
        "username": anything,
        "repos": st.dictionaries(names, names, max_size=2),
        "repos_root": names,
        "max_concurrent": st.integers(-1, 2),
        "enabled": st.booleans(),
    },
)


def check(found: dict[str, Any]) -> None:
    """A result that a person and a program can read."""
    outcome = Outcome.from_dict(found["outcome"])
    RESULT.validate(json.loads(encoded(document(exit_code([outcome.state]), [outcome]))))
    if found.get("failed"):
        assert "\n" not in found["msg"]
        assert found["reason_code"]
        assert found["next_action"]


@given(a_request)
def test_any_request_is_sent_or_refused(options: dict[str, Any]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        ansible = Ansible(patch)
        ansible.fake.session("ses_1", f"{HOME}/affordabot")
        found = ansible.run(opencode_dispatch, **options)
    check(found)
    sent = ansible.fake.count("POST", "/prompt_async$")
    assert sent == (0 if found.get("failed") else 1)


@given(
    st.sampled_from(["/global/health", "/path", "/project", "/file", "/session/", "/agent", "/config"]),
    any_json,
)
def test_any_answer_of_a_server_ends_in_a_result_or_an_error(path: str, body: Any) -> None:
    with pytest.MonkeyPatch.context() as patch:
        ansible = Ansible(patch)
        ansible.fake.add("GET", path, answer(200, json.dumps(body).encode()), times=100)
        options = {"repo": "affordabot", "task": "Run", "agent": "build", "model": "scripted/main"}
        check(ansible.run(opencode_dispatch, check=True, **options))


@given(
    st.sampled_from(["/global/health", "/path", "/experimental/session", "/session/status", "/permission"]),
    any_json,
)
@example("/session/status", {"\n": None})
def test_any_answer_to_a_survey_is_a_survey_or_an_error(path: str, body: Any) -> None:
    with pytest.MonkeyPatch.context() as patch:
        ansible = Ansible(patch)
        ansible.fake.session("ses_1").status = {"type": "busy"}
        ansible.fake.add("GET", path, answer(200, json.dumps(body).encode()), times=100)
        found = ansible.run(opencode_info)
    if found.get("failed"):
        check(found)
    else:
        json.dumps(found)


FIELDS = [
    "cost",
    "tokens",
    "finish",
    "agent",
    "mode",
    "modelID",
    "providerID",
    "time",
    "error",
    "summary",
    "model",
]
STATE = ["status", "input", "title", "metadata", "error", "time"]


def some_of(fields: list[str]) -> st.SearchStrategy[Any]:
    """An object with some of these fields, each any JSON; or any JSON."""
    return st.dictionaries(st.sampled_from(fields), any_json, max_size=4) | any_json


@given(some_of(FIELDS), some_of(STATE), st.none() | some_of(["name", "data"]))
def test_any_message_of_a_server_is_judged_or_an_error(info: Any, state: Any, error: Any) -> None:
    """Of the right outline, so that it gets past the first look."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pace, "LOOK_EVERY_S", 0.001)
        ansible = Ansible(patch)
        session = ansible.fake.session("ses_1")
        session.user("msg_1", "Run")
        session.step("a", finish="stop", text="done")
        message = session.messages[-1]
        message["info"] |= {"error": error} if error is not None else {}
        message["info"] |= info if isinstance(info, dict) else {}
        message["parts"].append({"id": "p", "type": "tool", "tool": "bash", "state": state})
        raw = json.dumps(session.messages).encode()
        ansible.fake.add("GET", "/session/ses_1/message$", answer(200, raw), times=100_000)
        check(ansible.run(opencode_wait, session="ses_1", message_id="msg_1", server_grace=0.0, timeout=0.05))
