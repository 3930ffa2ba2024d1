# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The head says what matters now first, in the words of a person; ids for machines are one small line."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.facts import kinds, wording
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.facts.event import AuditEvent, Subject
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.facts.status import status_of
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.slack.head_message import head
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.slack.message import Audience, SlackMessage
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.store.records import LastStep
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.outcome import Evidence, Outcome, State

from tests.unit.plugin_utils.audit.blocks import HOSTILE, is_harmless, kinds_of, markup_of, texts_of

SUBJECT = Subject(
    "bd-xyz@1",
    vm="epyc6",
    repo="affordabot",
    bead="bd-xyz",
    session="ses_abc",
    orchestrator="claude-code@macmini",
)
HUMAN = Audience(("U0123",), buttons=True)
PERMISSION = {"id": "per_1", "permission": "bash", "patterns": ["rm -rf build"]}
QUESTION = {
    "id": "que_1",
    "questions": [{"question": "Which colour?", "options": [{"label": "red"}, {"label": "blue"}]}],
}


def end(state: State, words: str, subject: Subject = SUBJECT, **more: Any) -> AuditEvent:
    event = kinds.ended(Outcome(state, state.value, words, vm=subject.vm, **more), subject)
    assert event is not None
    return event


def begun(subject: Subject = SUBJECT) -> list[AuditEvent]:
    return [
        kinds.claimed(subject),
        kinds.dispatching(subject, "Run make test"),
        kinds.session_created(subject),
    ]


def shown(*events: AuditEvent, **options: Any) -> SlackMessage:
    return head("bd-xyz@1", status_of(events), **options)


def lines(message: SlackMessage) -> list[str]:
    """What a person reads, from top to bottom."""
    return "\n".join(texts_of(message)[1:]).split("\n")


def elements_of(message: SlackMessage) -> list[Any]:
    """The buttons, from top to bottom."""
    blocks = message.blocks or ()
    return [
        one for each in blocks for one in each.get("elements", [each.get("accessory")]) if _is_button(one)
    ]


def _is_button(element: Any) -> bool:
    return isinstance(element, dict) and element["type"] == "button"


def buttons(message: SlackMessage) -> dict[str, str]:
    """The buttons' values by what stands on them."""
    actions = [block for block in message.blocks or () if block["type"] == "actions"]
    return {one["text"]["text"]: one["value"] for block in actions for one in block["elements"]}


@pytest.mark.parametrize(
    ("events", "title"),
    [
        ([], "🔵 Running on epyc6"),
        ([kinds.retrying(SUBJECT, "429", 1)], "🔵 Running, the model is asked again on epyc6"),
        ([end(State.NEEDS_INPUT, "?")], "✋ Needs input on epyc6"),
        ([end(State.VERIFIED, "tests passed")], "✅ Verified on epyc6"),
        ([end(State.COMPLETED, "done")], "⚪ Finished, not verified on epyc6"),
        ([end(State.NO_OP, "nothing")], "⚪ No work done on epyc6"),
        ([end(State.FAILED, "401")], "❌ Failed on epyc6"),
        ([end(State.STALLED, "nothing moved")], "⌛ Stalled on epyc6"),
        ([end(State.TIMED_OUT, "late")], "⌛ Timed out on epyc6"),
        ([end(State.REFUSED, "held")], "🚫 Refused on epyc6"),
        ([kinds.aborting(SUBJECT)], "🛑 Stopping on epyc6"),
        ([kinds.stopped(SUBJECT)], "🛑 Stopped on epyc6"),
    ],
)
def test_the_state_comes_first_in_a_word_and_a_mark(events: list[AuditEvent], title: str) -> None:
    message = shown(*begun(), *events)
    assert lines(message)[0] == title
    assert message.text.startswith(f"{title}: ")


def test_every_state_has_a_mark_of_its_own_or_is_running() -> None:
    for state in State:
        if state not in (State.PLANNED, State.RUNNING):
            assert not lines(shown(*begun(), end(state, "x")))[0].startswith("🔵"), state


@pytest.mark.parametrize(
    ("request_", "asked"),
    [
        (PERMISSION, ["May the agent use bash: rm -rf build", "• once", "• always", "• reject"]),
        (QUESTION, ["Which colour?", "• red", "• blue"]),
        ({"id": "x"}, ["an answer"]),
        ({"questions": "no list", "permission": 5, "patterns": None}, ["May the agent use 5: "]),
    ],
    ids=["permission", "question", "neither", "nonsense"],
)
def test_a_question_stands_next_with_its_options_and_a_mention(
    request_: dict[str, Any], asked: list[str]
) -> None:
    event = end(State.NEEDS_INPUT, "an answer", evidence=Evidence(request=request_))
    message = shown(*begun(), event, audience=HUMAN)
    assert lines(message)[1 : 1 + len(asked)] == [line.strip() for line in asked]
    assert markup_of(message) == ["<@U0123> the agent waits for you"]


