# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The deliverer as the process that it is: started by a record, alone, and dead at any moment without a loss."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.facts import kinds, wording
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.facts.event import AuditEvent, Subject
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.slack.deliverer import Deliverer, deliver_now
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.slack.pace import Pace
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.slack.web_api import WebApi
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.store import deliverer_process
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.store.deliverer_process import (
    log_path,
    start_deliverer,
)
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.store.lease import Lease
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.store.outbox import Outbox
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.store.recorder import Recorder
from ansible_collections.dx.fleet.plugins.plugin_utils.config.slack import AuditConfig

from tests.unit.forking import fork
from tests.unit.plugin_utils.audit.holding import BLOCKED_S, holding, longest_stop
from tests.unit.plugin_utils.audit.slack_server import Handler, SlackServer, raw
from tests.unit.plugin_utils.audit.slack_state import Channel, channel

TOKEN = "xoxb-" + "1234567890abcdef"
SUBJECT = Subject("01M84H6478VVE56E3XRV0CR3AN", vm="epyc6", session="ses_abc")
EVENTS = [kinds.dispatching(SUBJECT, "Run"), kinds.session_created(SUBJECT), kinds.stopped(SUBJECT)]
TRAIL = [wording.words_of(event) for event in EVENTS[1:]]  # the head tells what is dispatched
QUICK = Pace(post_s=0.01, update_s=0.01, same_root_s=0.01, step_s=0.01, settle_s=0.01, first_retry_s=0.05)


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")


@pytest.fixture
def slack() -> Iterator[Channel]:
    with channel() as one:
        yield one


@pytest.fixture
def outbox(tmp_path: Path) -> Outbox:
    return Outbox(tmp_path / "dx-fleet" / "outbox.db")


class Controller:
    """Who records, and the processes that it starts."""

    def __init__(self, outbox: Outbox, server: SlackServer) -> None:
        self.outbox = outbox
        self.config = AuditConfig.read({"SLACK_BOT_TOKEN": TOKEN, "DX_SLACK_API_URL": server.url}, "C1")
        self.warned: list[str] = []
        self.recorder = Recorder(self.config, outbox, self.warned.append, self.start)
        self.pids: list[int] = []

    def start(self) -> bool:
        started = start_deliverer(self.config, self.outbox.path)
        if started:
            self.pids.append(deliverer_process._started[-1].pid)
        return started

    def record(self, *events: AuditEvent) -> None:
        assert all(self.recorder.record(event) for event in events or EVENTS)

    def until(self, came: Callable[[], bool]) -> None:
        """Wait for what another process does."""
        give_up = time.monotonic() + 60
        while not came():
            assert time.monotonic() < give_up, log_path(self.outbox.path).read_text()
            time.sleep(0.02)

    def until_delivered(self) -> None:
        self.until(lambda: self.outbox.counts().pending == 0)

    def stop(self) -> None:
        for process in deliverer_process._started:
            if process.pid in self.pids:
                process.kill()
                process.wait()


@pytest.fixture
def controller(outbox: Outbox, slack: Channel) -> Iterator[Controller]:
    one = Controller(outbox, slack.server)
    yield one
    slack.server.released.set()
    one.stop()


def deliverer(outbox: Outbox, server: SlackServer, **more: object) -> Deliverer:
    more = {"report": print, "pace": QUICK, **more}
    return Deliverer(outbox, WebApi(TOKEN, server.url), **more)  # type: ignore[arg-type]


async def all_delivered(outbox: Outbox) -> None:
    async with asyncio.timeout(60):
        while True:
            if not outbox.counts().pending:
                return
            await asyncio.sleep(0.02)


# --- the process ---


def test_the_first_record_starts_it_and_all_is_delivered(controller: Controller, slack: Channel) -> None:
    controller.record()
    controller.until_delivered()
    (root,) = slack.roots()
    assert slack.replies(root) == TRAIL
    assert len(controller.pids) == 1
    assert controller.warned == []


def test_it_has_a_session_of_its_own_and_inherits_nothing_but_the_lock(controller: Controller) -> None:
    read, write = os.pipe()
    os.set_inheritable(write, True)
    try:
        controller.record()
        controller.until_delivered()
        process = psutil.Process(controller.pids[0])
        assert os.getsid(process.pid) == process.pid
        assert TOKEN not in " ".join(process.cmdline())
        assert process.cwd() == "/"
        if sys.platform == "linux":
            fds = Path(f"/proc/{process.pid}/fd")
            open_files = {os.readlink(fd) for fd in fds.iterdir()}
            assert os.readlink(f"/proc/self/fd/{write}") not in open_files
            assert [os.readlink(fds / str(fd)) for fd in (0, 1)] == ["/dev/null"] * 2
    finally:
        os.close(read)
        os.close(write)


