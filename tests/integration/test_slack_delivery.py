# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every fact is in the thread once and in order, as another account reads it, whatever Slack does meanwhile."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.facts import kinds, wording
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.facts.event import AuditEvent, Subject
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.slack.deliverer import deliver_now
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.slack.pace import Pace
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.store.outbox import Outbox, outbox_path
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.store.recorder import Recorder
from ansible_collections.dx.fleet.plugins.plugin_utils.config.slack import AuditConfig
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.outcome import Evidence, Outcome, State

from tests.command import COLLECTIONS, run_fleet
from tests.lab.slack import SlackWorkspace, Thread
from tests.unit.forking import fork
from tests.unit.plugin_utils.audit.secrets_corpus import LEAKS

QUICK = Pace(
    post_s=0.01, update_s=0.01, same_root_s=0.01, settle_s=0.05, first_retry_s=0.05, last_retry_s=0.3
)
SUBJECT = Subject(
    "bd-xyz@1",
    vm="epyc6",
    repo="affordabot",
    bead="bd-xyz",
    session="ses_abc",
    orchestrator="claude-code@macmini",
)
HEADLINE = "[macmini] Dispatching bd-xyz to epyc6: Run make test"
TRAIL = ["[epyc6] Session created: ses_abc", "[epyc6] Finished, not verified: tests passed"]


class Controller:
    """A machine that dispatches: its outbox, and ways to deliver it."""

    def __init__(self, directory: Path, slack: SlackWorkspace) -> None:
        self.slack = slack
        self.env = {**slack.env, "XDG_STATE_HOME": str(directory), "NO_PROXY": "*"}
        self.outbox = Outbox(outbox_path(self.env))
        self.said: list[str] = []
        self.recorder = Recorder(AuditConfig.read(self.env), self.outbox, self.said.append)

    def record(self, *events: AuditEvent | None) -> None:
        assert all(self.recorder.record(event) for event in events)

    def deliver(self, timeout_s: float = 60, deadline_s: float = 5.0, **env: str) -> bool:
        config = AuditConfig.for_delivery(self.env | env)
        return deliver_now(
            config, self.outbox, self.said.append, timeout_s=timeout_s, pace=QUICK, deadline_s=deadline_s
        )

    def counts(self) -> tuple[int, int, int]:
        found = self.outbox.counts()
        return found.delivered, found.pending, found.held


@pytest.fixture
def controller(tmp_path: Path, slack: SlackWorkspace) -> Controller:
    return Controller(tmp_path / "state", slack)


def ended(state: State, words: str, subject: Subject = SUBJECT) -> AuditEvent | None:
    said = Evidence(text=words)
    return kinds.ended(Outcome(state, state.value, words, vm=subject.vm, evidence=said), subject)


def story(subject: Subject = SUBJECT) -> list[AuditEvent | None]:
    return [
        kinds.dispatching(subject, "Run make test"),
        kinds.session_created(subject),
        ended(State.COMPLETED, "tests passed", subject),
    ]


def lines(thread: Thread) -> list[str]:
    """What a person reads in the replies."""
    shown = [block["text"]["text"] for reply in thread.replies for block in reply.blocks]
    return [line for text in shown for line in text.split("\n")]


def only(slack: SlackWorkspace) -> Thread:
    (thread,) = slack.threads()
    return thread


def test_a_success_as_a_person_sees_it(controller: Controller, slack: SlackWorkspace) -> None:
    for event in story():
        controller.record(event)
        assert controller.deliver()
    thread = only(slack)
    assert [reply.text for reply in thread.replies] == TRAIL
    assert thread.root.text == f"⚪ Finished, not verified on epyc6: {HEADLINE}"
    shown = [block["text"]["text"] for block in thread.root.blocks if "text" in block]
    assert shown == [
        "⚪ Finished, not verified on epyc6",
        "tests passed\nbead bd-xyz is in progress",
        HEADLINE,
    ]
    ids = thread.root.blocks[-1]["elements"][0]["text"]
    assert ids.startswith("dispatch bd-xyz@1 · ses_abc · affordabot · claude-code@macmini · ")
    assert controller.counts() == (3, 0, 0)


