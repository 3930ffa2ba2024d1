# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person did in our channel, read out of what Slack sends: a message, a click, the native Stop.

Slack delivers at least once: the same message comes as ``message`` and as ``app_mention``, again after a lost
acknowledgement, and once more from the history. ``key`` is the same for all of them. What does not come from
a person of our own team, in our own channel, is ignored, and the reason is kept for the log.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from ..domain.clock import SYSTEM_CLOCK, Clock
from .grammar import without_mention

__all__ = [
    "Act",
    "Channel",
    "Click",
    "Ignored",
    "Message",
    "NativeStop",
    "Slash",
    "act_in",
    "act_of_history",
]


@dataclass(frozen=True)
class Channel:
    """The one channel that is listened to, by ids: names can be given to another channel.

    ``team`` and ``app`` are of ``auth.test`` and the connection; ``bot_user`` is who is mentioned.
    """

    id: str
    team: str
    app: str
    bot_user: str


@dataclass(frozen=True)
class Message:
    """Somebody wrote. ``text`` is without the mention; ``at`` is when, as Slack's ``ts``."""

    key: str
    user: str
    at: str
    text: str
    mentioned: bool
    thread: str | None = None


@dataclass(frozen=True)
class Click:
    """Somebody clicked on a button of a message of ours."""

    key: str
    user: str
    at: str
    action: str
    value: str
    thread: str | None = None


@dataclass(frozen=True)
class NativeStop:
    """Somebody used the Stop that Slack itself shows in a thread of an agent."""

    key: str
    user: str
    at: str
    thread: str | None = None


@dataclass(frozen=True)
class Slash:
    """Somebody gave a slash command of ours, which stands in no thread and is no message.

    ``at`` is when it came, in seconds.
    """

    key: str
    user: str
    at: str
    text: str
    thread: str | None = None


Act = Message | Click | NativeStop | Slash


@dataclass(frozen=True)
class Ignored:
    """Nothing is done. ``why`` is for the log, ``answer`` for the person, where Slack shows one at once."""

    why: str
    answer: str | None = None


class _Read(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)


class _Event(_Read):
    type: str
    subtype: str | None = None
    channel: str = ""
    user: str = ""
    text: str = ""
    ts: str = ""
    event_ts: str = ""
    thread_ts: str | None = None
    bot_id: str | None = None
    app_id: str | None = None
    hidden: bool = False
    edited: Any = None
    user_team: str | None = None
    source_team: str | None = None


class _EventCallback(_Read):
    team_id: str
    api_app_id: str
    event_id: str = ""
    is_ext_shared_channel: bool = False
    event: _Event


class _Id(_Read):
    id: str
    team_id: str | None = None


class _Clicked(_Read):
    action_id: str
    action_ts: str
    value: str = ""


class _ClickedMessage(_Read):
    ts: str
    thread_ts: str | None = None


class _BlockActions(_Read):
    type: str
    api_app_id: str
    team: _Id
    user: _Id
    channel: _Id
    message: _ClickedMessage
    actions: list[_Clicked]


class _SlashCommand(_Read):
    text: str = ""
    user_id: str
    channel_id: str
    team_id: str
    api_app_id: str
    trigger_id: str


def act_in(
    kind: str, payload: Mapping[str, Any], channel: Channel, clock: Clock = SYSTEM_CLOCK
) -> Act | Ignored:
    """What a person did, by an envelope of Socket Mode.

    Args:
        kind: The envelope's ``type``: ``events_api``, ``interactive`` or ``slash_commands``.
        payload: The envelope's ``payload``.
        channel: Where commands are taken from.
        clock: When a slash command came; Slack does not say.
    """
    try:
        if kind == "events_api":
            return _of_event(_EventCallback.model_validate(payload), channel)
        if kind == "interactive":
            return _of_click(_BlockActions.model_validate(payload), channel)
        if kind == "slash_commands":
            return _of_slash(_SlashCommand.model_validate(payload), channel, clock.time())
    except ValidationError as error:
        fields = ", ".join(".".join(map(str, problem["loc"])) for problem in error.errors()[:3])
        return Ignored(f"an envelope of another shape: {fields}")
    return Ignored(f"an envelope of the type {kind[:40]!r}")


