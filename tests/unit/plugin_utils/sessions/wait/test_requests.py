# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What waits for a person is found soon; what only seems to is not."""

from __future__ import annotations

from dataclasses import replace

from ansible_collections.dx.fleet.plugins.plugin_utils.domain.answer_policy import AnswerPolicy, Rule
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.event_kind import EventKind
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.outcome import Outcome, State
from ansible_collections.dx.fleet.plugins.plugin_utils.sessions.wait import Answering, Limits, pace

from tests.unit.fake_opencode import lost, tool

from .watched import DIRECTORY, NO_LIMITS, Watched


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


ASKING = Answering("ask")


async def test_the_wait_goes_on_till_somebody_has_answered(deaf: Watched) -> None:
    asked = deaf.ask()
    await deaf.begin(answering=ASKING)
    await deaf.until(lambda: bool(deaf.lines(EventKind.ASKED)))
    await deaf.looked(4)
    assert len(deaf.lines(EventKind.ASKED)) == 1
    assert not deaf.lines(EventKind.ANSWERED)
    deaf.fake.permissions.remove(asked)
    await deaf.passes(1)
    await deaf.until(lambda: bool(deaf.lines(EventKind.ANSWERED)))
    deaf.finish(silently=True)
    assert (await deaf.outcome()).state is State.COMPLETED


async def test_a_second_request_is_asked_when_the_first_has_its_answer(deaf: Watched) -> None:
    first = deaf.ask()
    await deaf.begin(answering=ASKING)
    await deaf.until(lambda: bool(deaf.lines(EventKind.ASKED)))
    deaf.fake.permissions.insert(0, {**first, "id": "per_0", "patterns": ["ls"]})
    await deaf.looked(4)
    assert len(deaf.lines(EventKind.ASKED)) == 1  # one at a time
    deaf.fake.permissions.remove(first)
    await deaf.until(lambda: len(deaf.lines(EventKind.ASKED)) == 2)
    assert [event.kind for event in deaf.told if event.kind in (EventKind.ASKED, EventKind.ANSWERED)] == [
        EventKind.ASKED,
        EventKind.ANSWERED,
        EventKind.ASKED,
    ]
    await deaf.cancel()


async def test_who_waits_for_a_person_does_not_stall_and_keeps_the_session(deaf: Watched) -> None:
    deaf.ask()
    limits: Limits = replace(NO_LIMITS, stall_timeout_s=10, timeout_s=100)
    await deaf.begin(limits, answering=ASKING)
    await deaf.until(lambda: bool(deaf.lines(EventKind.ASKED)))
    for _ in range(6):
        await deaf.passes(8)
    assert deaf.waits
    deaf.clock.leap(60)
    outcome = await deaf.outcome()
    assert (outcome.state, outcome.reason_code) == (State.NEEDS_INPUT, "permission_pending")
    assert deaf.fake.aborted == []


async def test_a_session_that_ends_waits_for_nothing(deaf: Watched) -> None:
    asked = deaf.ask()
    await deaf.begin(answering=ASKING)
    await deaf.until(lambda: bool(deaf.lines(EventKind.ASKED)))
    deaf.fake.permissions.remove(asked)
    deaf.finish(silently=True)
    assert (await deaf.outcome()).state is State.COMPLETED
    assert len(deaf.lines(EventKind.ANSWERED)) == 1


async def test_a_rule_answers_once_and_is_named(deaf: Watched) -> None:
    deaf.ask()
    rule = Rule("allow", "bash", "rm *")
    await deaf.begin(answering=Answering("fail", AnswerPolicy((rule,))))
    await deaf.until(lambda: bool(deaf.lines(EventKind.ANSWERED)))
    assert deaf.fake.replies == [("per_1", "reply", {"reply": "once"})]
    assert "by answer_policy (allow bash: rm *)" in deaf.lines(EventKind.ANSWERED)[0]
    deaf.finish(silently=True)
    assert (await deaf.outcome()).state is State.COMPLETED


async def test_what_a_rule_denies_is_rejected_with_its_words(deaf: Watched) -> None:
    deaf.ask()
    rules = (Rule("allow", "bash"), Rule("deny", "bash", "rm *"))
    await deaf.begin(answering=Answering("ask", AnswerPolicy(rules)))
    await deaf.until(lambda: bool(deaf.fake.replies))
    ((_, _, body),) = deaf.fake.replies
    assert (body["reply"], "deny bash: rm *" in body["message"]) == ("reject", True)
    await deaf.cancel()


async def test_where_a_rule_can_not_be_applied_a_person_is_asked(deaf: Watched) -> None:
    deaf.ask()
    deaf.fake.add("POST", "/permission/per_1/reply", lost())
    outcome = await _with_a_rule(deaf)
    assert (outcome.state, outcome.reason_code) == (State.NEEDS_INPUT, "permission_pending")


async def _with_a_rule(deaf: Watched) -> Outcome:
    await deaf.begin(answering=Answering("fail", AnswerPolicy((Rule("allow", "bash"),))))
    return await deaf.outcome()


async def test_a_script_may_reject_all_that_is_asked(deaf: Watched) -> None:
    deaf.ask()
    await deaf.begin(answering=Answering("reject"))
    await deaf.until(lambda: bool(deaf.fake.replies))
    assert deaf.fake.replies == [("per_1", "reply", {"reply": "reject"})]
    await deaf.cancel()
