# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What was written while nobody listened: read from the channel's history, from a mark on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

from slack_sdk.web.async_client import AsyncWebClient

from .acts import Act, Channel, Ignored, act_of_history

__all__ = ["missed", "newest"]

PAGE = 200


async def missed(
    web: AsyncWebClient, channel: Channel, mark: str, threads: Sequence[str]
) -> AsyncIterator[Act]:
    """What people wrote after ``mark``, in the channel and in these threads of it; the oldest may come last.

    Raises:
        SlackClientError, OSError: Slack can't be read now.
    """
    async for message in _pages(web, "conversations.history", channel=channel.id, oldest=mark):
        for act in _acts(message, channel):
            yield act
    for thread in threads:
        async for message in _pages(web, "conversations.replies", channel=channel.id, ts=thread, oldest=mark):
            if message.get("ts") != thread:
                for act in _acts(message, channel):
                    yield act


async def newest(web: AsyncWebClient, channel: Channel) -> str:
    """The ``ts`` of the channel's newest message, ``0`` where there is none; raises as :func:`missed`."""
    page = await web.api_call("conversations.history", params={"channel": channel.id, "limit": 1})
    return next((str(message.get("ts") or "0") for message in page.get("messages") or ()), "0")


def _acts(message: dict[str, Any], channel: Channel) -> Sequence[Act]:
    act = act_of_history(message, channel)
    return () if isinstance(act, Ignored) else (act,)


async def _pages(web: AsyncWebClient, method: str, **arguments: Any) -> AsyncIterator[dict[str, Any]]:
    cursor: str | None = None
    while True:
        page = await web.api_call(
            method, params={**arguments, "limit": PAGE, **({"cursor": cursor} if cursor else {})}
        )
        for message in page.get("messages") or ():
            yield message
        cursor = (page.get("response_metadata") or {}).get("next_cursor")
        if not cursor:
            return
