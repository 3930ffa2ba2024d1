# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Delivery beside the flow: what is recorded gets there, and nobody waits for a Slack that does not answer."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.facts import kinds
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.facts.event import Subject
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.slack import deliverer as background
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.slack import web_api as slack
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.slack.deliverer import Background, deliver_now
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.slack.delivery import Pace
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.slack.running import flush_running, running
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.slack.web_api import WebApi
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.store.lease import Lease
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.store.outbox import Outbox
from ansible_collections.dx.fleet.plugins.plugin_utils.config.slack import AuditConfig

from tests.unit.forking import fork
from tests.unit.plugin_utils.audit.slack_server import Handler, SlackServer, ok, raw, serving

TOKEN = "xoxb-" + "1234567890abcdef"
SUBJECT = Subject("01M84H6478VVE56E3XRV0CR3AN", vm="epyc6")
QUICK = Pace(post_s=0.01, update_s=0.01, same_root_s=0.01, settle_s=0.01, first_retry_s=0.05)


@pytest.fixture
def server() -> Iterator[SlackServer]:
    with serving() as served:
        yield served


@pytest.fixture
def outbox(tmp_path: Path) -> Outbox:
    return Outbox(tmp_path / "state" / "outbox.db")


class Started:
    """A delivery in the background, and what it said."""

    def __init__(self, outbox: Outbox, server: SlackServer, api: WebApi | None = None) -> None:
        self.said: list[str] = []
        self.config = AuditConfig.read({"SLACK_BOT_TOKEN": TOKEN, "DX_SLACK_API_URL": server.url}, "C1")
        self.running = Background(self.config, outbox, self.said.append, pace=QUICK, slack=api)
        self.running.start()


@pytest.fixture
def started(outbox: Outbox, server: SlackServer) -> Iterator[Started]:
    one = Started(outbox, server)
    yield one
    server.released.set()
    one.running.stop(20)


def record(outbox: Outbox, *steps: int) -> None:
    events = [kinds.dispatching(SUBJECT, "Run"), kinds.session_created(SUBJECT), kinds.stopped(SUBJECT)]
    for step in steps or range(3):
        assert outbox.append(events[step], "C1")


def hanging(handler: Handler) -> None:
    handler.slack.released.wait(60)


def test_what_is_recorded_is_told(started: Started, outbox: Outbox, server: SlackServer) -> None:
    record(outbox)
    assert started.running.flush(60) is True
    assert [request.method for request in server.requests] == ["chat.postMessage"] * 2
    assert outbox.counts().delivered == 3
    assert started.said == []


def test_what_a_worker_records_is_told(started: Started, outbox: Outbox, server: SlackServer) -> None:
    record(outbox, 0)
    assert started.running.flush(60)
    if (pid := fork()) == 0:
        record(outbox, 1)
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    assert started.running.flush(60)
    assert "Session created" in str(server.requests)


