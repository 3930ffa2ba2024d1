# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An answer is for the request that was shown when the person wrote or clicked, and never for another one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.facts import kinds
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.facts.event import AuditEvent, Subject
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.slack.buttons import Button, request_value
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.store.records import DeliveryState, Record
from ansible_collections.dx.fleet.plugins.plugin_utils.config.endpoints import parse_fleet
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.input_request import InputRequest
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.outcome import Outcome, State
from ansible_collections.dx.fleet.plugins.plugin_utils.listener.clicks import command_of_click
from ansible_collections.dx.fleet.plugins.plugin_utils.listener.grammar import Answer, Stop
from ansible_collections.dx.fleet.plugins.plugin_utils.listener.plan import Plan, Unclear, plan_of
from ansible_collections.dx.fleet.plugins.plugin_utils.listener.shown import ShownRequest, shown_requests

SUBJECT = Subject("bd-a1b2@1-k3j9", vm="epyc6", bead="bd-a1b2", session="ses_1")
OTHER = Subject("01ABC.macmini", vm="macmini", session="ses_2")
FLEET = parse_fleet(
    json.dumps({"vms": {name: {"opencode": f"http://{name}:4105"} for name in ("epyc6", "macmini")}}),
    source="vm-endpoints.json",
)


def asked(name: str, subject: Subject = SUBJECT, words: str = "make") -> AuditEvent:
    request = InputRequest.of({"id": name, "session": "ses_1", "permission": "bash", "patterns": [words]})
    assert request is not None
    return kinds.asked(subject, request, "dx-fleet answer …")


def ended(state: State, subject: Subject = SUBJECT) -> AuditEvent:
    event = kinds.ended(Outcome(state, state.value, "over", vm=subject.vm, message="msg_1"), subject)
    assert event is not None
    return event


def records(*events: tuple[AuditEvent, str | None]) -> list[Record]:
    """As the outbox has them: each with the ``ts`` of the message that shows it."""
    return [
        Record(seq, event.id, event, DeliveryState.DELIVERED, 0, 1, None, ts)
        for seq, (event, ts) in enumerate(events)
    ]


ONE, TWO = (asked("per_1"), "10.000100"), (asked("per_2"), "20.000100")
ANSWERED = (kinds.answered(SUBJECT, "per_1", "make", "once", "feng"), "15.000100")


@pytest.mark.parametrize(
    ("events", "at", "there"),
    [
        ([ONE], "10.000101", ["per_1"]),
        ([ONE], "10.000099", []),
        ([(ONE[0], None)], "99.0", []),
        ([ONE, TWO], "19.9", ["per_1"]),
        ([ONE, TWO], "20.1", ["per_1", "per_2"]),
        ([ONE, ANSWERED], "14.0", ["per_1"]),
        ([ONE, ANSWERED], "16.0", []),
        ([ONE, ANSWERED, TWO], "21.0", ["per_2"]),
        ([ONE, (ended(State.FAILED), "15.0")], "16.0", []),
        ([ONE, (kinds.stopped(SUBJECT), "15.0")], "16.0", []),
        ([ONE, (ended(State.UNREACHABLE), "15.0")], "16.0", ["per_1"]),
        ([ONE, (ended(State.FAILED, OTHER), "15.0")], "16.0", ["per_1"]),
        ([(asked("per 1 --all"), "10.0")], "16.0", []),
    ],
)
def test_what_was_shown_at_a_moment(
    events: Sequence[tuple[AuditEvent, str | None]], at: str, there: list[str]
) -> None:
    assert [each.id for each in shown_requests(records(*events), at)] == there


FIRST = ShownRequest("per_1", "May the agent use bash: make", SUBJECT)
SECOND = replace(FIRST, id="per_2", words="May the agent use bash: rm")
ELSEWHERE = ShownRequest("que_9", "Which colour?", OTHER)


