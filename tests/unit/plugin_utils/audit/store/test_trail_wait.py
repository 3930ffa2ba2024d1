# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The end of a run waits a second at most, not at all for a Slack that hangs, and as long as it is told to."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.facts import kinds
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.facts.event import Subject
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.store.outbox import Outbox
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.store.records import DeliveryState
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.store.trail_wait import TrailWait, Undelivered

SUBJECT = Subject("01M84H6478VVE56E3XRV0CR3AN", vm="epyc6")


@pytest.fixture
def outbox(tmp_path: Path) -> Outbox:
    outbox = Outbox(tmp_path / "state" / "outbox.db")
    outbox.append(kinds.retrying(SUBJECT, "of an earlier run", 1), "C1")
    return outbox


def waited(outbox: Outbox, timeout_s: float, start: Callable[[], object] = lambda: None) -> Undelivered:
    """What is left after the end of a run that recorded one fact."""
    trail = TrailWait(outbox, "C1", start)
    outbox.append(kinds.stopped(SUBJECT), "C1")
    return trail.until_delivered(timeout_s)


def deliver(outbox: Outbox) -> None:
    records = outbox.ledger.thread_records(SUBJECT.dispatch)[1:]
    asyncio.run(outbox.ledger.mark(records, DeliveryState.DELIVERED, ts="1.2"))


def test_what_is_delivered_meanwhile_is_not_waited_for_any_longer(outbox: Outbox) -> None:
    began = time.monotonic()
    assert waited(outbox, 3600, lambda: deliver(outbox)) == Undelivered(0)
    assert time.monotonic() - began < 60


def test_what_an_earlier_run_left_is_not_waited_for(outbox: Outbox) -> None:
    assert TrailWait(outbox, "C1", lambda: None).until_delivered(3600) == Undelivered(0)


def test_a_run_with_a_trail_in_another_channel_is_not_waited_for(outbox: Outbox) -> None:
    trail = TrailWait(outbox, "C2", lambda: None)
    outbox.append(kinds.stopped(SUBJECT), "C1")
    assert trail.until_delivered(3600) == Undelivered(0)


def test_what_is_not_delivered_in_time_is_counted(outbox: Outbox) -> None:
    began = time.monotonic()
    assert waited(outbox, 0.2) == Undelivered(1)
    assert 0.2 <= time.monotonic() - began < 60


def test_a_deliverer_is_started_where_none_runs(outbox: Outbox) -> None:
    started: list[int] = []
    waited(outbox, 0.5, lambda: started.append(1))
    assert 2 <= len(started) <= 3


@pytest.mark.parametrize(("since_s", "hopeless"), [(0.0, False), (60.0, True)])
def test_a_slack_that_does_not_answer_is_not_waited_for(
    outbox: Outbox, since_s: float, hopeless: bool
) -> None:
    asyncio.run(outbox.ledger.keep_channel("C1", unanswered_since=time.time() - since_s))
    started: list[int] = []
    assert waited(outbox, 0.25, lambda: started.append(1)) == Undelivered(1)
    assert (started == []) is hopeless


def test_where_the_deliverer_ends_with_the_run_even_that_is_waited_for(outbox: Outbox) -> None:
    asyncio.run(outbox.ledger.keep_channel("C1", unanswered_since=time.time() - 60))
    assert waited(outbox, 60, lambda: deliver(outbox)) == Undelivered(0)


def test_what_somebody_must_mend_is_not_waited_for(outbox: Outbox) -> None:
    asyncio.run(outbox.ledger.keep_channel("C1", trouble="not_in_channel"))
    assert waited(outbox, 3600) == Undelivered(1, "not_in_channel")
