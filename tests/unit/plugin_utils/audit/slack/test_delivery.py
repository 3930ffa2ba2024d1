# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every fact is told once, in order, whatever Slack and the deliverer's process do meanwhile."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.facts import kinds, wording
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.facts.event import AuditEvent, Step, Subject
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.slack.errors import (
    Ambiguous,
    Held,
    Refused,
    RetryLater,
    SlackError,
    ThreadGone,
)
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.slack.message import Audience
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.slack.pace import Pace
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.store.outbox import Outbox
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.store.records import Counts
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.outcome import Evidence, Outcome, State
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.clock import ManualClock
from tests.unit.plugin_utils.audit.workspace import CHANNEL, Deliverer, Died, Workspace

NEW = "01M84H6478VVE56E3XRV0CR3AN"
SUBJECT = Subject(NEW, vm="epyc6", repo="affordabot", session="ses_abc", orchestrator="claude-code@macmini")
HEADLINE = "[macmini] Dispatching to epyc6: Run make test"
TRAIL = [
    "[epyc6] Session created: ses_abc",
    "[epyc6] Finished, not verified: the agent wrote: tests passed",
]


SAID = Evidence(text="tests passed")


def needs_input(subject: Subject, question: str, request_id: str) -> AuditEvent:
    asked = Outcome(State.NEEDS_INPUT, "needs_input", question, evidence=Evidence(request={"id": request_id}))
    event = kinds.ended(asked, subject)
    assert event is not None
    return event


def story(subject: Subject = SUBJECT) -> list[AuditEvent]:
    ended = kinds.ended(
        Outcome(State.COMPLETED, "completed", "the agent wrote: tests passed", vm=subject.vm, evidence=SAID),
        subject,
    )
    assert ended is not None
    return [kinds.dispatching(subject, "Run make test"), kinds.session_created(subject), ended]


class Office:
    """An outbox, the workspace that it is delivered to, and its deliverer."""

    def __init__(self, directory: Path) -> None:
        self.clock = ManualClock()
        self.slack = Workspace(self.clock)
        self.outbox = Outbox(directory / "state" / "outbox.db")
        self.deliverer = Deliverer(self.outbox, self.slack)

    def record(self, *events: AuditEvent) -> None:
        for event in events:
            self.outbox.append(event, CHANNEL)

    def restart(self, pace: Pace | None = None) -> None:
        """Another process goes on."""
        self.outbox.close()
        self.deliverer = Deliverer(self.outbox, self.slack, pace)
        self.slack._after = None

    def deliver(self, for_s: float = 3600) -> None:
        self.deliverer.settle(for_s=for_s)

    def wait(self) -> None:
        """A minute passes, so that the next reply is posted at once, before its head is updated."""
        self.clock.now += 60

    def counts(self) -> tuple[int, int, int]:
        found = self.outbox.counts()
        return found.delivered, found.pending, found.held


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office(tmp_path)


# --- what a person sees ---


def test_a_dispatch_is_one_thread_and_its_root_shows_how_it_stands(office: Office) -> None:
    for event in story():
        office.record(event)
        office.deliver()
    (root,) = office.slack.roots()
    assert office.slack.thread() == TRAIL
    assert root.message.text == f"⚪ Finished, not verified on epyc6: {HEADLINE}"
    shown = str(root.message.blocks)
    for word in ("epyc6", "affordabot", "ses_abc", "Finished, not verified", "claude-code@macmini", "took"):
        assert word in shown
    assert [version.text for version in root.versions] == [
        f"🔵 Dispatching on epyc6: {HEADLINE}",
        f"🔵 Running on epyc6: {HEADLINE}",
    ]
    assert office.counts() == (3, 0, 0)


def test_what_waits_together_is_told_together(office: Office) -> None:
    office.record(*story())
    office.deliver()
    assert office.slack.thread() == TRAIL
    assert [method for method, _ in office.slack.calls] == ["post", "post"]


