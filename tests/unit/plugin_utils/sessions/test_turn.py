# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What became of a turn, by its messages alone: an absent status says nothing (OpenCode 1.18)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.outcome import Evidence, State
from ansible_collections.dx.fleet.plugins.plugin_utils.opencode.models import Message
from ansible_collections.dx.fleet.plugins.plugin_utils.sessions import turn as turn_module
from ansible_collections.dx.fleet.plugins.plugin_utils.sessions.turn import (
    MAX_TOOLS,
    PAGE,
    evidence_of,
    judge,
    read_turn,
)
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.fake_opencode import FakeOpenCode, FakeSession, answer, tool

REJECTED = "The user rejected permission to use this specific tool call."
DISMISSED = "The user dismissed this question"


def api_error(status: int | None, message: str = "no", **data: Any) -> dict[str, Any]:
    known = {} if status is None else {"statusCode": status}
    return {"name": "APIError", "data": {"message": message, **known, **data}}


def named(name: str, message: str = "words") -> dict[str, Any]:
    return {"name": name, "data": {"message": message}}


def messages_of(session: FakeSession) -> list[Message]:
    return [Message.model_validate(each) for each in session.messages]


def turn(tell: Callable[[FakeSession], object]) -> list[Message]:
    """The messages of a turn that began with ``msg_1`` and went as told."""
    session = FakeSession("ses_1", "/srv/a")
    session.user("msg_1", "Run make test")
    tell(session)
    return messages_of(session)


def _steps(session: FakeSession) -> None:
    session.step("a", tool("c"), finish="tool-calls")
    session.step("b", finish="stop", text="ok")


# name: what happened, state, reason_code, whether it can't change any more
TABLE: dict[str, tuple[Callable[[FakeSession], object], State, str, bool]] = {
    "an answer": (lambda s: s.step("a", finish="stop", text="3 passed"), State.COMPLETED, "completed", True),
    "an empty answer": (lambda s: s.step("a", finish="stop"), State.NO_OP, "empty_turn", True),
    "an answer of spaces": (
        lambda s: s.step("a", finish="stop", text=" \n"),
        State.NO_OP,
        "empty_turn",
        True,
    ),
    "an empty answer after a tool call that failed": (
        lambda s: (
            s.step("a", tool("c", status="error", error="no such tool"), finish="tool-calls"),
            s.step("b", finish="stop"),
        ),
        State.NO_OP,
        "empty_turn",
        True,
    ),
    "an empty answer after a shell command that failed": (
        lambda s: (s.step("a", tool("c", exit=2), finish="tool-calls"), s.step("b", finish="stop")),
        State.NO_OP,
        "empty_turn",
        True,
    ),
    "an empty answer after one of two commands": (
        lambda s: (
            s.step("a", tool("c", exit=0), tool("d", exit=2), finish="tool-calls"),
            s.step("b", finish="stop"),
        ),
        State.COMPLETED,
        "completed",
        True,
    ),
    "work without a word": (
        lambda s: (s.step("a", tool("c", exit=0), finish="tool-calls"), s.step("b", finish="stop")),
        State.COMPLETED,
        "completed",
        True,
    ),
    "an answer after a tool": (
        _steps,
        State.COMPLETED,
        "completed",
        True,
    ),
    "cut at the length limit": (lambda s: s.step("a", finish="length"), State.FAILED, "answer_cut", True),
    "blocked by the provider": (
        lambda s: s.step("a", finish="content-filter"),
        State.FAILED,
        "content_filter",
        True,
    ),
    "blocked, told as an error": (
        lambda s: s.step("a", finish="content-filter", error=named("ContentFilterError")),
        State.FAILED,
        "content_filter",
        True,
    ),
    "model says 401": (lambda s: s.step("a", error=api_error(401)), State.FAILED, "model_unauthorized", True),
    "model says 403": (lambda s: s.step("a", error=api_error(403)), State.FAILED, "model_unauthorized", True),
    "model says 429 for good": (
        lambda s: s.step("a", error=api_error(429)),
        State.FAILED,
        "model_rate_limited",
        True,
    ),
    "model says 400": (lambda s: s.step("a", error=api_error(400)), State.FAILED, "model_error", True),
    "model is not there": (lambda s: s.step("a", error=api_error(None)), State.FAILED, "model_error", True),
    "error of an unknown name": (
        lambda s: s.step("a", error=named("NewError")),
        State.FAILED,
        "model_error",
        True,
    ),
    "a status that is no number": (
        lambda s: s.step("a", error=api_error(None, statusCode=["401"])),
        State.FAILED,
        "model_error",
        True,
    ),
    "context is full": (
        lambda s: s.step("a", error=named("ContextOverflowError")),
        State.FAILED,
        "context_overflow",
        True,
    ),
    "broken stream of the model": (
        lambda s: s.step("a", error=named("UnknownError", "JSON parsing failed")),
        State.FAILED,
        "model_error",
        True,
    ),
    "aborted": (
        lambda s: s.step("a", error=named("MessageAbortedError", "Aborted")),
        State.ABORTED,
        "aborted",
        True,
    ),
    "aborted while it retried": (lambda s: s.step("a"), State.ABORTED, "aborted", True),
    "permission rejected": (
        lambda s: s.step("a", tool("c", status="error", error=REJECTED), finish="tool-calls"),
        State.FAILED,
        "input_rejected",
        True,
    ),
    "question rejected": (
        lambda s: s.step("a", tool("c", status="error", error=DISMISSED), finish="tool-calls"),
        State.FAILED,
        "input_rejected",
        True,
    ),
    "between two steps": (
        lambda s: s.step("a", tool("c"), finish="tool-calls"),
        State.FAILED,
        "ended_early",
        False,
    ),
    "stream without a finish": (lambda s: s.step("a", finish="unknown"), State.FAILED, "ended_early", False),
    "the server died": (
        lambda s: s.step("a", tool("c", status="running"), completed=False),
        State.LOST,
        "server_restarted",
        False,
    ),
    "unknown model": (lambda s: None, State.FAILED, "no_answer", False),
}


