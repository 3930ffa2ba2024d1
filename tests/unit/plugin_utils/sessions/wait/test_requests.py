# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What waits for a person is found soon; what only seems to is not."""

from __future__ import annotations

from ansible_collections.dx.fleet.plugins.plugin_utils.domain.outcome import State
from ansible_collections.dx.fleet.plugins.plugin_utils.sessions.wait import pace

from tests.unit.fake_opencode import tool

from .watched import DIRECTORY, Watched


async def test_a_pending_permission_ends_the_wait_by_its_event(watched: Watched) -> None:
    await watched.begin()
    watched.fake.tell("permission.asked", watched.ask())
    outcome = await watched.outcome()
    assert (outcome.state, outcome.reason_code) == (State.NEEDS_INPUT, "permission_pending")
    assert outcome.message_to_human == "the agent waits for permission bash: rm *"
    assert outcome.evidence.request == {
        "id": "per_1",
        "session": "ses_1",
        "permission": "bash",
        "patterns": ["rm *"],
        "metadata": {},
    }
    assert watched.fake.aborted == []


async def test_a_pending_question_ends_the_wait_by_its_event(watched: Watched) -> None:
    await watched.begin()
    asked = {"id": "que_1", "sessionID": "ses_1", "questions": [{"question": "Where?", "options": []}]}
    watched.fake.questions.append(asked)
    watched.fake.tell("question.asked", asked)
    outcome = await watched.outcome()
    assert (outcome.state, outcome.reason_code) == (State.NEEDS_INPUT, "question_pending")
    assert "Where?" in outcome.message_to_human


async def test_without_its_event_it_is_found_by_the_next_look(deaf: Watched) -> None:
    await deaf.begin()
    deaf.ask()
    assert (await deaf.outcome()).state is State.NEEDS_INPUT


def test_the_next_look_comes_within_two_seconds() -> None:
    assert pace.LOOK_EVERY_S <= 1.5


async def test_the_permission_of_a_subagent_is_that_of_its_session(watched: Watched) -> None:
    await watched.begin()
    watched.fake.session("ses_sub", DIRECTORY, parent="ses_1").status = {"type": "busy"}
    watched.fake.tell("session.created", {"info": {"id": "ses_sub", "parentID": "ses_1"}})
    watched.fake.tell("permission.asked", watched.ask("ses_sub"))
    outcome = await watched.outcome()
    assert (outcome.state, outcome.session) == (State.NEEDS_INPUT, "ses_1")


async def test_the_permission_of_a_subagent_is_found_though_nothing_was_heard_of_it(deaf: Watched) -> None:
    await deaf.begin()
    deaf.fake.session("ses_sub", DIRECTORY, parent="ses_1").status = {"type": "busy"}
    deaf.fake.session("ses_sub_sub", DIRECTORY, parent="ses_sub").status = {"type": "busy"}
    deaf.ask("ses_sub_sub")
    assert (await deaf.outcome()).state is State.NEEDS_INPUT


async def test_the_request_of_another_session_is_not_ours(deaf: Watched) -> None:
    deaf.fake.session("ses_2", DIRECTORY).status = {"type": "busy"}
    deaf.ask("ses_2")
    await deaf.begin()
    await deaf.until(lambda: deaf.fake.count("GET", "/permission") > 3)
    assert deaf.waits
    deaf.finish(silently=True)
    assert (await deaf.outcome()).state is State.COMPLETED


async def test_a_left_over_request_of_an_aborted_turn_is_not_pending(deaf: Watched) -> None:
    """OpenCode 1.18 lists it for ever, also while the session works on its next task."""
    deaf.session.messages.clear()
    deaf.session.user("msg_0", "Before")
    deaf.session.step("a_0", tool("c", status="error"), error={"name": "MessageAbortedError", "data": {}})
    deaf.ask(tool={"messageID": "a_0", "callID": "c"})
    deaf.session.user("msg_ses_1", "Run")
    deaf.session.step("a_1", completed=False)
    await deaf.begin()
    await deaf.until(lambda: deaf.fake.count("GET", "/permission") > 3)
    assert deaf.waits
    deaf.finish(silently=True)
    assert (await deaf.outcome()).state is State.COMPLETED


async def test_the_request_of_the_step_that_waits_is_pending_beside_a_left_over(deaf: Watched) -> None:
    deaf.session.step("a_0", error={"name": "MessageAbortedError", "data": {}})
    deaf.session.step("a_1", completed=False)
    deaf.ask(id="per_1", tool={"messageID": "a_1", "callID": "c"})
    deaf.ask(id="per_0", tool={"messageID": "a_0", "callID": "c"})
    await deaf.begin()
    outcome = await deaf.outcome()
    assert outcome.evidence.request is not None
    assert outcome.evidence.request["id"] == "per_1"


async def test_a_left_over_request_of_a_subagent_is_not_pending(deaf: Watched) -> None:
    deaf.fake.session("ses_sub", DIRECTORY, parent="ses_1")
    deaf.ask("ses_sub", tool={"messageID": "a_0", "callID": "c"})
    await deaf.begin()
    await deaf.until(lambda: deaf.fake.count("GET", "/permission") > 3)
    assert deaf.waits
    await deaf.cancel()
