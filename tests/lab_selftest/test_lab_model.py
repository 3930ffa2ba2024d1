# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every directive, against a real OpenCode server: what it makes of the model's answers."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from tests.lab import ScriptedModel
from tests.lab.directives import AWKWARD_TEXT

from .sessions import Sessions, text_of

pytestmark = pytest.mark.usefixtures("model")


def test_say(sessions: Sessions) -> None:
    last = sessions.new().run("@say first line\n@say second line")
    assert text_of(last) == "first line\nsecond line"
    assert last["info"]["finish"] == "stop"


def test_plain_text_runs_make_and_tells_the_truth(sessions: Sessions) -> None:
    session = sessions.new()
    assert text_of(session.run("Run make test")) == "tests passed: OK"
    (tool,) = session.tools()
    assert tool["state"]["metadata"]["exit"] == 0
    assert "Ran 3 tests" in tool["state"]["output"]


def test_a_failing_make_is_reported_as_failed(sessions: Sessions) -> None:
    broken = sessions.vm.repo("affordabot") / "BREAK"
    broken.touch()
    try:
        session = sessions.new()
        text = text_of(session.run("Run make test"))
    finally:
        broken.unlink()
    assert text.startswith("make test failed with exit 2: ")
    assert session.tools()[0]["state"]["metadata"]["exit"] == 2


def test_several_steps(sessions: Sessions) -> None:
    session = sessions.new()
    last = session.run("@say Looking.\n@bash echo one\n@write lab-note.txt <<< a\\nb\n@bash cat lab-note.txt")
    note = sessions.vm.repo("affordabot") / "lab-note.txt"
    assert note.read_text() == "a\nb"
    note.unlink()
    assert [tool["tool"] for tool in session.tools()] == ["bash", "write", "bash"]
    assert text_of(session.messages()[1]) == "Looking."
    assert text_of(last).splitlines()[1] == "- one"
    assert text_of(last).splitlines()[3] == "- b"


def test_slow_text_comes_in_pieces(sessions: Sessions) -> None:
    session = sessions.new()
    with session.events() as events:
        session.send("@slow 4 0.3\n@say abcdefghijkl")
        came = []
        for event in events:
            if event["type"] == "message.part.delta":
                came.append((event["properties"]["delta"], time.monotonic()))
            if event["type"] == "session.idle":
                break
    assert "".join(delta for delta, _ in came) == "abcdefghijkl"
    assert came[-1][1] - came[0][1] > 0.6


def test_silence_lasts_till_the_client_goes_away(sessions: Sessions, model: ScriptedModel) -> None:
    session = sessions.new()
    with session.events() as events:
        session.send("@silent\n@say never")
        model.wait_for_prompt("@silent")
        assert model.calls("@silent")[0].answered == "silent"
        session.abort()
        session.end_of_turn(events)
    assert session.messages()[-1]["info"]["error"]["name"] == "MessageAbortedError"
    assert model.calls("@silent")[0].answered == "silent, client went away"


def test_silence_for_some_seconds(sessions: Sessions) -> None:
    begun = time.monotonic()
    assert text_of(sessions.new().run("@silent 0.8\n@say at last")) == "at last"
    assert time.monotonic() - begun > 0.8


@pytest.mark.parametrize("status", [400, 401, 403])
def test_a_status_that_is_final(sessions: Sessions, model: ScriptedModel, status: int) -> None:
    error = sessions.new().run(f"@status {status}")["info"]["error"]
    assert (error["name"], error["data"]["statusCode"]) == ("APIError", status)
    assert [call.answered for call in model.prompts()] == [f"status {status}"]


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_status_that_passes(sessions: Sessions, model: ScriptedModel, status: int) -> None:
    session = sessions.new()
    with session.events() as events:
        session.send(f"@status {status} retry-after=1 times=1\n@say recovered")
        seen = session.end_of_turn(events)
    retries = [status for status in _statuses(seen) if status["type"] == "retry"]
    assert retries
    assert text_of(session.messages()[-1]) == "recovered"
    assert [call.answered for call in model.prompts()] == [f"status {status}", "ok"]


def test_a_long_retry_after_parks_the_session(sessions: Sessions) -> None:
    session = sessions.new()
    with session.events() as events:
        session.send("@status 429 retry-after=3600")
        for event in events:
            status = event["properties"].get("status", {})
            if status.get("type") == "retry":
                break
    assert status["next"] / 1000 - time.time() == pytest.approx(3600, abs=60)


def test_a_dropped_stream_is_tried_again(sessions: Sessions, model: ScriptedModel) -> None:
    assert text_of(sessions.new().run("@drop times=1\n@say whole")).endswith("whole")
    assert [call.answered for call in model.prompts()] == ["drop", "ok"]