def test_a_head_that_was_just_posted_is_up_to_date(office: Office) -> None:
    """So that the end of a run does not wait for an update of it, which would come later and change nothing."""
    office.record(kinds.task_failed(SUBJECT, "Break", "fail", occurrence="monday"))
    office.deliver(for_s=2)
    assert office.outbox.undelivered_since(0, CHANNEL) == (0, 0)
    assert [method for method, _ in office.slack.calls] == ["history", "post", "post"]


def test_a_recorded_fact_is_told_once_however_often_it_is_recorded(office: Office) -> None:
    office.record(*story(), *story())
    office.deliver()
    office.record(*story())
    office.deliver()
    assert office.slack.thread() == TRAIL


def test_what_happens_again_is_posted_again(office: Office) -> None:
    """The same dispatch, looked at by another run on another day."""
    refused = Outcome(State.REFUSED, "already_claimed", "it is held", vm="epyc6")
    for run in ("monday", "tuesday", "tuesday"):
        event = kinds.ended(refused, SUBJECT, seen_by=run)
        assert event is not None
        office.record(event)
        office.deliver()
    assert office.slack.thread() == ["[epyc6] Refused: it is held"], "the head tells the first"
    assert office.counts() == (2, 0, 0)


def test_the_head_of_a_dispatch_that_stalled_is_final(office: Office) -> None:
    event = kinds.ended(Outcome(State.STALLED, "stall_timeout", "nothing moved", vm="epyc6"), SUBJECT)
    assert event is not None
    office.record(*story()[:2], event)
    office.deliver()
    shown = str(office.slack.roots()[0].message.blocks)
    assert "⌛ Stalled" in shown
    assert "took" in shown
    assert "last movement" not in shown


def test_steps_update_the_head_now_and_then_and_are_no_replies(office: Office) -> None:
    office.record(*(replace(event, at=at_time(office.clock.time())) for event in story()[:2]))
    office.deliver()
    for number in range(30):
        office.outbox.note_step(Step(SUBJECT, f"bash: step {number}", at_time(office.clock.time())), CHANNEL)
        office.deliver(for_s=2)
    office.deliver()
    updates = [when for method, when in office.slack.calls if method == "update"]
    assert 3 <= len(updates) <= 6
    assert all(after - before >= 15 - 1e-6 for before, after in pairwise(updates))
    assert "Now: bash: step 29" in str(office.slack.roots()[0].message.blocks)
    assert office.slack.thread() == TRAIL[:1]
    office.record(story()[2])
    office.deliver()
    assert "Now:" not in str(office.slack.roots()[0].message.blocks)


def test_a_question_calls_its_reader_once(office: Office) -> None:
    office.deliverer = Deliverer(office.outbox, office.slack, audience=Audience(("U0123",)))
    office.record(*story()[:2])
    office.deliver()
    for _ in range(3):
        office.record(needs_input(SUBJECT, "Which?", "que_1"))
        office.deliver()
    replies = [str(one.message.blocks) for one in office.slack.kept if one.thread is not None]
    assert sum(text.count("<@U0123>") for text in replies) == 1
    (root,) = office.slack.roots()
    assert str(root.versions).count("<@") == 0
    assert str(root.message.blocks).count("<@U0123>") == 1  # by an update, which calls nobody


def test_a_head_that_is_posted_with_a_question_calls_nobody(office: Office) -> None:
    """The reply does: twice would be once too often."""
    office.deliverer = Deliverer(office.outbox, office.slack, audience=Audience(("U0123",)))
    office.record(*story()[:2], needs_input(SUBJECT, "Which?", "que_1"))
    office.deliver()
    (root,) = office.slack.roots()
    posted = [*root.versions, root.message][0]
    assert "<@" not in str(posted.blocks)


def at_time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def test_dispatches_have_a_thread_each(office: Office) -> None:
    subjects = [replace(SUBJECT, dispatch=f"bd-{number}@1", vm="macmini") for number in range(3)]
    for step in range(3):
        office.record(*(story(subject)[step] for subject in subjects))
    office.deliver()
    roots = office.slack.roots()
    assert len(roots) == 3
    assert all(len(office.slack.thread(root)) == 2 for root in roots)