@pytest.mark.parametrize("case", list(TABLE))
def test_the_last_message_decides(case: str) -> None:
    tell, state, reason, settled = TABLE[case]
    verdict = judge(turn(tell))
    assert (verdict.state, verdict.reason_code, verdict.settled) == (state, reason, settled)


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ([tool("c", exit=0)], "the agent wrote: all good"),
        ([tool("c", exit=2)], "its last command failed (make test -> exit 2); the agent wrote: all good"),
        ([tool("c", exit=2), tool("d", "make", exit=0)], "the agent wrote: all good"),
        (
            [tool("c", exit=0), tool("d", "make", exit=1)],
            "its last command failed (make -> exit 1); the agent",
        ),
        ([tool("c", "sleep 600", exit=None)], "its last command was cut short (sleep 600); the agent wrote"),
        ([tool("c", status="error", error="Tool execution aborted")], "its last command failed (make test);"),
        ([], "the agent wrote: all good"),
    ],
    ids=["passed", "failed", "failed and mended", "failed last", "cut short", "aborted", "none"],
)
def test_a_last_command_that_failed_is_named_before_what_the_agent_wrote(
    parts: list[Any], words: str
) -> None:
    verdict = judge(
        turn(
            lambda s: (s.step("a", *parts, finish="tool-calls"), s.step("b", finish="stop", text="all good"))
        )
    )
    assert verdict.state is State.COMPLETED
    assert verdict.message.startswith(words)


def test_a_command_that_was_cut_short_is_no_completed_one() -> None:
    evidence = evidence_of(turn(lambda s: s.step("a", tool("c", exit=None), finish="stop")), Evidence())
    assert [run.status for run in evidence.tools or ()] == ["cut_short"]


def test_a_message_that_is_not_stored_is_never_success() -> None:
    verdict = judge([])
    assert (verdict.state, verdict.reason_code, verdict.settled) == (State.FAILED, "prompt_not_stored", False)