def test_malformed_json_fails(sessions: Sessions) -> None:
    error = sessions.new().run("@badjson")["info"]["error"]
    assert error["name"] == "UnknownError"
    assert "JSON" in error["data"]["message"]


def test_no_finish_makes_opencode_call_for_ever(sessions: Sessions, model: ScriptedModel) -> None:
    session = sessions.new()
    session.send("@say again\n@nofinish")
    assert {call.answered for call in model.wait_for_call("@nofinish", count=4)[:3]} == {"no finish"}
    assert len(model.prompts("@nofinish")) == 1
    session.abort()


def test_loop_calls_a_tool_for_ever(sessions: Sessions, model: ScriptedModel) -> None:
    session = sessions.new()
    session.send("@loop")
    model.wait_for_call("@loop", count=5)
    assert len(model.prompts("@loop")) == 1
    session.abort()


def test_permission_is_asked_for(sessions: Sessions) -> None:
    session = sessions.new()
    with session.events() as events:
        session.send("@permission\n@say allowed")
        asked = session.until(events, "permission.asked")[-1]["properties"]
        assert asked["permission"] == "external_directory"
        (pending,) = session.pending("permission")
        session.reply("permission", pending["id"], {"reply": "once"})
        session.end_of_turn(events)
    assert text_of(session.messages()[-1]) == "allowed"
    assert session.tools()[0]["state"]["output"] == Path("/etc/hosts").read_text()


def test_three_identical_calls_are_asked_about(sessions: Sessions) -> None:
    session = sessions.new()
    with session.events() as events:
        session.send("@doom")
        asked = session.until(events, "permission.asked")[-1]["properties"]
    assert asked["permission"] == "doom_loop"


def test_question_is_asked(sessions: Sessions) -> None:
    session = sessions.new()
    with session.events() as events:
        session.send("@question Where to? | staging | production\n@say thanks")
        session.until(events, "question.asked")
        (pending,) = session.pending("question")
        (question,) = pending["questions"]
        assert question["question"] == "Where to?"
        assert [option["label"] for option in question["options"]] == ["staging", "production"]
        session.reply("question", pending["id"], {"answers": [["staging"]]})
        session.end_of_turn(events)
    assert text_of(session.messages()[-1]) == "thanks"


def test_usage_becomes_tokens_and_cost(sessions: Sessions) -> None:
    info = sessions.new().run("@usage 1000 200\n@say costly")["info"]
    assert (info["tokens"]["input"], info["tokens"]["output"]) == (1000, 200)
    assert info["cost"] == pytest.approx(1000 * 3e-6 + 200 * 15e-6)


def test_length(sessions: Sessions) -> None:
    assert sessions.new().run("@say cut\n@length")["info"]["finish"] == "length"


def test_awkward_text_arrives_as_it_is(sessions: Sessions) -> None:
    assert text_of(sessions.new().run("@unicode")) == AWKWARD_TEXT


def test_recall_proves_the_history(sessions: Sessions) -> None:
    session = sessions.new()
    session.run("the word is plum")
    assert text_of(session.run("@recall")) == "Said before:\n1. the word is plum"


def test_a_typo_in_a_directive_is_an_error_of_the_model(sessions: Sessions) -> None:
    error = sessions.new().run("@say a\n@sya b")["info"]["error"]
    assert "unknown directive @sya" in error["data"]["message"]


def test_a_title_is_made_for_a_session_without_one(sessions: Sessions, model: ScriptedModel) -> None:
    sessions.new(title=None).run("@say hello")
    titles = [call for call in model.wait_for_call("@say hello", count=2) if call.kind == "title"]
    assert [call.model for call in titles] == ["small"]
    assert len(model.prompts("@say hello")) == 1


def test_a_call_names_its_vm_and_session(sessions: Sessions, model: ScriptedModel) -> None:
    session = sessions.new()
    session.run("@say who")
    (call,) = model.calls("@say who", vm="epyc6")
    assert (call.vm, call.session) == ("epyc6", session.id)
    assert "bash" in call.tools
    assert model.calls("@say who", vm="macmini") == []


def test_nothing_of_the_session_touches_the_network_or_the_real_home(sessions: Sessions) -> None:
    sessions.new().run("@bash true")
    home = sessions.vm.home
    assert not (home / ".npm").exists()
    assert list((home / ".config" / "opencode" / "node_modules").iterdir()) == []
    assert Path.home() != home


def _statuses(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [event["properties"]["status"] for event in events if event["type"] == "session.status"]