def act_of_history(message: Mapping[str, Any], channel: Channel) -> Act | Ignored:
    """What a person did, by a message of ``conversations.history`` or ``.replies``, which name no channel."""
    try:
        return _of_message(_Event.model_validate({**message, "channel": channel.id}), channel)
    except ValidationError:
        return Ignored("a message of another shape")


def _of_event(callback: _EventCallback, channel: Channel) -> Act | Ignored:
    event = callback.event
    if (callback.team_id, callback.api_app_id) != (channel.team, channel.app):
        return Ignored("of another team or app")
    if callback.is_ext_shared_channel and not (event.user_team or event.source_team):
        return Ignored("in a channel shared with others, by nobody knows which team")
    if event.type == "agent_session_stopped":
        return _of_native_stop(event, callback.event_id, channel)
    if event.type not in ("message", "app_mention"):
        return Ignored(f"an event of the type {event.type[:40]!r}")
    return _of_message(event, channel)


def _of_message(event: _Event, channel: Channel) -> Act | Ignored:
    stranger = _why_no_person_of_ours(event, channel)
    if stranger:
        return Ignored(stranger)
    if event.subtype not in (None, "thread_broadcast") or event.hidden or event.edited:
        return Ignored("edited, deleted or of the channel itself")
    if not event.ts:
        return Ignored("without a time")
    addressed = without_mention(event.text, channel.bot_user)
    return Message(
        key=f"message {channel.team} {channel.id} {event.ts}",
        user=event.user,
        at=event.ts,
        text=event.text if addressed is None else addressed,
        mentioned=addressed is not None,
        thread=event.thread_ts if event.thread_ts != event.ts else None,
    )


def _of_native_stop(event: _Event, event_id: str, channel: Channel) -> Act | Ignored:
    stranger = _why_no_person_of_ours(event, channel)
    if stranger:
        return Ignored(stranger)
    if not event_id or not event.event_ts or not event.thread_ts:
        return Ignored("a native Stop of no thread")
    return NativeStop(f"event {channel.team} {event_id}", event.user, event.event_ts, event.thread_ts)


def _why_no_person_of_ours(event: _Event, channel: Channel) -> str | None:
    if event.channel != channel.id:
        return "in another channel"
    if event.bot_id or event.app_id:
        return "by an app"  # also what is posted with a person's API token
    if not event.user:
        return "by nobody"
    if any(team not in (None, channel.team) for team in (event.user_team, event.source_team)):
        return "by a user of another team"
    return None


def _of_slash(given: _SlashCommand, channel: Channel, now: float) -> Act | Ignored:
    if (given.team_id, given.api_app_id) != (channel.team, channel.app):
        return Ignored("of another team or app")
    if given.channel_id != channel.id:
        return Ignored(
            "in another channel", f"Nothing was done: commands are taken in <#{channel.id}> alone."
        )
    return Slash(f"slash {channel.team} {given.trigger_id}", given.user_id, f"{now:.6f}", given.text.strip())


def _of_click(clicked: _BlockActions, channel: Channel) -> Act | Ignored:
    if (clicked.team.id, clicked.api_app_id) != (channel.team, channel.app):
        return Ignored("of another team or app")
    if clicked.user.team_id not in (None, channel.team):
        return Ignored("by a user of another team")
    if clicked.channel.id != channel.id:
        return Ignored("in another channel")
    if clicked.type != "block_actions" or len(clicked.actions) != 1:
        return Ignored("no click on a button")
    action, user = clicked.actions[0], clicked.user.id
    return Click(
        key=f"click {channel.team} {clicked.message.ts} {action.action_id} {user} {action.action_ts}",
        user=user,
        at=action.action_ts,
        action=action.action_id,
        value=action.value,
        thread=clicked.message.thread_ts or clicked.message.ts,
    )