def test_posts_keep_their_distance_in_a_channel(office: Office) -> None:
    office.record(*(event for number in range(5) for event in story(replace(SUBJECT, dispatch=f"d{number}"))))
    office.deliver()
    times = [when for method, when in office.slack.calls if method == "post"]
    assert len(times) == 10
    assert all(after - before >= 1.1 - 1e-6 for before, after in pairwise(times))


def test_a_root_is_not_updated_more_often_than_every_three_seconds(office: Office) -> None:
    office.record(story()[0])
    office.deliver()
    for number in range(40):
        office.record(
            kinds.retrying(SUBJECT, "429", number), needs_input(SUBJECT, f"{number}?", f"p{number}")
        )
        office.deliver(for_s=0.5)
    office.deliver()
    times = [when for method, when in office.slack.calls if method == "update"]
    assert 2 <= len(times) <= 8
    assert all(after - before >= 3 - 1e-6 for before, after in pairwise(times))
    assert "Needs input" in office.slack.roots()[0].message.text


@pytest.mark.parametrize("over_s", [0, 60, 3600])
def test_a_fan_out_of_a_hundred_vms_takes_at_most_twenty_posts(office: Office, over_s: int) -> None:
    stories = [
        story(
            replace(SUBJECT, dispatch=f"{NEW}.vm{number:03d}", vm=f"vm{number:03d}", session=f"ses_{number}")
        )
        for number in range(100)
    ]
    for step in range(3):
        for told in stories:
            office.record(told[step])
            if over_s:
                office.deliver(for_s=over_s / 300)
    office.deliver()
    assert len(office.slack.roots()) == 1
    assert office.slack.posts() <= 20
    assert sorted(office.slack.thread()) == sorted(
        wording.words_of(event) for told in stories for event in told[1:]
    )
    root = office.slack.roots()[0].message
    assert root.text == "⚪ 100 finished, not verified: [macmini] Dispatching to 100 VMs: Run make test"
    assert len(root.text) <= 4000
    assert len(str(root.blocks)) < 12000


def test_a_question_in_a_large_fan_out_does_not_wait_long(office: Office) -> None:
    subjects = [replace(SUBJECT, dispatch=f"{NEW}.vm{number}", vm=f"vm{number}") for number in range(20)]
    for number, subject in enumerate(subjects):
        office.record(kinds.dispatching(subject, "Run"), kinds.session_created(subject))
        office.deliver(for_s=60 if number < 19 else 3600)
    office.record(kinds.session_created(replace(subjects[0], session="ses_2")))
    office.deliver(for_s=1)
    asked_at = office.clock.now
    office.record(needs_input(subjects[3], "bash: rm?", "per_1"))
    office.deliver(for_s=20)
    assert office.slack.thread()[-1] == "[vm3] Needs input: bash: rm?"
    assert office.slack.kept[-1].posted_at - asked_at <= 16


def test_at_the_end_a_fan_out_is_told_without_waiting(office: Office) -> None:
    for number in range(20):
        subject = replace(SUBJECT, dispatch=f"{NEW}.vm{number}", vm=f"vm{number}")
        office.record(kinds.dispatching(subject, "Run"))
        office.deliver(for_s=60)
    office.record(kinds.stopped(replace(SUBJECT, dispatch=f"{NEW}.vm1", vm="vm1")))
    office.deliverer.settle(for_s=3, closing=True)
    assert office.counts()[1] == 0


# --- failures that change nothing ---


@pytest.mark.parametrize(
    "error",
    [
        RetryLater("ratelimited", 30),
        RetryLater("ConnectionRefusedError"),
        RetryLater("service_unavailable"),
        Ambiguous("deadline"),
        Ambiguous("http_502"),
        Held("not_in_channel"),
    ],
    ids=str,
)
@pytest.mark.parametrize("at", range(5))
def test_a_failed_call_is_made_again_and_nothing_is_told_twice(
    office: Office, error: SlackError, at: int
) -> None:
    office.slack.script.extend([None] * at + [error])
    for event in story():
        office.record(event)
        office.deliver()
    assert office.slack.thread() == TRAIL
    assert len(office.slack.roots()) == 1
    assert office.counts() == (3, 0, 0)