@pytest.mark.parametrize(
    ("state", "words", "title"),
    [
        (State.FAILED, "APIError 401: no", "❌ Failed on epyc6"),
        (State.REFUSED, "the bead is held by bd-xyz@0", "🚫 Refused on epyc6"),
    ],
)
def test_a_failure_and_a_refusal(
    controller: Controller, slack: SlackWorkspace, state: State, words: str, title: str
) -> None:
    controller.record(ended(state, words))
    assert controller.deliver()
    assert lines(only(slack)) == [], "the head says all"
    assert only(slack).root.text.startswith(f"{title}: ")
    assert words in str(only(slack).root.blocks)


def test_two_orchestrators_and_their_dispatches(slack: SlackWorkspace, tmp_path: Path) -> None:
    one, two = (Controller(tmp_path / name, slack) for name in ("one", "two"))
    other = replace(SUBJECT, dispatch="bd-abc@1", bead="bd-abc", orchestrator="antigravity@homedesktop")
    for mine, theirs in zip(story(), story(other), strict=True):
        one.record(mine)
        two.record(theirs)
        assert one.deliver()
        assert two.deliver()
    assert [lines(thread) for thread in slack.threads()] == [TRAIL, TRAIL]
    assert [thread.root.text.partition(": ")[2] for thread in slack.threads()] == [
        HEADLINE,
        "[homedesktop] Dispatching bd-abc to epyc6: Run make test",
    ]


def test_a_dispatch_that_another_controller_takes_over_stays_one_thread(
    slack: SlackWorkspace, tmp_path: Path
) -> None:
    one, two = (Controller(tmp_path / name, slack) for name in ("one", "two"))
    events = story()
    one.record(*events[:2])
    assert one.deliver()
    two.record(
        kinds.taken_over(replace(SUBJECT, orchestrator="codex@epyc6"), "claude-code@macmini"), *events[1:]
    )
    assert two.deliver()
    assert lines(only(slack)) == [
        TRAIL[0],
        "[epyc6] Taken over by codex@epyc6 from claude-code@macmini",
        TRAIL[1],
    ]
    assert only(slack).root.text == f"⚪ Finished, not verified on epyc6: {HEADLINE}"


def test_three_vms_are_one_thread_with_a_table(controller: Controller, slack: SlackWorkspace) -> None:
    vms = ("homedesktop", "macmini", "epyc6")
    stories = [story(replace(SUBJECT, dispatch=f"bd-xyz@1.{vm}", vm=vm)) for vm in vms]
    for step in range(3):
        controller.record(*(told[step] for told in stories))
        assert controller.deliver()
    thread = only(slack)
    assert sorted(lines(thread)) == sorted(
        wording.words_of(event) for told in stories for event in told[1:] if event
    )
    assert (
        thread.root.text
        == "⚪ 3 finished, not verified: [macmini] Dispatching bd-xyz to 3 VMs: Run make test"
    )
    assert all(f"{vm}: finished, not verified" in str(thread.root.blocks) for vm in vms)


FAULTS = {
    "hang": {"commit": False},
    "hang and done": {"kind": "hang", "seconds": 0.8, "commit": True},
    "drip": {"pause_s": 0.3},
    "429": {"kind": "ratelimited", "retry_after": "1"},
    "429 at a date": {"kind": "ratelimited", "retry_after": "Wed, 21 Oct 2026 07:28:00 GMT"},
    "500": {"kind": "http", "status": 500},
    "502": {"kind": "http", "status": 502},
    "html": {},
    "empty": {},
    "list": {},
    "a word with 200": {"kind": "text", "status": 200},
    "a word with 502": {"kind": "text", "status": 502},
    "bad_utf8": {},
    "truncated": {},
    "short": {},
    "reset": {},
    "commit_then_drop": {},
    "internal_error": {},
    "internal_error and done": {"kind": "internal_error", "commit": True},
    "msg_too_long": {},
    "invalid_blocks": {},
}


