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
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.progress import Progress

from tests.unit.forking import fork


class Reader:
    """Takes all that comes, in a thread."""

    def __init__(self, bus: ProgressBus) -> None:
        self.got: list[Progress] = []
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._read, args=(bus,), daemon=True)
        self._thread.start()

    def _read(self, bus: ProgressBus) -> None:
        while (progress := bus.receive()) is not None:
            with self._changed:
                self.got.append(progress)
                self._changed.notify_all()

    def wait_for(self, count: int) -> list[Progress]:
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


def in_child(work: str, count: int = 1) -> None:
    """A forked worker sends so many."""
    pid = fork()
    if pid == 0:
        for number in range(count):
            send(Progress("epyc6", "x", f"{work} {number}"))
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0


def test_what_a_worker_sends_is_received_as_it_was() -> None:
    progress = Progress("epyc6", "tool_started", "bash: Grüße\n\x1b \u2028", "ses_1")
    with reading() as reader:
        send(progress)
        assert reader.wait_for(1) == [progress]


def test_forked_workers_inherit_it() -> None:
    with reading() as reader:
        for worker in "ab":
            in_child(worker)
        assert [progress.text for progress in reader.wait_for(2)] == ["a 0", "b 0"]


def test_all_that_was_sent_before_the_end_is_received() -> None:
    with reading() as reader:
        in_child("x", 5)
    assert len(reader.got) == 5


def test_without_an_open_bus_nothing_is_sent() -> None:
    assert not is_open()
    send(Progress("epyc6", "x", "y"))
    with open_bus():
        assert is_open()
    assert not is_open()


def test_a_bus_that_nobody_reads_holds_nobody_up() -> None:
    """Neither a sender nor the end."""

    def work() -> None:
        with open_bus():
            for number in range(10_000):
                send(Progress("epyc6", "x", str(number)))

    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    worker.join(timeout=30)
    assert not worker.is_alive()


def test_a_progress_that_is_too_long_is_dropped_and_the_next_one_comes() -> None:
    with reading() as reader:
        send(Progress("epyc6", "x", "y" * 10_000_000))
        send(Progress("epyc6", "x", "z"))
        assert reader.wait_for(1)[0].text == "z"


def test_what_reads_is_woken_by_the_end_and_not_by_its_own_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_bus, "CLOSING_NOTICED_S", 3600)
    with reading() as reader:
        in_child("before the end")
    assert [progress.text for progress in reader.got] == ["before the end 0"]


def test_a_worker_that_outlives_the_bus_is_not_disturbed() -> None:
    read_end, write_end = os.pipe()
    with reading():
        pid = fork()
        if pid == 0:
            os.close(write_end)
            os.read(read_end, 1)  # until the bus is closed
            send(Progress("epyc6", "x", "late"))
            os._exit(0)
    os.close(read_end)
    os.close(write_end)
    assert os.waitpid(pid, 0)[1] == 0
    assert progress_bus._sender is None