@pytest.mark.parametrize("at", range(6))
def test_where_the_answer_is_lost_slack_is_read_before_it_is_told_again(office: Office, at: int) -> None:
    office.slack.script.extend([None] * at + [office.slack.lost()])
    for event in story():
        office.record(event)
        office.deliver()
    assert office.slack.thread() == TRAIL
    assert len(office.slack.roots()) == 1


@pytest.mark.parametrize("before", [True, False], ids=["before the call is done", "after it"])
@pytest.mark.parametrize("at", range(6))
def test_a_deliverer_that_dies_is_followed_by_one_that_tells_the_rest(
    office: Office, at: int, before: bool
) -> None:
    office.slack.script.extend([None] * at + [Died() if before else office.slack.dying()])
    for event in story():
        office.record(event)
        try:
            office.deliver()
        except Died:
            office.restart()
    office.deliver()
    assert office.slack.thread() == TRAIL
    assert len(office.slack.roots()) == 1
    assert office.slack.roots()[0].message.text.startswith("⚪ Finished, not verified on epyc6: ")


def faults(slack: Workspace) -> dict[str, object]:
    return {
        "refused": RetryLater("refused"),
        "429": RetryLater("ratelimited", 7),
        "before": Ambiguous("reset"),
        "after": slack.lost(),
        "held": Held("invalid_auth"),
        "dies": Died(),
        "dies after": slack.dying(),
    }


@settings(max_examples=60)
@given(
    st.lists(st.sampled_from(["ok", "ok", *faults(Workspace(ManualClock()))]), max_size=12), st.integers(0, 3)
)
def test_whatever_happens_all_is_told_once_and_in_order(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str], early: int
) -> None:
    office = Office(tmp_path_factory.mktemp("office"))
    known = faults(office.slack)
    office.slack.script.extend(known.get(step) for step in steps)  # type: ignore[misc]
    other = replace(SUBJECT, dispatch="bd-xyz@1", bead="bd-xyz", vm="macmini")
    events = [event for pair in zip(story(), story(other), strict=True) for event in pair]
    for number, event in enumerate(events):
        office.record(event)
        if number >= early:
            try:
                office.deliver(for_s=5)
            except Died:
                office.restart()
    for _ in range(len(steps) + 1):
        try:
            office.deliver(for_s=7200)
        except Died:
            office.restart()
    roots = {root.message.text: office.slack.thread(root) for root in office.slack.roots()}
    assert len(roots) == len(office.slack.roots()) == 2
    assert sorted(roots.values()) == sorted(
        [[wording.words_of(event) for event in each[1:]] for each in (story(), story(other))]
    )
    assert office.counts() == (6, 0, 0)


def test_retry_after_holds_for_the_whole_channel_and_for_other_processes(office: Office) -> None:
    office.record(*story(), *story(replace(SUBJECT, dispatch="other")))
    office.slack.script.append(RetryLater("ratelimited", 30))
    office.deliver(for_s=1)
    office.restart()
    office.deliver(for_s=28)
    assert len(office.slack.calls) == 1
    office.deliver()
    assert office.slack.calls[1][1] - office.slack.calls[0][1] >= 30
    assert office.counts() == (6, 0, 0)


def test_what_another_process_posted_keeps_its_distance_too(office: Office) -> None:
    office.record(*story()[:2])
    office.deliverer.turn()
    office.restart()
    office.deliver()
    times = [when for _, when in office.slack.calls]
    assert times[1] - times[0] >= 1.1 - 1e-6


# --- what somebody must mend ---


def test_a_wrong_set_up_is_said_once_and_all_is_kept(office: Office) -> None:
    office.slack.refuse = lambda message: Held("not_in_channel")
    office.record(*story())
    office.deliver(for_s=3600)
    assert len(office.deliverer.said) == 1
    assert "not_in_channel" in office.deliverer.said[0]
    assert "/invite" in office.deliverer.said[0]
    assert office.counts() == (0, 0, 3)
    assert len(office.slack.calls) < 20