def test_many_that_record_at_once_start_one(controller: Controller, slack: Channel) -> None:
    controller.outbox.append(EVENTS[0], "C1")
    controller.outbox.close()
    started_read, started_write = os.pipe()
    children = []
    for number in range(8):
        if (pid := fork()) == 0:
            event = kinds.retrying(SUBJECT, "429", number)
            controller.recorder.record(event)
            os.write(started_write, b"x" * len(controller.pids))
            os._exit(0)
        children.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 8
    os.close(started_write)
    with os.fdopen(started_read, "rb") as started:
        assert started.read() == b"x"
    controller.until_delivered()
    assert log_path(controller.outbox.path).read_text().count("started: process") == 1
    assert len(slack.replies(slack.roots()[0])) == 8
    (pid,) = {int(word) for word in log_path(controller.outbox.path).read_text().split() if word.isdigit()}
    os.kill(pid, signal.SIGTERM)


def test_who_finds_another_at_work_starts_none_and_the_next_starts_one(
    controller: Controller, outbox: Outbox
) -> None:
    other = Lease(outbox.path)
    outbox.append(EVENTS[0], "C1")
    assert other.take()
    controller.record(EVENTS[1])
    assert controller.pids == []
    other.give_back()
    controller.record(EVENTS[2])
    assert len(controller.pids) == 1
    controller.until_delivered()


def test_it_ends_at_sigterm_and_gives_the_lock_back(controller: Controller, outbox: Outbox) -> None:
    controller.record()
    controller.until_delivered()
    os.kill(controller.pids[0], signal.SIGTERM)
    controller.until(lambda: deliverer_process._started[-1].poll() is not None)
    assert deliverer_process._started[-1].returncode == 0
    assert Lease(outbox.path).take()


