# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Slack's envelopes say that a person did, and what is ignored."""

from __future__ import annotations

import copy

import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.listener.acts import (
    Channel,
    Click,
    Ignored,
    Message,
    NativeStop,
    Slash,
    act_in,
    act_of_history,
)

from tests.unit.clock import ManualClock

CHANNEL = Channel(id="C1", team="T1", app="A1", bot_user="U0BOT")


def event_callback(**event):
    base = {"type": "message", "channel": "C1", "user": "U1", "text": "stop", "ts": "100.000001"}
    return {
        "type": "event_callback",
        "team_id": "T1",
        "api_app_id": "A1",
        "event_id": "Ev1",
        "event": {**base, **event},
    }


def block_actions(**changed):
    base = {
        "type": "block_actions",
        "api_app_id": "A1",
        "team": {"id": "T1"},
        "user": {"id": "U1", "team_id": "T1"},
        "channel": {"id": "C1"},
        "message": {"ts": "90.000001"},
        "actions": [{"action_id": "stop", "action_ts": "101.5", "value": "d1"}],
    }
    return {**base, **changed}


def test_a_message_in_a_thread():
    payload = event_callback(thread_ts="90.000001", text="Stop, wrong branch")
    assert act_in("events_api", payload, CHANNEL) == Message(
        "message T1 C1 100.000001", "U1", "100.000001", "Stop, wrong branch", False, "90.000001"
    )


def test_a_mention_is_the_same_message_and_has_the_same_key():
    text = "<@U0BOT> stop epyc6"
    as_message = act_in("events_api", event_callback(text=text), CHANNEL)
    as_mention = act_in("events_api", event_callback(type="app_mention", text=text), CHANNEL)
    of_history = act_of_history({"type": "message", "user": "U1", "text": text, "ts": "100.000001"}, CHANNEL)
    assert as_message == as_mention == of_history
    assert as_message == Message("message T1 C1 100.000001", "U1", "100.000001", "stop epyc6", True, None)


def test_the_head_of_a_thread_is_in_no_thread():
    found = act_in("events_api", event_callback(thread_ts="100.000001"), CHANNEL)
    assert isinstance(found, Message)
    assert found.thread is None


def test_a_click():
    assert act_in("interactive", block_actions(), CHANNEL) == Click(
        "click T1 90.000001 stop U1 101.5", "U1", "101.5", "stop", "d1", "90.000001"
    )


def test_the_native_stop():
    payload = event_callback(type="agent_session_stopped", thread_ts="90.000001", event_ts="102.5")
    assert act_in("events_api", payload, CHANNEL) == NativeStop("event T1 Ev1", "U1", "102.5", "90.000001")


@pytest.mark.parametrize(
    "event",
    [
        {"channel": "C2"},
        {"bot_id": "B1"},
        {"app_id": "A1"},
        {"user": ""},
        {"user_team": "T2"},
        {"source_team": "T2"},
        {"subtype": "message_changed", "message": {"text": "stop"}},
        {"subtype": "message_deleted"},
        {"subtype": "bot_message"},
        {"hidden": True},
        {"edited": {"user": "U1", "ts": "101.0"}},
        {"ts": ""},
        {"type": "reaction_added"},
        {"type": "agent_session_stopped"},
        {"user": None},
        {"text": ["stop"]},
    ],
    ids=str,
)
def test_what_no_person_of_ours_wrote_is_ignored(event):
    assert isinstance(act_in("events_api", event_callback(**event), CHANNEL), Ignored)


@pytest.mark.parametrize(
    "changed",
    [{"team_id": "T2"}, {"api_app_id": "A2"}, {"is_ext_shared_channel": True}, {"event": None}],
    ids=str,
)
def test_what_comes_by_another_way_is_ignored(changed):
    assert isinstance(act_in("events_api", {**event_callback(), **changed}, CHANNEL), Ignored)


@pytest.mark.parametrize(
    "changed",
    [
        {"api_app_id": "A2"},
        {"team": {"id": "T2"}},
        {"user": {"id": "U1", "team_id": "T2"}},
        {"channel": {"id": "C2"}},
        {"type": "view_submission"},
        {"actions": []},
        {"message": None},
    ],
    ids=str,
)
def test_a_click_elsewhere_is_ignored(changed):
    assert isinstance(act_in("interactive", block_actions(**changed), CHANNEL), Ignored)


def slash_command(**changed):
    base = {"command": "/dx", "text": " stop epyc6 ", "user_id": "U1", "channel_id": "C1"}
    return {**base, "team_id": "T1", "api_app_id": "A1", "trigger_id": "1.2.3", **changed}


def test_a_slash_command():
    found = act_in("slash_commands", slash_command(), CHANNEL, ManualClock(100.5))
    assert found == Slash("slash T1 1.2.3", "U1", "100.500000", "stop epyc6")


@pytest.mark.parametrize(
    ("changed", "answer"),
    [
        ({"team_id": "T2"}, None),
        ({"api_app_id": "A2"}, None),
        ({"channel_id": "C2"}, "Nothing was done: commands are taken in <#C1> alone."),
        ({"user_id": None}, None),
        ({"trigger_id": 3}, None),
    ],
    ids=str,
)
def test_a_slash_command_elsewhere_is_ignored(changed, answer):
    found = act_in("slash_commands", slash_command(**changed), CHANNEL)
    assert isinstance(found, Ignored)
    assert found.answer == answer


@pytest.mark.parametrize("kind", ["slash_commands", "hello", ""])
def test_other_envelopes_are_ignored(kind):
    assert isinstance(act_in(kind, event_callback(), CHANNEL), Ignored)


def test_a_payload_is_only_read():
    payload = event_callback()
    before = copy.deepcopy(payload)
    act_in("events_api", payload, CHANNEL)
    assert payload == before