@pytest.mark.parametrize(
    ("command", "thread", "shown", "request_id", "target"),
    [
        (Answer(None, "once"), [SUBJECT], [FIRST, ELSEWHERE], "per_1", "ses_1"),
        (Answer("epyc6", "once"), [], [FIRST, ELSEWHERE], "per_1", "ses_1"),
        (Answer("macmini", "red", is_text=True), [], [FIRST, ELSEWHERE], "que_9", "ses_2"),
        (Answer("bd-a1b2", "once"), [], [FIRST], "per_1", "ses_1"),
        (Answer("ses_1", "once"), [], [FIRST], "per_1", "ses_1"),
        (Answer("per_1", "once"), [SUBJECT], [FIRST, SECOND], "per_1", "ses_1"),
        (Answer("per_7", "once"), [SUBJECT], [FIRST], "per_7", "per_7"),
        (Answer(None, "once"), [SUBJECT], [], None, "Nothing of bd-a1b2@1-k3j9 that waits was shown"),
        (Answer(None, "once"), [SUBJECT], [ELSEWHERE], None, "Nothing of bd-a1b2@1-k3j9 that waits"),
        (Answer("all", "once"), [], [FIRST], None, "Nothing of all that waits was shown"),
        (Answer(None, "once"), [SUBJECT], [FIRST, SECOND], None, "2 requests of bd-a1b2@1-k3j9 wait."),
    ],
)
def test_an_answer_names_the_request_that_was_shown(
    command: Answer,
    thread: list[Subject],
    shown: list[ShownRequest],
    request_id: str | None,
    target: str,
) -> None:
    found = plan_of(command, FLEET, thread, shown, by="slack:U1", key="k", at="1.0")
    if request_id is None:
        assert isinstance(found, Unclear)
        assert found.reply.startswith(target)
        return
    assert isinstance(found, Plan)
    assert f"--request={request_id}" in found.argv
    where = [word for word in found.argv if word.startswith("--vm=")]
    assert where == {"ses_1": ["--vm=epyc6"], "ses_2": ["--vm=macmini"]}.get(target, [])
    assert found.argv[-3:] == ("--", target, command.reply)


def test_several_that_wait_are_listed_with_the_words_that_answer_each() -> None:
    found = plan_of(Answer(None, "once"), FLEET, [SUBJECT], [FIRST, SECOND], by="slack:U1", key="k", at="1.0")
    assert isinstance(found, Unclear)
    assert "May the agent use bash: rm: answer per_2 once" in found.reply


@pytest.mark.parametrize("button", [Button.ALLOW_ONCE, Button.REJECT])
def test_a_button_answers_its_own_request_whatever_waits_now(button: Button) -> None:
    command = command_of_click(button, request_value(SUBJECT.dispatch, "per_1"))
    assert command is not None
    found = plan_of(command, FLEET, [SUBJECT], [SECOND], by="slack:U1", key="k", at="1.0")
    assert isinstance(found, Plan)
    assert "--request=per_1" in found.argv


GONE = replace(OTHER, vm="oldbox")


@pytest.mark.parametrize(
    ("target", "thread", "words"),
    [
        (None, [SUBJECT], ["--vm=epyc6", "--json", "--", SUBJECT.dispatch]),
        ("macmini", [SUBJECT, OTHER], ["--vm=macmini", "--json", "--", OTHER.dispatch]),
        ("epyc6", [], ["--asked-at=1.0", "--json", "--", "epyc6"]),
        ("bd-a1b2", [SUBJECT], ["--asked-at=1.0", "--json", "--", "bd-a1b2"]),
        (None, [GONE], ["--json", "--", GONE.dispatch]),
        ("all", [SUBJECT], ["--asked-at=1.0", "--json", "--all"]),
    ],
    ids=["of its thread", "by its VM", "a VM", "a bead", "on a VM that is no more", "all"],
)
def test_a_stop_asks_the_vm_alone_of_its_dispatch_and_has_an_age_where_it_may_hit_another(
    target: str | None, thread: list[Subject], words: list[str]
) -> None:
    found = plan_of(Stop(target), FLEET, thread, [], by="slack:U1", key="k", at="1.0")
    assert isinstance(found, Plan)
    assert found.argv == ("dx-fleet", "stop", "--by=slack:U1", *words)