def test_once_it_goes_on_nobody_is_named_any_more() -> None:
    asked = end(State.NEEDS_INPUT, "?", evidence=Evidence(request=QUESTION))
    message = shown(*begun(), asked, end(State.VERIFIED, "tests passed"), audience=HUMAN)
    assert "<@" not in str(message)
    assert "Which colour?" not in str(message)


def test_while_it_works_the_step_and_the_last_movement_are_shown() -> None:
    message = shown(*begun(), steps={"epyc6": LastStep("bash: make test", 4_000_000_000.5)})
    assert lines(message)[1:3] == ["bead bd-xyz is in progress", "Now: bash: make test"]
    (moved,) = markup_of(message)
    assert re.fullmatch(r"last movement <!date\^4000000000\^\{ago\}\|at \d\d:\d\d:\d\d UTC>", moved)


def test_without_a_step_the_last_fact_is_the_last_movement() -> None:
    events = begun()
    (moved,) = markup_of(shown(*events))
    assert f"<!date^{events[-1].at.timestamp():.0f}^" in moved


def test_at_the_end_the_result_stands_there_and_no_step() -> None:
    message = shown(
        *begun(),
        end(State.FAILED, "APIError 401: no"),
        kinds.claim_ended(SUBJECT, "blocked", "failed: no", "dx-dispatch --retry bd-xyz"),
        steps={"epyc6": LastStep("bash: make test", 1.0)},
    )
    assert lines(message)[1:4] == [
        "APIError 401: no",
        "bead bd-xyz is blocked",
        "Next: dx-dispatch --retry bd-xyz",
    ]
    assert "make test" not in "".join(lines(message)[:4])
    assert markup_of(message) == []


def test_the_task_follows_and_the_ids_are_one_small_line_at_the_end() -> None:
    message = shown(*begun(), end(State.VERIFIED, "tests passed"))
    assert "[macmini] Dispatching bd-xyz to epyc6: Run make test" in lines(message)
    assert (message.blocks or ())[-1]["type"] == "context"
    ids = lines(message)[-1]
    assert ids.startswith("dispatch bd-xyz@1 · ses_abc · affordabot · claude-code@macmini · ")
    assert all("ses_abc" not in line for line in lines(message)[:-1])


@pytest.mark.parametrize(
    ("events", "there"),
    [
        ([], {"Stop": "bd-xyz@1"}),
        (
            [end(State.NEEDS_INPUT, "?", evidence=Evidence(request=PERMISSION))],
            {"Allow once": "bd-xyz@1 per_1", "Reject": "bd-xyz@1 per_1", "Stop": "bd-xyz@1"},
        ),
        ([end(State.NEEDS_INPUT, "?", evidence=Evidence(request=QUESTION))], {"Stop": "bd-xyz@1"}),
        (
            [end(State.NEEDS_INPUT, "?", evidence=Evidence(request={**PERMISSION, "id": "per 1 <x>"}))],
            {"Stop": "bd-xyz@1"},
        ),
        (
            [end(State.FAILED, "no"), kinds.claim_ended(SUBJECT, "blocked", "no", None)],
            {"Retry": "bd-xyz"},
        ),
        ([end(State.VERIFIED, "ok"), kinds.claim_ended(SUBJECT, "closed", "ok", None)], {}),
        ([kinds.stopped(SUBJECT)], {}),
    ],
    ids=["running", "permission", "question", "no id", "blocked", "closed", "stopped"],
)
def test_the_buttons_are_those_that_can_be_meant(events: list[AuditEvent], there: dict[str, str]) -> None:
    assert buttons(shown(*begun(), *events, audience=HUMAN)) == there
    assert buttons(shown(*begun(), *events, audience=Audience(("U0123",)))) == {}, "nobody hears a click"


