# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The listener's replies: posted once each, also by a listener that follows one that died."""

from __future__ import annotations

import logging
from typing import Any

from slack_sdk.web.async_client import AsyncWebClient

from ..audit.slack.errors import Ambiguous, RetryLater
from ..domain.clock import SYSTEM_CLOCK, Clock
from .acts import Act, Slash
from .slack_faults import SLACK_FAULTS, fault_of, reason_of

__all__ = ["EVENT_TYPE", "Replies"]

EVENT_TYPE = "dx_fleet_reply"
AGAIN_S = (0.5, 2.0, 5.0, 15.0, *([30.0] * 20))
"""How long to wait before each further try, unless Slack wants longer; after them the reply is given up."""

log = logging.getLogger("dx.fleet.listener")


class Replies:
    """Posts into the thread of an act; where it has none, in one of its own, or, for a slash command, which
    is no message, in the channel.

    Where Slack is down it is tried again, after a look whether it is there. What Slack does not take is
    logged and left: the effect stands in the thread of the dispatch as well, by the outbox.

    Args:
        web: The bot's client.
        channel: The channel's id.
        clock: Between two tries.
    """

    def __init__(self, web: AsyncWebClient, channel: str, clock: Clock = SYSTEM_CLOCK) -> None:
        self._web = web
        self._channel = channel
        self._clock = clock

    async def post(self, act: Act, step: str, text: str, *, again: bool) -> None:
        """Post one reply. ``step`` is its name among those to this act; ``again``: it may be there."""
        thread = None if isinstance(act, Slash) else act.thread or act.at
        payload = {"act": act.key, "step": step}
        for pause_s in (*AGAIN_S, None):
            try:
                if again and await self._is_there(act, thread, payload):
                    return
                await self._send(thread, text, payload)
            except SLACK_FAULTS as error:
                fault = fault_of(error)
            else:
                return
            if pause_s is None or not isinstance(fault, RetryLater | Ambiguous):
                log.warning("a reply was not posted: %s", fault.code)
                return
            log.info("a reply is not posted yet: %s", fault.code)
            again = again or isinstance(fault, Ambiguous)
            silence_s = fault.after_s if isinstance(fault, RetryLater) else None
            await self._clock.sleep(max(pause_s, silence_s or 0.0))

    async def _send(self, thread: str | None, text: str, payload: dict[str, str]) -> None:
        await self._web.chat_postMessage(
            channel=self._channel,
            thread_ts=thread,
            text=text,
            unfurl_links=False,
            unfurl_media=False,
            metadata={"event_type": EVENT_TYPE, "event_payload": payload},
        )

    async def whisper(self, act: Act, text: str) -> None:
        """Tell the person alone; where Slack can't, the log has it."""
        try:
            await self._web.chat_postEphemeral(
                channel=self._channel, user=act.user, text=text, thread_ts=act.thread
            )
        except SLACK_FAULTS as error:
            log.warning("a private reply was not posted: %s", reason_of(error))

    async def _is_there(self, act: Act, thread: str | None, payload: dict[str, str]) -> bool:
        where = {"oldest": act.at} if thread is None else {"ts": thread}
        method = "conversations.history" if thread is None else "conversations.replies"
        asked = {"channel": self._channel, "include_all_metadata": True, "limit": 200, **where}
        cursor: str | None = None
        while True:
            page = await self._web.api_call(
                method, params={**asked, **({"cursor": cursor} if cursor else {})}
            )
            for message in page.get("messages") or ():
                metadata: dict[str, Any] = message.get("metadata") or {}
                if metadata.get("event_type") == EVENT_TYPE and metadata.get("event_payload") == payload:
                    return True
            cursor = (page.get("response_metadata") or {}).get("next_cursor")
            if not cursor:
                return False