def test_the_answer_after_compaction_counts_though_its_parent_is_another_message() -> None:
    def tell(session: FakeSession) -> None:
        session.step("a", error=named("ContextOverflowError"))
        session.user("msg_c", "", synthetic=True)
        session.step("b", finish="stop", text="SUMMARY", summary=True, agent="compaction")
        session.user("msg_d", "Continue if you have next steps", synthetic=True)
        session.step("c", finish="stop", text="done")

    verdict = judge(turn(tell))
    assert verdict.state is State.COMPLETED
    assert "done" in verdict.message


@given(st.text(st.characters(exclude_categories=())), st.text())
def test_what_an_agent_or_a_model_says_is_one_printable_line(text: str, error: str) -> None:
    text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    for verdict in (
        judge(turn(lambda s: s.step("a", finish="stop", text=text))),
        judge(turn(lambda s: s.step("a", error=api_error(400, error)))),
    ):
        assert verdict.message.isprintable()


# -- evidence --


def test_the_evidence_is_summed_over_the_steps() -> None:
    def tell(session: FakeSession) -> None:
        session.step("a", tool("c1", exit=2), finish="tool-calls", cost=0.1)
        session.step("b", tool("c2", "cat x", status="error", error="no"), finish="tool-calls", cost=0.2)
        session.step("c", finish="stop", text="3 passed", cost=0.3)

    evidence = evidence_of(turn(tell), Evidence(session="ses_1"))
    assert evidence.session == "ses_1"
    assert (evidence.agent, evidence.model, evidence.steps) == ("build", "scripted/main", 3)
    assert [(run.title, run.status, run.exit) for run in evidence.tools or ()] == [
        ("make test", "completed", 2),
        ("cat x", "error", None),
    ]
    assert evidence.tool_count == 2
    assert (evidence.text, evidence.error, evidence.cost) == ("3 passed", None, 0.6)
    assert evidence.tokens == {"input": 300, "output": 60, "reasoning": 0, "cache_read": 9, "cache_write": 12}
    assert evidence.duration_s == 2.0
    assert (evidence.started_at, evidence.ended_at) == (
        "1970-01-01T00:00:01.000+00:00",
        "1970-01-01T00:00:03.000+00:00",
    )


@pytest.mark.parametrize("code", [True, "0", None, 1.0])
def test_an_exit_code_is_a_number_or_unknown(code: Any) -> None:
    evidence = evidence_of(turn(lambda s: s.step("a", tool("c", exit=code), finish="stop")), Evidence())
    assert [run.exit for run in evidence.tools or ()] == [None]


def test_only_the_last_tools_are_listed_and_all_are_counted() -> None:
    parts = [tool(f"c{number}", f"echo {number}") for number in range(MAX_TOOLS + 5)]
    evidence = evidence_of(turn(lambda s: s.step("a", *parts, finish="stop")), Evidence())
    assert evidence.tool_count == MAX_TOOLS + 5
    assert len(evidence.tools or ()) == MAX_TOOLS
    assert (evidence.tools or ())[0].title == "echo 5"


def test_of_a_turn_that_is_not_over_the_end_is_unknown() -> None:
    evidence = evidence_of(turn(lambda s: s.step("a", completed=False)), Evidence())
    assert (evidence.duration_s, evidence.ended_at) == (None, None)


def test_without_messages_nothing_is_claimed() -> None:
    assert evidence_of([], Evidence()) == Evidence()


def test_the_error_is_told_with_its_status() -> None:
    evidence = evidence_of(turn(lambda s: s.step("a", error=api_error(429, "slow down"))), Evidence())
    assert evidence.error == "APIError 429: slow down"


# -- reading it back --


async def ids(fake: FakeOpenCode, message: str | None) -> list[str]:
    async with fake.client() as server:
        turn = await read_turn(server, "ses_1", message)
        return [each.info.id for each in turn.messages]