def test_many_vms_are_a_table_with_the_most_urgent_mark_first() -> None:
    vms = [replace(SUBJECT, vm=f"vm{number}", dispatch=f"bd-xyz@1.vm{number}") for number in range(3)]
    events = [event for vm in vms for event in begun(vm)]
    asked = end(State.NEEDS_INPUT, "?", vms[1], evidence=Evidence(request=QUESTION))
    message = shown(*events, end(State.VERIFIED, "ok", vms[0]), asked, audience=HUMAN)
    assert lines(message)[0] == "✋ 1 verified, 1 needs input, 1 running"
    assert lines(message)[1] == "[vm1] Which colour?"
    assert [line[0] for line in lines(message) if re.match(r". vm\d: ", line)] == ["✅", "✋", "🔵"]
    actions = [[one["text"]["text"], one["value"]] for one in elements_of(message)]
    assert actions == [["Stop", "bd-xyz@1.vm1"], ["Stop", "bd-xyz@1.vm2"]]
    confirmed = [one["confirm"]["text"]["text"] for one in elements_of(message)]
    assert [text.split(" is ")[0] for text in confirmed] == ["The agent on vm1", "The agent on vm2"]
    assert elements_of(shown(*events, audience=Audience(("U0123",)))) == [], "nobody hears a click"


def test_one_of_many_vms_that_waits_for_a_permission_has_its_answers_at_its_own_line() -> None:
    vms = [replace(SUBJECT, vm=f"vm{number}", dispatch=f"bd-xyz@1.vm{number}") for number in range(2)]
    asked = end(State.NEEDS_INPUT, "?", vms[1], evidence=Evidence(request=PERMISSION))
    message = shown(*(event for vm in vms for event in begun(vm)), asked, audience=HUMAN)
    assert [(one["text"]["text"], one["value"]) for one in elements_of(message)] == [
        ("Stop", "bd-xyz@1.vm0"),
        ("Allow once", "bd-xyz@1.vm1 per_1"),
        ("Reject", "bd-xyz@1.vm1 per_1"),
        ("Stop", "bd-xyz@1.vm1"),
    ]


def test_more_vms_than_fit_have_no_buttons() -> None:
    vms = [replace(SUBJECT, vm=f"vm{number}", dispatch=f"bd-xyz@1.vm{number}") for number in range(11)]
    assert elements_of(shown(*(event for vm in vms for event in begun(vm)), audience=HUMAN)) == []


def test_text_of_others_can_neither_call_anybody_nor_link_nor_hide() -> None:
    subject = Subject(
        HOSTILE, vm=HOSTILE, repo=HOSTILE, bead=HOSTILE, session=HOSTILE, orchestrator=f"{HOSTILE}@x"
    )
    question = {"questions": [{"question": HOSTILE, "options": [{"label": HOSTILE}]}]}
    events = [*begun(subject), end(State.NEEDS_INPUT, HOSTILE, subject, evidence=Evidence(request=question))]
    ends = [*begun(subject), end(State.FAILED, HOSTILE, subject, next_action=HOSTILE)]
    ends.append(kinds.claim_ended(subject, HOSTILE, HOSTILE, HOSTILE))
    for told in (begun(subject), events, ends):
        for level in range(3):
            message = head(
                HOSTILE,
                status_of(told),
                steps={HOSTILE: LastStep(HOSTILE, 1.0)},
                audience=HUMAN,
                fallback_level=level,
            )
            assert kinds_of(list(message.blocks or ())) <= {
                "header", "section", "context", "actions", "button", "plain_text", "mrkdwn"
            }  # fmt: skip
            assert all(map(is_harmless, texts_of(message)))
            for text in markup_of(message):
                assert re.fullmatch(
                    r"<@U0123> the agent waits for you|last movement <!date\^\d+\^\{ago\}\|at [\d:]+ UTC>",
                    text,
                )


def test_a_head_keeps_the_limits_of_slack() -> None:
    long = "&" * 5000
    vms = [replace(SUBJECT, vm=f"{number}{long}", dispatch=f"{number}") for number in range(200)]
    events = [event for vm in vms for event in begun(vm)]
    message = head(long, status_of(events), audience=HUMAN)
    assert len(message.text) <= 4000
    assert len(message.blocks or ()) <= 50
    assert all(len(text) <= 3000 for text in texts_of(message)[1:])
    assert len((message.blocks or ())[0]["text"]["text"]) <= 150
    assert sum(map(len, texts_of(message)[1:])) <= 13_000 + 3_000


@pytest.mark.parametrize("level", [0, 1])
def test_a_head_carries_what_it_begins_with(level: int) -> None:
    status = status_of([kinds.dispatching(Subject("d1", vm="epyc6"), "a < b (c)")])
    assert wording.headline_of(status) == "Dispatching to epyc6: a < b (c)"
    metadata = head("d1", status, fallback_level=level).metadata
    assert metadata is not None
    assert metadata["event_payload"]["headline"] == "Dispatching to epyc6: a < b (c)"


def test_the_headline_of_another_controller_is_kept() -> None:
    status = status_of([kinds.dispatching(Subject("d1", vm="epyc6"), "ours")])
    assert head("d1", status, headline="theirs").text == "🔵 Dispatching on epyc6: theirs"
