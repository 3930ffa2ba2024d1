# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Slack's Web API as far as the audit uses it, by slack_sdk's asyncio client."""

from __future__ import annotations

import asyncio
import logging
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

from .errors import Ambiguous, RetryLater, of_answer, of_connection
from .message import EVENT_TYPE, SlackMessage
from .port import Found, Page, Posted

__all__ = ["CALL_DEADLINE_S", "WebApi"]

CALL_DEADLINE_S = 10.0
PAGE = 200

_TS = re.compile(r"[0-9]{1,12}\.[0-9]{1,9}", re.ASCII)


class WebApi:
    """The port by slack_sdk.

    Args:
        token: The bot's.
        base_url: With a slash at its end.
        deadline_s: Of one call in all.
    """

    def __init__(self, token: str, base_url: str, *, deadline_s: float = CALL_DEADLINE_S) -> None:
        silent = logging.getLogger("dx.fleet.slack")  # its debug lines have the text of messages in them
        silent.addHandler(logging.NullHandler())
        silent.propagate = False
        silent.setLevel(logging.CRITICAL)
        self._deadline_s = deadline_s
        self._client = AsyncWebClient(
            token=token,
            base_url=base_url,
            timeout=math.ceil(deadline_s) + 1,  # the deadline comes first
            retry_handlers=[],  # the client's own would post twice where an answer is lost
            logger=silent,
        )
        self._client.proxy = _proxy(base_url)

    async def post(self, channel: str, message: SlackMessage, thread: str | None = None) -> Posted:
        data = await self._call(
            "chat.postMessage",
            {
                "channel": channel,
                "thread_ts": thread,
                **_content(message),
                "parse": "none",
                "link_names": False,
                "mrkdwn": False,
                "unfurl_links": False,
                "unfurl_media": False,
            },
        )
        posted = data.get("channel"), data.get("ts")
        if not isinstance(posted[0], str) or not isinstance(posted[1], str) or not _TS.fullmatch(posted[1]):
            raise Ambiguous("answer_without_ts")
        sent = data.get("message")
        detached = thread is not None and isinstance(sent, Mapping) and not sent.get("thread_ts")
        return Posted(posted[0], posted[1], detached)

    async def update(self, channel: str, ts: str, message: SlackMessage) -> None:
        await self._call(
            "chat.update",
            {"channel": channel, "ts": ts, **_content(message), "parse": "none", "link_names": False},
        )

    async def delete(self, channel: str, ts: str) -> None:
        await self._call("chat.delete", {"channel": channel, "ts": ts})

    async def history(self, channel: str, cursor: str | None = None) -> Page:
        return await self._page("conversations.history", {"channel": channel, "cursor": cursor})

    async def replies(self, channel: str, thread: str, cursor: str | None = None) -> Page:
        return await self._page("conversations.replies", {"channel": channel, "ts": thread, "cursor": cursor})

    async def _page(self, method: str, arguments: Mapping[str, Any]) -> Page:
        data = await self._call(method, {**arguments, "limit": PAGE, "include_all_metadata": True})
        messages = data.get("messages")
        if not isinstance(messages, list):
            raise RetryLater("answer_without_messages")
        following = data.get("response_metadata")
        cursor = following.get("next_cursor") if isinstance(following, Mapping) else None
        found = tuple(one for one in map(_found, messages) if one is not None)
        return Page(found, cursor if isinstance(cursor, str) and cursor else None)

    async def _call(self, method: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        body = {key: value for key, value in arguments.items() if value is not None}
        # Methods that read take no JSON.
        form = {"params": body, "http_verb": "GET"} if method.startswith("conversations.") else {"json": body}
        data = await self._answer(method, form)
        if not isinstance(data, Mapping) or data.get("ok") is not True:
            raise Ambiguous("answer_is_no_object")
        return data

    async def _answer(self, method: str, form: Mapping[str, Any]) -> Any:
        try:
            async with asyncio.timeout(self._deadline_s):
                return (await self._client.api_call(method, **form)).data
        except TimeoutError:
            raise Ambiguous("deadline") from None
        except SlackApiError as error:
            raise of_answer(error.response) from None
        except (aiohttp.ClientError, OSError) as error:
            raise of_connection(error) from None
        except Exception as error:  # whatever it is: the call may have been made
            raise Ambiguous(type(error).__name__) from None


def _proxy(url: str) -> str | None:
    """The proxy that the environment names for this URL: slack_sdk itself takes no account of NO_PROXY."""
    parts = urlsplit(url)
    if proxy_bypass(parts.netloc):
        return None
    return getproxies().get(parts.scheme)


def _content(message: SlackMessage) -> Mapping[str, Any]:
    # Without blocks, an update takes away those that were there.
    blocks: Sequence[Mapping[str, Any]] = message.blocks or []
    return {"text": message.text, "blocks": list(blocks), "metadata": message.metadata}


def _found(message: Any) -> Found | None:
    """The message, if it is one of ours and says what it tells."""
    if not isinstance(message, Mapping):
        return None
    metadata, ts = message.get("metadata"), message.get("ts")
    if not isinstance(metadata, Mapping) or metadata.get("event_type") != EVENT_TYPE:
        return None
    payload = metadata.get("event_payload")
    if not isinstance(payload, Mapping) or not isinstance(ts, str) or not _TS.fullmatch(ts):
        return None
    records, headline = payload.get("records"), payload.get("headline")
    return Found(
        ts=ts,
        thread_key=str(payload.get("thread_key")),
        records=tuple(records.split()) if isinstance(records, str) else (),
        is_root=isinstance(headline, str) and message.get("thread_ts") in (None, ts),
        headline=headline if isinstance(headline, str) else None,
        in_thread=message.get("thread_ts") not in (None, ts),
    )
