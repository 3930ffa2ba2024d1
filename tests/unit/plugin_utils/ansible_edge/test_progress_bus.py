# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Progress gets from forked workers to the screen, and never holds a worker up."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.ansible_edge import progress_bus
from ansible_collections.dx.fleet.plugins.plugin_utils.ansible_edge.progress_bus import (
    ProgressBus,
    is_open,
    open_bus,
    send,
)
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.event_kind import EventKind
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.progress import ProgressEvent

from tests.unit.forking import fork


class Reader:
    """Takes all that comes, in a thread."""

    def __init__(self, bus: ProgressBus) -> None:
        self.got: list[ProgressEvent] = []
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._read, args=(bus,), daemon=True)
        self._thread.start()

    def _read(self, bus: ProgressBus) -> None:
        while (event := bus.receive()) is not None:
            with self._changed:
                self.got.append(event)
                self._changed.notify_all()

    def wait_for(self, count: int) -> list[ProgressEvent]:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.got) >= count, timeout=30), self.got
        return self.got

    def ended(self) -> bool:
        self._thread.join(timeout=30)
        return not self._thread.is_alive()


@contextmanager
def reading() -> Iterator[Reader]:
    with open_bus() as bus:
        reader = Reader(bus)
        yield reader
    assert reader.ended()


def running(title: str) -> ProgressEvent:
    return ProgressEvent("epyc6", EventKind.TOOL_STARTED, "ses_1", {"title": title})


def titles(events: list[ProgressEvent]) -> list[str]:
    return [event.fields["title"] for event in events]


def in_child(work: str, count: int = 1) -> None:
    """A forked worker sends so many."""
    pid = fork()
    if pid == 0:
        for number in range(count):
            send(running(f"{work} {number}"))
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0


def test_what_a_worker_sends_is_received_as_it_was() -> None:
    event = ProgressEvent(
        "epyc6", EventKind.TOOL_FINISHED, "ses_1", {"title": "Grüße\n\x1b \u2028 \ud800", "exit": None}
    )
    with reading() as reader:
        send(event)
        assert reader.wait_for(1) == [event]


def test_forked_workers_inherit_it() -> None:
    with reading() as reader:
        for worker in "ab":
            in_child(worker)
        assert titles(reader.wait_for(2)) == ["a 0", "b 0"]


def test_all_that_was_sent_before_the_end_is_received() -> None:
    with reading() as reader:
        in_child("x", 5)
    assert len(reader.got) == 5


def test_without_an_open_bus_nothing_is_sent() -> None:
    assert not is_open()
    send(running("y"))
    with open_bus():
        assert is_open()
    assert not is_open()


def test_a_bus_that_nobody_reads_holds_nobody_up() -> None:
    """Neither a sender nor the end."""

    def work() -> None:
        with open_bus():
            for number in range(10_000):
                send(running(str(number)))

    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    worker.join(timeout=30)
    assert not worker.is_alive()


@pytest.mark.parametrize("length", [progress_bus.MAX_DATAGRAM, 70_000, 1_000_000, 10_000_000])
def test_an_event_that_is_too_long_comes_shortened_and_the_next_one_comes_whole(length: int) -> None:
    with reading() as reader:
        send(running("y" * length))
        send(running("z"))
        long, short = titles(reader.wait_for(2))
    assert long == "y" * (progress_bus.FIELD_WIDTH - 1) + "…"
    assert short == "z"


@pytest.mark.parametrize(
    "datagram",
    [
        b"x" * (progress_bus.MAX_DATAGRAM + 5000),
        b'{"vm": "epyc6", "kind": "tool_st',
        b"\xff\xfe",
        b"7",
        b"[" * 50_000,
        b'{"vm": "epyc6", "kind": "of_a_later_version", "session": null, "fields": {}}',
        b'{"vm": "epyc6", "kind": "stopped", "session": null, "fields": 7}',
    ],
    ids=["long", "cut", "binary", "number", "deep", "kind", "fields"],
)
def test_a_datagram_that_is_no_event_does_not_end_its_reader(datagram: bytes) -> None:
    with reading() as reader:
        assert progress_bus._sender is not None
        progress_bus._sender.send(datagram)
        send(running("next"))
        assert titles(reader.wait_for(1)) == ["next"]


def test_what_reads_is_woken_by_the_end_and_not_by_its_own_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_bus, "CLOSING_NOTICED_S", 3600)
    with reading() as reader:
        in_child("before the end")
    assert titles(reader.got) == ["before the end 0"]


def test_a_worker_that_outlives_the_bus_is_not_disturbed() -> None:
    read_end, write_end = os.pipe()
    with reading():
        pid = fork()
        if pid == 0:
            os.close(write_end)
            os.read(read_end, 1)  # until the bus is closed
            send(running("late"))
            os._exit(0)
    os.close(read_end)
    os.close(write_end)
    assert os.waitpid(pid, 0)[1] == 0
    assert progress_bus._sender is None