def test_without_a_token_it_says_so_in_its_log(outbox: Outbox) -> None:
    outbox.append(EVENTS[0], "C1")
    done = subprocess.run(
        [sys.executable, "-m", deliverer_process.MODULE],
        env={"PYTHONPATH": str(deliverer_process.ROOT), "XDG_STATE_HOME": str(outbox.path.parent.parent)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert "SLACK_BOT_TOKEN is not set" in done.stderr


# --- in an event loop ---


def test_it_ends_when_it_was_idle(outbox: Outbox, slack: Channel) -> None:
    for event in EVENTS:
        outbox.append(event, "C1")
    asyncio.run(deliverer(outbox, slack.server).until_idle(0.2))
    assert outbox.counts().delivered == 3
    assert Lease(outbox.path).take()


def test_what_is_recorded_at_its_end_is_delivered_by_it(outbox: Outbox, slack: Channel) -> None:
    class Late(Lease):
        """At the first end, something is recorded by who still sees the lock taken."""

        def give_back(self) -> None:
            outbox.append(EVENTS[1], "C1")
            super().give_back()

    outbox.append(EVENTS[0], "C1")
    asyncio.run(deliverer(outbox, slack.server, lease=Late(outbox.path)).until_idle(0.1))
    assert slack.replies(slack.roots()[0]) == TRAIL[:1]


def test_it_ends_at_once_where_somebody_must_mend_something_first(outbox: Outbox, slack: Channel) -> None:
    slack.server.usual = raw(200, {"ok": False, "error": "invalid_auth"})
    outbox.append(EVENTS[0], "C1")
    asyncio.run(deliverer(outbox, slack.server).until_idle(3600))
    assert outbox.counts().held == 1


def test_a_channel_that_never_works_does_not_keep_it_alive(outbox: Outbox, slack: Channel) -> None:
    def choosy(handler: Handler) -> None:
        if slack.server.requests[-1].body["channel"] == "wrong":
            raw(200, {"ok": False, "error": "channel_not_found"})(handler)
        else:
            slack.answer(handler)

    slack.server.usual = choosy
    outbox.append(EVENTS[0], "C1")
    outbox.append(kinds.stopped(SUBJECT), "wrong")
    asyncio.run(deliverer(outbox, slack.server).until_idle(0.2))
    assert outbox.counts().as_dict() == {"delivered": 1, "pending": 0, "held": 1}


def test_it_gives_up_where_no_call_succeeds(outbox: Outbox, slack: Channel) -> None:
    slack.server.usual = raw(500, "")
    outbox.append(EVENTS[0], "C1")
    asyncio.run(deliverer(outbox, slack.server).until_idle(3600, give_up_s=0.3))
    assert outbox.counts().pending == 1


def test_a_service_delivers_in_its_own_loop_once_it_has_the_lock(outbox: Outbox, slack: Channel) -> None:
    other = Lease(outbox.path)
    outbox.append(EVENTS[0], "C1")
    assert other.take()

    async def serve() -> None:
        service = asyncio.create_task(deliverer(outbox, slack.server).serve())
        await asyncio.sleep(0.4)
        assert slack.messages == []
        other.give_back()
        for event in EVENTS[1:]:
            outbox.append(event, "C1")
        await all_delivered(outbox)
        service.cancel()
        await asyncio.gather(service, return_exceptions=True)

    asyncio.run(serve())
    assert slack.replies(slack.roots()[0]) == TRAIL
    assert Lease(outbox.path).take()


def test_an_outbox_that_another_process_holds_does_not_stop_the_loop(outbox: Outbox, slack: Channel) -> None:
    for event in EVENTS:
        outbox.append(event, "C1")
    with holding(outbox) as release:

        async def serve() -> float:
            service = asyncio.create_task(deliverer(outbox, slack.server).serve())
            longest = await longest_stop(1.0)
            release()
            await all_delivered(outbox)
            service.cancel()
            await asyncio.gather(service, return_exceptions=True)
            return longest

        assert asyncio.run(serve()) < BLOCKED_S
    assert slack.replies(slack.roots()[0]) == TRAIL


def test_a_person_who_wants_it_now_does_not_wait_for_one_that_waits_for_a_slack_that_is_down(
    controller: Controller, outbox: Outbox, slack: Channel
) -> None:
    slack.server.usual = raw(503, "")
    controller.record()
    controller.until(lambda: len(slack.server.requests) >= 3)  # it waits for some seconds between its tries
    slack.server.usual = slack.answer
    assert deliver_now(controller.config, outbox, print, timeout_s=60, pace=QUICK) is True
    assert slack.replies(slack.roots()[0]) == TRAIL
    controller.until(lambda: deliverer_process._started[-1].poll() is not None)


def test_a_service_gives_way_to_a_person_and_goes_on(outbox: Outbox, slack: Channel) -> None:
    outbox.append(EVENTS[0], "C1")
    slack.server.usual = raw(503, "")

    async def serve() -> None:
        service = asyncio.create_task(deliverer(outbox, slack.server, pace=Pace()).serve())
        await asyncio.to_thread(slack.server.arrived.acquire)
        slack.server.usual = slack.answer
        assert await deliverer(outbox, slack.server).until_delivered(60)
        outbox.append(EVENTS[1], "C1")
        await all_delivered(outbox)
        service.cancel()
        await asyncio.gather(service, return_exceptions=True)

    asyncio.run(serve())
    assert slack.replies(slack.roots()[0]) == TRAIL[:1]


# --- killed at every step ---

KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.slack.deliverer import Deliverer
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.slack.pace import Pace
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.slack.web_api import WebApi
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.store.database import Database
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.store.outbox import Outbox

write, call = Database.write, WebApi._answer

def step():
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)

def written(self, *args, **options):
    if before:
        step()
    done = write(self, *args, **options)
    if not before:
        step()
    return done

async def called(self, *args):
    if before:
        step()
    answer = await call(self, *args)
    if not before:
        step()
    return answer

Database.write, WebApi._answer = written, called
quick = Pace(post_s=0.01, update_s=0.01, same_root_s=0.01, step_s=0.01, settle_s=0.01, first_retry_s=0.05)

def deliver():
    api = WebApi(os.environ["SLACK_BOT_TOKEN"], url)
    asyncio.run(Deliverer(Outbox(Path(path)), api, report=print, pace=quick).until_delivered(30))

for line in sys.stdin:
    words = line.split()
    left, before, path, url = int(words[0]), words[1] == "before", words[2], words[3]
    child = os.fork()
    if child == 0:
        try:
            deliver()
            os._exit(0)
        finally:
            os._exit(1)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Mortal:
    """Deliverers that are killed at one of their steps: forks of one process that has imported what they need."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", KILLED],
            env={
                **os.environ,
                "PYTHONPATH": str(deliverer_process.ROOT),
                "SLACK_BOT_TOKEN": TOKEN,
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def deliver(self, kill_at: int, moment: str, outbox: Path, url: str) -> int:
        """How one ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{kill_at} {moment} {outbox} {url}\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def end(self) -> None:
        self._process.communicate(timeout=60)


@pytest.fixture
def mortal() -> Iterator[Mortal]:
    one = Mortal()
    yield one
    one.end()


@pytest.mark.parametrize("moment", ["before", "after"])
def test_killed_at_every_write_and_call_nothing_is_lost_doubled_or_out_of_order(
    tmp_path: Path, mortal: Mortal, moment: str
) -> None:
    steps = 0
    while True:
        steps += 1
        with channel() as slack:
            outbox = Outbox(tmp_path / str(steps) / "outbox.db")
            for event in EVENTS[:2]:
                outbox.append(event, "C1")
            outbox.close()
            code = mortal.deliver(steps, moment, outbox.path, slack.server.url)
            outbox.append(EVENTS[2], "C1")
            asyncio.run(deliverer(outbox, slack.server).until_idle(0))
            (root,) = slack.roots()
            assert slack.replies(root) == TRAIL, f"killed {moment} step {steps}"
            assert root["text"].startswith("🛑 Stopped on epyc6: ")
            assert outbox.counts().delivered == 3
        if code == 0:
            break
        assert code == -signal.SIGKILL
    assert steps > 10


@pytest.mark.parametrize("is_done", [False, True], ids=["before it is done", "after it is done"])
def test_killed_while_it_waits_for_slack_another_goes_on(
    controller: Controller, slack: Channel, is_done: bool
) -> None:
    def stopped(handler: Handler) -> None:
        if is_done:
            slack.answer(Silent(handler))  # type: ignore[arg-type]
        handler.slack.released.wait(60)

    slack.server.answer(slack.answer, stopped)  # the head is posted, the replies are not answered
    controller.record(*EVENTS[:2])
    for _ in range(2):
        assert slack.server.arrived.acquire(timeout=60)
    os.kill(controller.pids[0], signal.SIGKILL)
    controller.until(lambda: deliverer_process._started[-1].poll() is not None)
    controller.record(EVENTS[2])
    controller.until_delivered()
    (root,) = slack.roots()
    assert slack.replies(root) == TRAIL
    assert len(controller.pids) == 2


class Silent:
    """Answers nothing: the answer is lost."""

    def __init__(self, handler: Handler) -> None:
        self.slack = handler.slack

    def send(self, *_: object) -> None:
        pass


# --- now ---


def test_all_is_delivered_now(outbox: Outbox, slack: Channel) -> None:
    for event in EVENTS:
        outbox.append(event, "C1")
    config = AuditConfig.for_delivery({"SLACK_BOT_TOKEN": TOKEN, "DX_SLACK_API_URL": slack.server.url})
    assert deliver_now(config, outbox, print, timeout_s=60) is True
    assert outbox.counts().delivered == 3
    assert deliver_now(config, outbox, print, timeout_s=60) is True


def test_what_cannot_be_delivered_now_stays(outbox: Outbox, slack: Channel) -> None:
    slack.server.usual = raw(200, {"ok": False, "error": "channel_not_found"})
    for event in EVENTS:
        outbox.append(event, "C1")
    reported: list[str] = []
    config = AuditConfig.for_delivery({"SLACK_BOT_TOKEN": TOKEN, "DX_SLACK_API_URL": slack.server.url})
    assert deliver_now(config, outbox, reported.append, timeout_s=60) is False
    assert outbox.counts().held == 3
    assert "/invite" in reported[0]


def test_what_could_not_be_delivered_is_tried_again_also_where_it_must_wait_first(
    outbox: Outbox, slack: Channel
) -> None:
    outbox.append(EVENTS[0], "C1")
    made = deliverer(outbox, slack.server)
    asyncio.run(outbox.ledger.keep_channel("C1", trouble="channel_not_found", next_post_at=time.time() + 0.2))
    assert outbox.counts().held == 1
    assert asyncio.run(made.until_delivered(30))
    assert outbox.counts().delivered == 1