@pytest.mark.parametrize("after", [0, 1, 2], ids=["root", "first reply", "second reply"])
@pytest.mark.parametrize("name", list(FAULTS))
def test_a_spoiled_post_is_in_the_thread_exactly_once(
    controller: Controller, slack: SlackWorkspace, name: str, after: int
) -> None:
    options = {"kind": name, **FAULTS[name]}
    slack.fault("chat.postMessage", after=after, **options)  # type: ignore[arg-type]
    for event in story():
        controller.record(event)
        controller.deliver(deadline_s=0.5)
    assert controller.deliver()
    assert lines_or_texts(only(slack)) == TRAIL
    assert "inished, not verified" in only(slack).root.text
    assert controller.counts() == (3, 0, 0)


def lines_or_texts(thread: Thread) -> list[str]:
    """As :func:`lines`, also of messages that are in the plain form."""
    return [
        line
        for reply in thread.replies
        for text in ([block["text"]["text"] for block in reply.blocks] or [reply.text])
        for line in text.split("\n")
    ]


@pytest.mark.parametrize("method", ["chat.update", "conversations.history", "conversations.replies"])
@pytest.mark.parametrize("kind", ["html", "reset", "truncated", "ratelimited"])
def test_a_spoiled_look_or_update_changes_nothing(
    controller: Controller, slack: SlackWorkspace, method: str, kind: str
) -> None:
    slack.fault(method, kind)
    slack.fault("chat.postMessage", "commit_then_drop", after=1)
    for event in story():
        controller.record(event)
        controller.deliver()
    assert controller.deliver()
    assert lines(only(slack)) == TRAIL
    assert only(slack).root.text.startswith("⚪ Finished, not verified on epyc6: ")


@pytest.mark.parametrize("kind", ["invalid_auth", "not_in_channel", "channel_not_found", "is_archived"])
def test_what_somebody_must_mend_is_said_and_all_is_kept(
    controller: Controller, slack: SlackWorkspace, kind: str
) -> None:
    slack.fault("*", kind, None)
    controller.record(*story())
    assert controller.deliver() is False
    assert controller.counts() == (0, 0, 3)
    assert kind in " ".join(controller.said)
    slack.clear()
    assert controller.deliver()
    assert lines(only(slack)) == TRAIL


def test_a_channel_in_which_the_bot_is_not(controller: Controller, slack: SlackWorkspace) -> None:
    controller.outbox.append(kinds.stopped(SUBJECT), slack.other_channel)
    assert controller.deliver() is False
    assert "not_in_channel" in " ".join(controller.said)


def test_a_wrong_token(controller: Controller, slack: SlackWorkspace) -> None:
    controller.record(*story())
    assert controller.deliver(SLACK_BOT_TOKEN="xoxb-" + "wrong") is False
    assert "invalid_auth" in " ".join(controller.said)
    assert controller.deliver()
    assert lines(only(slack)) == TRAIL


def test_nobody_listens(controller: Controller, slack: SlackWorkspace) -> None:
    controller.record(*story())
    slack.refuse()
    assert controller.deliver(timeout_s=0.5) is False
    slack.accept()
    assert controller.deliver()
    assert lines(only(slack)) == TRAIL


def test_a_name_that_nobody_knows(controller: Controller, slack: SlackWorkspace) -> None:
    controller.record(*story())
    assert controller.deliver(timeout_s=0.5, DX_SLACK_API_URL="https://slack.invalid/api/") is False
    assert controller.deliver()
    assert lines(only(slack)) == TRAIL


def test_a_limit_of_one_post_a_second(controller: Controller, slack: SlackWorkspace) -> None:
    slack.limit(per_second=1)
    for number in range(2):
        controller.record(*story(replace(SUBJECT, dispatch=f"d{number}")))
    assert controller.deliver()
    assert [lines(thread) for thread in slack.threads()] == [TRAIL] * 2


