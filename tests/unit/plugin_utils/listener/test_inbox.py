# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each act is kept once, decided once and finished once, whoever dies in between."""

from __future__ import annotations

import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.listener.acts import Click, Message, NativeStop
from ansible_collections.dx.fleet.plugins.plugin_utils.listener.inbox import KEPT_S, OVERLAP_S, Inbox

FIRST = Message("message T1 C1 1.1", "U1", "1.1", "stop epyc6", True)
SECOND = Click("click T1 1.1 stop U1 2.5", "U1", "2.5", "stop", "d1", "1.1")
THIRD = NativeStop("event T1 Ev1", "U1", "3.5", "1.1")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state" / "inbox.sqlite3"


def test_what_was_heard_comes_back_in_its_order_and_whole(path):
    inbox = Inbox(path)
    assert [inbox.keep(act) for act in (FIRST, SECOND, THIRD)] == [True, True, True]
    assert [entry.act for entry in Inbox(path).unfinished()] == [FIRST, SECOND, THIRD]


def test_a_second_delivery_is_known_also_after_a_restart_and_after_the_effect(path):
    inbox = Inbox(path)
    assert inbox.keep(FIRST)
    assert not Inbox(path).keep(FIRST)
    inbox.finish(FIRST.key, {"state": "stopped"})
    assert not Inbox(path).keep(FIRST)
    assert Inbox(path).unfinished() == []


def test_a_plan_is_decided_once(path):
    inbox = Inbox(path)
    inbox.keep(FIRST)
    assert inbox.decide(FIRST.key, {"stop": "ses_1"}) == {"stop": "ses_1"}
    assert Inbox(path).decide(FIRST.key, {"stop": "ses_2"}) == {"stop": "ses_1"}
    assert Inbox(path).unfinished()[0].plan == {"stop": "ses_1"}


def test_what_is_finished_is_forgotten_after_a_week_and_what_is_not_stays(path):
    now = [1000.0]
    inbox = Inbox(path, now=lambda: now[0])
    inbox.keep(FIRST)
    inbox.keep(SECOND)
    inbox.finish(FIRST.key, {})
    now[0] += KEPT_S + 1
    inbox.keep(THIRD)
    assert inbox.keep(FIRST)
    assert not inbox.keep(SECOND)


def test_the_history_is_read_again_from_some_minutes_before_what_was_heard_last(path):
    inbox = Inbox(path)
    assert inbox.heard_until("C1") is None
    inbox.begin_at("C1", "1000.5")
    for ts in ("5000.5", "9000.25", "2000.0"):
        inbox.set_mark("C1", ts)
    assert float(Inbox(path).heard_until("C1")) == 9000.25 - OVERLAP_S
    assert inbox.heard_until("C2") is None


def test_what_was_written_before_there_was_a_listener_is_never_read(path):
    inbox = Inbox(path)
    inbox.begin_at("C1", "1000.5")
    inbox.begin_at("C1", "1.5")  # a second one
    inbox.set_mark("C1", "1001.5")
    assert inbox.heard_until("C1") == "1000.5"


def test_the_file_is_this_users_alone(path):
    Inbox(path).keep(FIRST)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
