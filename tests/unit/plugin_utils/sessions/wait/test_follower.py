# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the events of one session are worth: counted once, told once per change, of whatever shape."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.progress import ProgressEvent
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.progress_wording import line_of
from ansible_collections.dx.fleet.plugins.plugin_utils.opencode.models import Message, SessionStatus
from ansible_collections.dx.fleet.plugins.plugin_utils.sessions.wait.follower import Follower, Target
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.endpoints_files import any_json
from tests.unit.fake_opencode import FakeSession, tool


class Followed:
    """A follower, and what it told."""

    def __init__(self) -> None:
        self.told: list[ProgressEvent] = []
        self.follower = Follower(Target("epyc6", "ses_1", "/srv/a"), self.told.append, moved_at=0.0)

    def part(self, part: dict[str, Any], now: float = 1.0) -> bool:
        return self.follower.take("message.part.updated", {"sessionID": "ses_1", "part": part}, now)

    def step(self, name: str, **info: Any) -> bool:
        return self.follower.take("message.updated", {"info": {"id": name, "role": "assistant", **info}}, 1.0)

    def status(self, **status: Any) -> bool:
        return self.follower.take("session.status", {"status": status}, 1.0)

    @property
    def lines(self) -> list[str]:
        return [line_of(event) for event in self.told]


def test_a_tool_is_told_when_it_starts_and_when_it_ends_with_its_exit_code() -> None:
    followed = Followed()
    followed.part(tool("c1", status="pending"))
    followed.part(tool("c1", status="running"))
    followed.part(tool("c1", exit=2))
    followed.part(tool("c2", "cat x", status="error", error="no\nsuch file"))
    followed.part(tool("c3", "sleep"))
    assert followed.lines == [
        "[epyc6] bash: make test",
        "[epyc6] bash: make test -> exit 2",
        "[epyc6] bash: cat x -> no such file",
        "[epyc6] bash: sleep -> done",
    ]
    assert [progress.kind for progress in followed.told] == [
        "tool_started",
        "tool_finished",
        "tool_failed",
        "tool_finished",
    ]


def test_an_event_that_comes_again_is_told_once() -> None:
    followed = Followed()
    for _ in range(50):  # the output of a running tool grows by one event each
        followed.part(tool("c1", status="running"))
    assert followed.lines == ["[epyc6] bash: make test"]


def test_each_retry_is_told_with_its_reason_and_once() -> None:
    followed = Followed()
    for attempt in (1, 1, 2):
        followed.status(type="retry", attempt=attempt, message="Rate limit reached")
    followed.follower.take_status(SessionStatus(type="retry", attempt=2, message="Rate limit reached"))
    assert followed.lines == [
        "[epyc6] Model retry 1: Rate limit reached",
        "[epyc6] Model retry 2: Rate limit reached",
    ]


def test_steps_and_cost_are_counted_once_per_message() -> None:
    followed = Followed()
    followed.step("a", cost=0.0)
    followed.step("a", cost=0.25)
    followed.step("b", cost=0.5)
    followed.step("c", cost="free")
    followed.follower.take("message.updated", {"info": {"id": "u", "role": "user", "cost": 9}}, 1.0)
    assert len(followed.follower.steps) == 3
    assert followed.follower.cost == 0.75


def test_a_command_that_began_before_the_stream_is_shown_once() -> None:
    session = FakeSession("ses_1", "/srv/a")
    session.user("msg_1", "Run")
    session.step("a", tool("c1", status="running"), tool("c0", exit=0), completed=False)
    followed = Followed()
    for _ in range(2):
        followed.follower.take_messages([Message.model_validate(each) for each in session.messages], 5.0)
    followed.part(tool("c1", status="running"))
    assert followed.lines == ["[epyc6] bash: make test"]