async def test_a_turn_is_read_over_as_many_pages_as_it_has() -> None:
    fake = FakeOpenCode()
    session = fake.session()
    session.user("msg_0", "before")
    session.step("b", finish="stop")
    session.user("msg_1", "Run")
    steps = [f"s{number}" for number in range(2 * PAGE)]
    for step in steps:
        session.step(step, finish="tool-calls")
    assert await ids(fake, "msg_1") == ["msg_1", *steps]
    assert await ids(fake, None) == ["msg_1", *steps]
    assert await ids(fake, "msg_0") == ["msg_0", "b"]


async def test_a_later_turn_of_someone_else_is_left_out() -> None:
    fake = FakeOpenCode()
    session = fake.session()
    session.user("msg_1", "Run")
    session.step("a", finish="stop", text="ours")
    session.user("msg_2", "Something else")
    session.step("b", error=api_error(401))
    assert await ids(fake, "msg_1") == ["msg_1", "a"]
    assert await ids(fake, None) == ["msg_2", "b"]


async def test_a_message_that_came_while_the_turn_ran_belongs_to_it() -> None:
    """OpenCode merges it into the running turn, and answers both at once."""
    fake = FakeOpenCode()
    session = fake.session()
    session.user("msg_1", "Run")
    session.step("a", tool("c"), finish="tool-calls")
    session.user("msg_2", "And be quick")
    session.step("b", finish="stop", text="both")
    assert await ids(fake, "msg_1") == ["msg_1", "a", "msg_2", "b"]


async def test_of_a_message_that_is_not_stored_there_is_no_turn() -> None:
    fake = FakeOpenCode()
    session = fake.session()
    session.user("msg_1", "Run")
    assert await ids(fake, "msg_2") == []


async def test_of_a_message_that_is_not_stored_there_is_no_turn_in_a_long_session(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(turn_module, "MAX_MESSAGES", PAGE)
    fake = FakeOpenCode()
    session = fake.session()
    session.user("msg_1", "Run")
    for step in range(2 * PAGE):
        session.step(f"s{step}", finish="stop")
    assert await ids(fake, "msg_2") == []
    assert await ids(fake, "msg_1") == [f"s{step}" for step in range(PAGE, 2 * PAGE)]


async def test_a_turn_that_died_is_over_when_another_goes_on() -> None:
    fake = FakeOpenCode()
    session = fake.session()
    session.user("msg_1", "Run")
    session.step("a", completed=False)
    session.user("msg_2", "Once more")
    assert await ids(fake, "msg_1") == ["msg_1", "a", "msg_2"]
    session.step("b", finish="stop", text="done")
    assert await ids(fake, "msg_1") == ["msg_1", "a"]
    assert await ids(fake, "msg_2") == ["msg_2", "b"]


async def test_a_summary_that_a_person_asked_for_after_the_end_is_left_out() -> None:
    fake = FakeOpenCode()
    session = fake.session()
    session.user("msg_1", "Run")
    session.step("a", finish="stop", text="3 passed")
    session.user("msg_2", "")
    session.messages[-1]["parts"] = [{"id": "prt_2", "type": "compaction"}]
    session.step("b", finish="stop", text="summary", summary=True, mode="compaction")
    assert await ids(fake, "msg_1") == ["msg_1", "a"]
    assert await ids(fake, None) == ["msg_1", "a"]


async def test_a_summary_in_the_middle_of_a_turn_belongs_to_it() -> None:
    fake = FakeOpenCode()
    session = fake.session()
    session.user("msg_1", "Run")
    session.step("a", finish="tool-calls")
    session.user("msg_2", "")
    session.messages[-1]["parts"] = [{"id": "prt_2", "type": "compaction"}]
    session.step("b", finish="stop", text="summary", summary=True, mode="compaction")
    assert await ids(fake, "msg_1") == ["msg_1", "a", "msg_2", "b"]


async def test_a_message_that_is_stored_between_two_looks_is_read_and_no_lie() -> None:
    fake = FakeOpenCode()
    fake.session("ses_1").user("msg_1", "Run")
    fake.add("GET", "/session/ses_1/message", answer(200, []))
    async with fake.client() as server:
        turn = await read_turn(server, "ses_1", "msg_1")
    assert [message.info.id for message in turn.messages] == ["msg_1"]