def test_a_person_who_throws_the_bot_out_of_its_thread(controller: Controller, slack: SlackWorkspace) -> None:
    """The root is deleted: what follows is told all the same."""
    controller.record(story()[0])
    assert controller.deliver()
    slack.client().chat_delete(channel=slack.channel, ts=only(slack).root.ts)
    controller.record(*story()[1:])
    assert controller.deliver()
    assert controller.counts() == (3, 0, 0)


@pytest.mark.parametrize("done", [False, True], ids=["before it is done", "after it is done"])
@pytest.mark.parametrize("call", [0, 1, 2], ids=["looking for the root", "posting the root", "replying"])
def test_a_deliverer_that_is_killed_is_followed_by_another(
    controller: Controller, slack: SlackWorkspace, call: int, done: bool
) -> None:
    slack.fault("*", "hang", after=call, commit=done)
    controller.record(*story())
    process = _flushing(controller.env)
    try:
        slack.wait_for_calls("*", call + 1)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert controller.deliver()
    assert lines(only(slack)) == TRAIL
    assert controller.counts() == (3, 0, 0)


def test_two_processes_deliver_one_outbox(controller: Controller, slack: SlackWorkspace) -> None:
    for number in range(3):
        controller.record(*story(replace(SUBJECT, dispatch=f"d{number}")))
    processes = [_flushing(controller.env) for _ in range(3)]
    assert [process.wait(120) for process in processes] == [0, 0, 0]
    assert [lines(thread) for thread in slack.threads()] == [TRAIL] * 3


def test_two_hundred_dispatches_at_once(controller: Controller, slack: SlackWorkspace) -> None:
    subjects = [replace(SUBJECT, dispatch=f"d{number}") for number in range(200)]
    recorders = []
    for part in range(8):
        if (pid := fork()) == 0:
            for one in subjects[part::8]:
                controller.record(*story(one))
            os._exit(0)
        recorders.append(pid)
    assert controller.deliver(timeout_s=400) or controller.deliver(timeout_s=400)
    assert [os.waitpid(pid, 0)[1] for pid in recorders] == [0] * 8
    assert controller.deliver(timeout_s=400)
    threads = slack.threads()
    assert len(threads) == 200
    assert all(lines(thread) == TRAIL for thread in threads)


def test_the_commands_words(controller: Controller, slack: SlackWorkspace) -> None:
    controller.record(*story())
    done = run_fleet("audit", "flush", env=controller.env)
    assert done.code == 0, done.err
    assert "3 delivered now" in done.out
    assert lines(only(slack)) == TRAIL
    shown = run_fleet("audit", "show", "bd-xyz@1", "--json", env=controller.env).document()["trail"]
    assert (shown["delivered"], shown["pending"], shown["held"]) == (3, 0, 0)


def test_no_secret_reaches_slack(controller: Controller, slack: SlackWorkspace) -> None:
    for number, (text, _) in enumerate(LEAKS):
        controller.record(
            kinds.dispatching(replace(SUBJECT, dispatch=f"bd-xyz@1.{number}", vm=str(number)), text)
        )
    assert controller.deliver()
    said = str([request.arguments for request in slack.requests()])
    assert [secret for _, secret in LEAKS if secret in said] == []


def test_text_of_others_calls_nobody(controller: Controller, slack: SlackWorkspace) -> None:
    task = "<!channel> <@U1> <https://evil.example|ok> *b* \u202e & `x`"
    controller.record(kinds.dispatching(SUBJECT, task))
    assert controller.deliver()
    for message in only(slack).messages:
        ours = re.compile(r"<!date\^\d+\^\{ago\}\|at [\d:]{8} UTC>")  # how long ago the task moved
        assert "<" not in ours.sub("", str(message.text) + str(message.blocks))
        assert "\u202e" not in str(message.raw)


def _flushing(env: dict[str, str]) -> subprocess.Popen[bytes]:
    code = "from ansible_collections.dx.fleet.plugins.plugin_utils.cli.entry import fleet_main; fleet_main()"
    return subprocess.Popen(
        [sys.executable, "-c", code, "audit", "flush"],
        env={**os.environ, "PYTHONPATH": str(COLLECTIONS), **env},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