@pytest.mark.parametrize("by", ["fork", "flush"])
def test_slack_sdk_is_imported_once_workers_are_waited_for_or_it_is_the_end(
    outbox: Outbox, server: SlackServer, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    forked, imported = threading.Event(), threading.Event()
    monkeypatch.setattr(background, "forked", forked)
    monkeypatch.setattr(background, "import_sdk", imported.set)
    one = Started(outbox, server)
    record(outbox)
    assert not imported.wait(0.3)
    assert server.requests == []
    if by == "fork":
        forked.set()
    else:
        assert one.running.flush(60)
    assert imported.wait(60)
    one.running.stop(20)


def test_nothing_is_asked_where_there_is_nothing_to_tell(started: Started, server: SlackServer) -> None:
    assert started.running.flush(60) is True
    assert server.requests == []
    assert started.running._slack is None


def test_a_flush_does_not_wait_for_a_slack_that_hangs(
    outbox: Outbox, server: SlackServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor for a time-out of the call itself, which is an hour here."""
    monkeypatch.setattr(background, "FIRST_PATIENCE_S", 0.05)
    monkeypatch.setattr(background, "PATIENCE_S", 3600)
    monkeypatch.setattr(background, "STANDSTILL_S", 3600)
    monkeypatch.setattr(slack, "SOCKET_TIMEOUT_S", 3600)
    one = Started(outbox, server, WebApi(TOKEN, server.url, deadline_s=3600))
    server.answer(hanging)
    record(outbox)
    assert server.arrived.acquire(timeout=60)
    flushed: list[bool] = []
    thread = threading.Thread(target=lambda: flushed.append(one.running.flush(3600)), daemon=True)
    thread.start()
    thread.join(30)
    assert flushed == [False]
    assert outbox.counts().pending == 3
    server.released.set()
    one.running.stop(20)


def test_a_flush_has_more_patience_with_a_slack_that_has_answered(
    started: Started, outbox: Outbox, server: SlackServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "FIRST_PATIENCE_S", 0.0)
    monkeypatch.setattr(background, "PATIENCE_S", 3600)
    monkeypatch.setattr(background, "STANDSTILL_S", 3600)
    server.answer(ok(), hanging)
    record(outbox)
    for _ in range(2):
        assert server.arrived.acquire(timeout=60)
    flushed: list[bool] = []
    thread = threading.Thread(target=lambda: flushed.append(started.running.flush(3600)), daemon=True)
    thread.start()
    thread.join(0.5)
    assert flushed == []
    server.released.set()
    thread.join(60)
    assert len(flushed) == 1


def test_a_flush_does_not_wait_for_what_somebody_must_mend(
    started: Started, outbox: Outbox, server: SlackServer
) -> None:
    server.answer(*[raw(200, {"ok": False, "error": "invalid_auth"})] * 50)
    record(outbox)
    assert server.arrived.acquire(timeout=60)
    assert started.running.flush(3600) is False
    assert outbox.counts().held == 3
    assert len(started.said) == 1
    assert "invalid_auth" in started.said[0]


def test_another_process_goes_on_where_one_ended(outbox: Outbox, server: SlackServer) -> None:
    lease = Lease(outbox.path.with_name("deliver.lock"))
    record(outbox)
    assert lease.take()
    one = Started(outbox, server)
    try:
        assert one.running.flush(0.3) is False
        assert server.requests == []
        lease.give_back()
        assert one.running.flush(60) is True
    finally:
        one.running.stop(20)


def test_two_deliverers_of_one_outbox_tell_everything_once(outbox: Outbox, server: SlackServer) -> None:
    both = [Started(Outbox(outbox.path), server) for _ in range(2)]
    try:
        record(outbox)
        assert all(one.running.flush(60) for one in both)
    finally:
        for one in both:
            one.running.stop(20)
    told = [name for request in server.requests for name in _records(request.body)]
    assert len(told) == len(set(told)) == 3


def _records(body: dict[str, object]) -> list[str]:
    metadata = body["metadata"]
    assert isinstance(metadata, dict)
    return str(metadata["event_payload"].get("records", "")).split()


def test_an_outbox_that_breaks_is_said_once_and_ends_nothing(
    started: Started, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "AFTER_A_FAULT_S", 0.01)
    outbox.close()
    outbox.path.write_bytes(b"broken " * 1000)
    deadline = time.monotonic() + 60
    while not started.said and time.monotonic() < deadline:
        started.running.wake()
        time.sleep(0.01)
    assert started.running.flush(1) is False
    assert len(started.said) == 1
    assert "is no outbox" in started.said[0]


def test_a_child_does_not_flush_its_parents_delivery(started: Started, outbox: Outbox) -> None:
    record(outbox)
    assert started.running.flush(60)
    if (pid := fork()) == 0:
        os._exit(int(started.running.flush(60)))
    assert os.waitpid(pid, 0)[1] == 0


def test_whoever_ends_the_process_can_flush_what_runs(started: Started, outbox: Outbox) -> None:
    record(outbox)
    assert started.running in running
    flush_running(60)
    assert outbox.counts().pending == 0


def test_all_is_delivered_now(outbox: Outbox, server: SlackServer) -> None:
    record(outbox)
    config = AuditConfig.for_delivery({"SLACK_BOT_TOKEN": TOKEN, "DX_SLACK_API_URL": server.url})
    assert deliver_now(config, outbox, print, timeout_s=60) is True
    assert outbox.counts().delivered == 3
    assert deliver_now(config, outbox, print, timeout_s=60) is True


def test_what_cannot_be_delivered_now_stays(outbox: Outbox, server: SlackServer) -> None:
    server.answer(*[raw(200, {"ok": False, "error": "channel_not_found"})] * 50)
    record(outbox)
    said: list[str] = []
    config = AuditConfig.for_delivery({"SLACK_BOT_TOKEN": TOKEN, "DX_SLACK_API_URL": server.url})
    assert deliver_now(config, outbox, said.append, timeout_s=60) is False
    assert outbox.counts().held == 3
    assert "/invite" in said[0]