def test_once_it_is_mended_the_next_process_tells_it_at_once(office: Office) -> None:
    office.slack.script.append(Held("invalid_auth"))
    office.record(*story())
    office.deliver(for_s=1)
    assert office.outbox.counts(NEW) == Counts(0, 0, 3)
    office.restart()
    office.deliver(for_s=5)
    assert office.slack.thread() == TRAIL
    assert office.counts() == (3, 0, 0)


# --- what Slack does not take ---


@pytest.mark.parametrize("code", ["msg_too_long", "invalid_blocks", "an_error_of_tomorrow"])
def test_a_message_that_is_refused_is_told_plainly(office: Office, code: str) -> None:
    office.slack.refuse = lambda message: Refused(code) if message.blocks else None
    office.record(*story())
    office.deliver()
    assert office.slack.thread() == TRAIL
    assert not any(one.message.blocks for one in office.slack.kept)


def test_metadata_that_is_refused_is_left_out(office: Office) -> None:
    office.slack.refuse = lambda message: Refused("metadata_too_large") if message.metadata else None
    office.record(*story())
    office.deliver()
    assert office.slack.thread() == TRAIL


def test_a_poison_message_holds_nothing_up(office: Office) -> None:
    office.slack.refuse = lambda message: Refused("no_text") if "Session" in message.text else None
    office.record(*story(), *story(replace(SUBJECT, dispatch="other", session=None)))
    office.deliver()
    threads = sorted(office.slack.thread(root) for root in office.slack.roots())
    assert TRAIL[1:] in threads
    assert office.counts() == (4, 0, 2)
    assert any("no_text" in said for said in office.deliverer.said)
    office.slack.refuse = lambda message: None
    asyncio.run(office.outbox.ledger.unpark())
    office.restart()
    office.deliver()
    assert office.counts() == (6, 0, 0)


def test_a_root_that_slack_takes_in_no_form_holds_up_its_own_thread_alone(office: Office) -> None:
    office.slack.refuse = lambda message: Refused("no_text") if "other" in str(message) else None
    office.record(*story(replace(SUBJECT, dispatch="other")), *story())
    office.deliver()
    assert office.slack.thread() == TRAIL
    assert office.counts() == (3, 0, 3)


def test_a_thread_that_is_gone_is_begun_anew(office: Office) -> None:
    office.record(story()[0])
    office.deliver()
    office.slack.script.append(ThreadGone("thread_not_found"))
    office.record(story()[1])
    office.deliver()
    first, second = office.slack.roots()
    assert office.slack.thread(first) == []
    assert office.slack.thread(second) == TRAIL[:1]


def test_a_reply_to_a_head_that_was_deleted_does_not_stay_alone_in_the_channel(office: Office) -> None:
    office.record(*story()[:2])
    office.deliver()
    office.slack.kept.clear()  # the head and its replies
    office.wait()
    office.record(story()[2])
    office.deliver()
    (root,) = office.slack.roots()
    assert HEADLINE in root.message.text
    assert office.slack.thread() == TRAIL[1:]
    assert office.counts() == (3, 0, 0)


def test_a_head_that_was_deleted_while_nothing_was_to_be_posted_is_begun_anew(office: Office) -> None:
    office.record(*story()[:2])
    office.deliver()
    office.slack.kept.clear()
    asyncio.run(
        office.outbox.ledger.keep_thread(office.outbox.ledger.thread(NEW, CHANNEL), stale=1, shown="")
    )
    office.deliver()
    assert office.slack.roots() == []
    office.record(story()[2])
    office.deliver()
    assert office.slack.thread() == TRAIL[1:]