def test_what_is_read_back_counts_as_what_was_heard() -> None:
    session = FakeSession("ses_1", "/srv/a")
    session.user("msg_1", "Run")
    session.step("a", cost=0.25)
    session.step("b", cost=0.5)
    followed = Followed()
    followed.step("b", cost=0.1)
    followed.follower.take_messages([Message.model_validate(each) for each in session.messages], 5.0)
    assert followed.follower.steps == {"a", "b"}
    assert followed.follower.cost == 0.75


@pytest.mark.parametrize(
    ("kind", "moves"),
    [
        ("message.part.updated", True),
        ("message.part.delta", True),
        ("message.updated", True),
        ("todo.updated", True),
        ("session.status", False),
        ("session.updated", False),
        ("session.diff", False),
        ("server.heartbeat", False),
    ],
)
def test_only_an_event_of_substance_is_a_move(kind: str, moves: bool) -> None:
    followed = Followed()
    followed.follower.take(kind, {}, 7.0)
    assert (followed.follower.moved_at == 7.0) is moves


def test_messages_that_changed_since_they_were_read_last_are_a_move() -> None:
    session = FakeSession("ses_1", "/srv/a")
    session.user("msg_1", "Run")
    followed = Followed()

    def read(now: float) -> float:
        followed.follower.take_messages([Message.model_validate(each) for each in session.messages], now)
        return followed.follower.moved_at

    assert read(1.0) == 0.0, "there is nothing to compare with yet"
    session.step("a", tool("c", status="running"), completed=False)
    assert read(2.0) == 2.0
    assert read(3.0) == 2.0
    session.step("a", tool("c"), completed=False)
    assert read(4.0) == 4.0


@pytest.mark.parametrize("kind", ["session.idle", "session.error", "permission.asked", "question.asked"])
def test_what_may_be_an_end_is_worth_a_look(kind: str) -> None:
    assert Followed().follower.take(kind, {}, 1.0)


def test_busy_is_not_worth_a_look_and_idle_is() -> None:
    followed = Followed()
    assert not followed.status(type="busy")
    assert not followed.status(type="retry", attempt=1, message="x")
    assert followed.status(type="idle")


def test_the_servers_error_is_kept() -> None:
    followed = Followed()
    error = {"name": "UnknownError", "data": {"message": "Model not found:\n nope/x"}}
    followed.follower.take("session.error", {"error": error}, 1.0)
    assert followed.follower.error == "Model not found: nope/x"


@given(
    st.sampled_from(
        ["message.part.updated", "message.updated", "session.status", "session.error", "session.idle", "x"]
    ),
    st.dictionaries(st.sampled_from(["part", "info", "status", "error", "sessionID"]), any_json),
)
def test_an_event_of_any_shape_does_no_harm(kind: str, properties: dict[str, Any]) -> None:
    followed = Followed()
    followed.follower.take(kind, properties, 1.0)
    assert all(line.isprintable() for line in followed.lines)


@given(any_json, any_json, any_json, st.sampled_from(["running", "completed", "error", "pending", 7, None]))
def test_a_tool_of_any_shape_does_no_harm(name: Any, given_: Any, error: Any, status: Any) -> None:
    followed = Followed()
    state = {"status": status, "input": given_, "title": name, "error": error, "metadata": {"exit": given_}}
    followed.part({"id": "c", "type": "tool", "tool": name, "state": state})
    followed.step("a", cost=given_)
    followed.status(type="retry", attempt=given_, message=error)
    assert all(line.isprintable() for line in followed.lines)
    assert isinstance(followed.follower.cost, float | int)


@pytest.mark.parametrize("place", ["tool", "command", "error", "message"])
def test_what_an_agent_writes_cannot_steer_a_terminal(place: str) -> None:
    evil = "\x1b]0;owned\x07\x1b[2J\n[macmini] ok \u202e"
    followed = Followed()
    part = tool(
        "c", evil if place == "command" else "x", status="error", error=evil if place == "error" else "x"
    )
    followed.part({**part, "tool": evil if place == "tool" else "bash"})
    followed.status(type="retry", attempt=1, message=evil if place == "message" else "x")
    assert len(followed.lines) == 2
    assert all(line.isprintable() for line in followed.lines)
