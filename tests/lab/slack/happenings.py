# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What people and the app do in the workspace, as events and as clicks: plain functions of plain data."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from typing import Any

from .seed import APP_ID, BOT_USER

__all__ = ["clicked", "events_of_change", "events_of_post", "native_stop", "slash_command"]

Event = dict[str, Any]


def events_of_post(channel: str, team: str, message: Mapping[str, Any]) -> Iterator[Event]:
    """The events of a new message: the same message twice where it mentions the app."""
    event = {"type": "message", "channel": channel, "channel_type": "channel", "team": team, **message}
    event["event_ts"] = message["ts"]
    if message.get("reply_broadcast"):
        event["subtype"] = "thread_broadcast"
    yield event
    if f"<@{BOT_USER}" in str(message.get("text", "")) and not message.get("bot_id"):
        yield {**event, "type": "app_mention"}


def events_of_change(
    method: str, channel: str, ts: str, event_ts: str, message: Mapping[str, Any]
) -> Iterator[Event]:
    """The event of an edited or deleted message; an edit that mentions the app is a mention as well."""
    base = {"type": "message", "channel": channel, "ts": event_ts, "event_ts": event_ts, "hidden": True}
    if method == "chat.delete":
        yield {**base, "subtype": "message_deleted", "deleted_ts": ts}
        return
    edited = {**message, "ts": ts, "edited": {"user": message.get("user"), "ts": event_ts}}
    yield {**base, "subtype": "message_changed", "message": edited}
    if f"<@{BOT_USER}" in str(message.get("text", "")) and not message.get("bot_id"):
        yield {**edited, "type": "app_mention", "channel": channel, "event_ts": event_ts}


def native_stop(channel: str, thread: str, user: str, event_ts: str) -> Event:
    """The event of the Stop that Slack shows in the thread of an agent at work."""
    return {
        "type": "agent_session_stopped",
        "channel": channel,
        "thread_ts": thread,
        "user": user,
        "event_ts": event_ts,
    }


def clicked(
    channel: str,
    team: str,
    message: Mapping[str, Any],
    action_id: str,
    user: str,
    action_ts: str,
    user_team: str | None = None,
    value: str | None = None,
) -> Mapping[str, Any]:
    """The payload of a click on a button of a message: the first one with that value, if one is given.

    Raises:
        LookupError: it has no such button.
    """
    element = next(
        (
            element
            for block in message.get("blocks", ())
            for element in (*block.get("elements", ()), block.get("accessory") or {})
            if element.get("action_id") == action_id and value in (None, element.get("value"))
        ),
        None,
    )
    if element is None:
        raise LookupError(f"the message has no button {action_id!r}")
    return {
        "type": "block_actions",
        "api_app_id": APP_ID,
        "team": {"id": team, "domain": "fleet-lab"},
        "user": {"id": user, "username": user, "team_id": user_team or team},
        "channel": {"id": channel, "name": "lab"},
        "container": {"type": "message", "message_ts": message["ts"], "channel_id": channel},
        "message": dict(message),
        "response_url": "http://127.0.0.1:9/",
        "actions": [
            {
                "type": "button",
                "action_id": action_id,
                "block_id": "b",
                "value": element.get("value", ""),
                "action_ts": action_ts,
            }
        ],
    }


def slash_command(channel: str, team: str, command: str, text: str, user: str) -> Mapping[str, Any]:
    """The payload of a slash command; it names no thread."""
    return {
        "command": command,
        "text": text,
        "user_id": user,
        "channel_id": channel,
        "team_id": team,
        "api_app_id": APP_ID,
        "response_url": "http://127.0.0.1:9/",
        "trigger_id": f"{secrets.randbelow(10**12)}.{secrets.randbelow(10**12)}.{secrets.token_hex(16)}",
    }