@pytest.mark.parametrize("lost", ["answer", "process"])
def test_a_reply_that_lost_its_head_is_posted_once_though_nobody_knows_of_it(
    office: Office, lost: str
) -> None:
    office.record(*story()[:2])
    office.deliver()
    office.slack.kept.clear()
    office.wait()
    office.record(story()[2])
    office.slack.script.append(office.slack.lost() if lost == "answer" else office.slack.dying())
    try:
        office.deliver()
    except Died:
        office.restart()
        office.deliver()
    (root,) = office.slack.roots()
    assert HEADLINE in root.message.text
    assert office.slack.thread() == TRAIL[1:]
    assert office.counts() == (3, 0, 0)


def test_a_reply_that_lost_its_head_and_cannot_be_taken_away_is_not_posted_twice(office: Office) -> None:
    office.record(*story()[:2])
    office.deliver()
    office.slack.kept.clear()
    office.wait()
    office.record(story()[2])
    office.slack.script.extend([None, Held("missing_scope")])
    office.deliver()
    (alone,) = office.slack.roots()
    assert alone.lines == TRAIL[1:]
    assert office.counts() == (3, 0, 0)


def test_a_channel_without_threads_gets_no_endless_row_of_roots(office: Office) -> None:
    office.record(*story())
    real = office.slack.post

    async def post(channel: str, message: object, thread: str | None = None) -> object:
        if thread is not None:
            raise ThreadGone("cannot_reply_to_message")
        return await real(channel, message)  # type: ignore[arg-type]

    office.slack.post = post  # type: ignore[method-assign,assignment]
    office.deliver()
    assert len(office.slack.roots()) <= 3
    assert office.counts() == (1, 0, 2)


def test_an_update_that_is_not_taken_leaves_the_trail_as_it_is(office: Office) -> None:
    office.record(story()[0])
    office.deliver()
    office.wait()
    office.slack.script.extend([None, ThreadGone("edit_window_closed")])
    office.record(*story()[1:])
    office.deliver()
    assert office.slack.thread() == TRAIL


# --- threads of other controllers ---


def test_the_thread_that_another_controller_began_is_gone_on_with(office: Office, tmp_path: Path) -> None:
    subject = replace(SUBJECT, dispatch="bd-xyz@1", bead="bd-xyz")
    office.record(*(story(replace(SUBJECT, dispatch=f"older-{number}"))[0] for number in range(4)))
    office.record(*story(subject)[:2])
    office.record(*(story(replace(SUBJECT, dispatch=f"newer-{number}"))[0] for number in range(4)))
    office.deliver()
    here = Outbox(tmp_path / "here" / "outbox.db")
    for event in story(subject)[1:]:  # one of them told there
        here.append(event, CHANNEL)
    before = len(office.slack.roots())
    Deliverer(here, office.slack).settle()
    assert len(office.slack.roots()) == before
    (root,) = (one for one in office.slack.roots() if "bd-xyz" in one.message.text)
    assert office.slack.thread(root) == [wording.words_of(event) for event in story(subject)[1:]]
    assert here.ledger.thread("bd-xyz@1", CHANNEL).ts == root.ts


def test_a_new_dispatch_is_not_looked_for(office: Office) -> None:
    office.record(*story())
    office.deliver()
    assert "history" not in [method for method, _ in office.slack.calls]


def test_a_token_that_may_not_read_posts_again_where_nobody_knows(office: Office) -> None:
    office.slack.script.extend([None, office.slack.lost(), Held("missing_scope")])
    office.record(*story())
    office.deliver()
    assert office.slack.thread() == TRAIL * 2
    assert office.counts() == (3, 0, 0)


def test_a_record_of_a_later_version_holds_nothing_up(office: Office) -> None:
    office.record(*story()[:1])
    office.outbox.database.write(
        lambda connection: connection.execute(
            "INSERT INTO record (id, thread_key, dispatch, channel, event) VALUES ('x', ?, ?, ?, '{\"kind\": 1}')",
            (NEW, NEW, CHANNEL),
        )
    )
    office.record(*story()[1:])
    office.deliver()
    thread = office.slack.thread()
    assert [line for line in thread if line in TRAIL] == TRAIL
    assert len(thread) == 3
