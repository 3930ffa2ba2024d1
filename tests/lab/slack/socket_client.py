# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What tests do with Socket Mode: wait for the app, click as a person does, and spoil the connection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

__all__ = ["Envelope", "SocketClient"]

_CONTROL_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Envelope:
    """One delivery to the app. ``acked`` is None where it was not acknowledged; times are the keeper's."""

    kind: str
    payload: Mapping[str, Any]
    envelope_id: str
    retry_attempt: int
    sent: float
    acked: float | None
    answer: Any


class SocketClient:
    """The control of Socket Mode."""

    def __init__(self, control: httpx.Client) -> None:
        self._control = control

    def settings(
        self,
        *,
        ack_s: float = 3.0,
        redelivery_s: Sequence[float] = (0.0, 60.0, 300.0),
        keeps_events: bool = True,
        is_agent: bool = False,
    ) -> None:
        """How Slack is: how long it waits, when it delivers again, whether it keeps what happens while nobody is
        connected, and whether the app is declared an agent, with the native Stop."""
        wanted = {"ack_s": ack_s, "redelivery_s": list(redelivery_s)}
        self._post("settings", {**wanted, "keeps_events": keeps_events, "is_agent": is_agent})

    def wait_for(self, connected: int, timeout_s: float = 30) -> None:
        """Come back when the app has so many connections.

        Raises:
            TimeoutError: It had not.
        """
        found = self._get("socket", {"connected": connected, "timeout": timeout_s})["connected"]
        if found != connected:
            raise TimeoutError(f"{found} connections after {timeout_s} s, not {connected}")

    def envelopes(self, acked: int = 0, timeout_s: float = 30) -> list[Envelope]:
        """What was delivered, as soon as so many of them are acknowledged.

        Raises:
            TimeoutError: There were fewer.
        """
        found = [Envelope(**one) for one in self._get("envelopes", {"acked": acked, "timeout": timeout_s})]
        if sum(one.acked is not None for one in found) < acked:
            raise TimeoutError(f"{found} within {timeout_s} s, not {acked} acknowledged")
        return found

    def sessions(self) -> dict[tuple[str, str], str]:
        """Status by channel and thread, as ``agents.sessions.setStatus`` set it."""
        return {(channel, thread): status for channel, thread, status in self._get("socket", {})["sessions"]}

    def end(self, how: str) -> None:
        """See :meth:`tests.lab.slack.socket_mode.SocketMode.end`."""
        self._post("end", {"how": how})

    def event(self, event: Mapping[str, Any], **beside: Any) -> None:
        """Deliver any event, with fields beside it: what no person of the workspace can do by the Web API."""
        self._post("event", {"event": event, "beside": beside})

    def click(
        self,
        channel: str,
        message_ts: str,
        action_id: str,
        user: str,
        *,
        thread_ts: str | None = None,
        team: str | None = None,
        value: str | None = None,
        message: Mapping[str, Any] | None = None,
    ) -> bool:
        """Click on a button of a message; whether the app acknowledged it, else the person sees an error.

        Args:
            channel: Of the message.
            message_ts: Of the message.
            action_id: Of the button.
            user: Who clicks.
            thread_ts: Of the message, if it is a reply.
            team: Of the user, if it is another one.
            value: Of the button, where several do the same.
            message: As this user's client still shows it; default is as it is now.

        Raises:
            LookupError: There is no such button.
        """
        given = {"thread_ts": thread_ts, "team": team, "value": value, "message": message}
        body = {"channel": channel, "message_ts": message_ts, "action_id": action_id, "user": user}
        answer = self._post("click", {**body, **given})
        if answer.get("error"):
            raise LookupError(answer["error"])
        return bool(answer["acked"])

    def slash(self, channel: str, command: str, text: str, user: str) -> bool:
        """Give a slash command; whether the app acknowledged it."""
        body = {"channel": channel, "command": command, "text": text, "user": user}
        return bool(self._post("slash", body)["acked"])

    def native_stop(self, channel: str, thread_ts: str, user: str) -> bool:
        """Use Slack's own Stop; False where Slack shows none there."""
        body = {"channel": channel, "thread_ts": thread_ts, "user": user}
        return bool(self._post("native_stop", body)["shown"])

    def _get(self, path: str, query: Mapping[str, Any]) -> Any:
        timeout_s = float(query.get("timeout", 0)) + _CONTROL_TIMEOUT_S
        return self._control.get(f"/{path}", params=dict(query), timeout=timeout_s).raise_for_status().json()

    def _post(self, path: str, body: Mapping[str, Any]) -> Any:
        return self._control.post(f"/socket/{path}", json=body).raise_for_status().json()
