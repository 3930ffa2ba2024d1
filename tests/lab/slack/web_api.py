# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Slack's Web API: what the emulator answers, with what it lacks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from .emulator import Emulator
from .rules import as_slack_shows, page, refusal, structured
from .seed import APP_ID, BOT_ID, Identity, Seed

__all__ = ["WebApi"]

_PAGE = 1000
_FOR_MEMBERS = ("chat.postMessage", "chat.postEphemeral", "conversations.history", "conversations.replies")
_CHANGES_MEMBERS = frozenset(
    f"conversations.{verb}" for verb in ("create", "invite", "join", "kick", "leave", "archive", "unarchive")
)

Answer = dict[str, Any]


class WebApi:
    """Answers calls, as Slack would, from the emulator's state."""

    def __init__(self, seed: Seed, emulator: Emulator, happened: Callable[[str, Answer], None]) -> None:
        """``happened`` gets the method and the answer of each call that wrote, changed or deleted a message."""
        self._seed = seed
        self._emulator = emulator
        self._happened = happened
        self._members: dict[str, Answer] = {}
        self._posted: dict[tuple[str, str], Identity] = {}
        self._broadcasting: set[tuple[str, str]] = set()
        self._under_way: set[asyncio.Task[Answer]] = set()

    async def answer(self, method: str, token: str, arguments: Mapping[str, object]) -> Answer:
        """What a caller with that token gets. Once begun it is carried out, whatever becomes of the caller."""
        identity = self._seed.identity(token)
        if identity is None:
            return _error("invalid_auth" if token else "not_authed")
        work = asyncio.create_task(self._answer(identity, method, structured(arguments)))
        self._under_way.add(work)
        work.add_done_callback(self._under_way.discard)
        return await asyncio.shield(work)

    async def clear(self) -> None:
        """Delete all messages that were posted; their authors must be in the channels."""
        if self._under_way:
            await asyncio.wait(self._under_way)
        posted, self._posted = self._posted, {}
        self._broadcasting.clear()
        await asyncio.gather(*(self._delete(identity, *where) for where, identity in posted.items()))

    async def _delete(self, identity: Identity, channel: str, ts: str) -> None:
        answer = await self._call(identity, "chat.delete", {"channel": channel, "ts": ts})
        if not answer["ok"]:
            raise RuntimeError(f"the Slack emulator does not delete {channel} {ts}: {answer}")

    async def _answer(self, identity: Identity, method: str, arguments: dict[str, object]) -> Answer:
        refused = refusal(method, arguments)
        if refused is not None:
            return _error(refused)
        if method in _FOR_MEMBERS and await self._is_outside(identity, str(arguments.get("channel", ""))):
            return _error("not_in_channel")
        match method:
            case "conversations.history":
                return await self._history(identity, arguments)
            case "conversations.replies":
                return await self._replies(identity, arguments)
            case "chat.postMessage":
                return await self._post(identity, arguments)
        answer = await self._call(identity, method, arguments)
        if answer.get("ok") and method in _CHANGES_MEMBERS:
            self._members.clear()
        if answer.get("ok") and method == "chat.delete":
            self._posted.pop((answer["channel"], answer["ts"]), None)
        if answer.get("ok") and method in ("chat.update", "chat.delete"):
            self._happened(method, answer)
        return answer

    async def _post(self, identity: Identity, arguments: dict[str, object]) -> Answer:
        own = {name: value for name, value in arguments.items() if name not in ("bot_id", "app_id")}
        author = {"bot_id": BOT_ID, "app_id": APP_ID} if identity.is_app else {}
        answer = await self._call(identity, "chat.postMessage", {**own, **author})
        if answer.get("ok"):
            channel, message = answer["channel"], answer["message"]
            self._posted[channel, answer["ts"]] = identity
            if message.get("reply_broadcast") and message.get("thread_ts"):
                self._broadcasting.add((channel, message["thread_ts"]))
            self._happened("chat.postMessage", answer)
        return answer

    async def _history(self, identity: Identity, arguments: Mapping[str, object]) -> Answer:
        channel = arguments.get("channel", "")
        answer = await self._all(identity, "conversations.history", {"channel": channel})
        if not answer.get("ok"):
            return answer
        messages = answer["messages"]
        for _, ts in [one for one in self._broadcasting if one[0] == channel]:
            thread = await self._call(identity, "conversations.replies", {"channel": channel, "ts": ts})
            messages += [one for one in thread["messages"] if one.get("reply_broadcast") and one["ts"] != ts]
        messages.sort(key=lambda message: message["ts"], reverse=True)
        found = page(messages, arguments, default_limit=100, newest_first=True)
        return _shown(found, arguments)

    async def _replies(self, identity: Identity, arguments: Mapping[str, object]) -> Answer:
        """As reported by users of the method, the root comes first on each page, whatever is asked for."""
        where = {"channel": arguments.get("channel", ""), "ts": arguments.get("ts", "")}
        answer = await self._call(identity, "conversations.replies", where)
        if not answer.get("ok"):
            return answer
        root = [message for message in answer["messages"] if message["ts"] == where["ts"]]
        if not root:
            return _error("thread_not_found")
        rest = [message for message in answer["messages"] if message["ts"] != where["ts"]]
        found = page(rest, arguments, default_limit=_PAGE, newest_first=False)
        if found["ok"]:
            found["messages"] = root + found["messages"]
        return _shown(found, arguments)

    async def _all(self, identity: Identity, method: str, arguments: Mapping[str, object]) -> Answer:
        """The answer of the emulator with the messages of all its pages."""
        answer = await self._call(identity, method, {**arguments, "limit": _PAGE})
        part = answer
        while part.get("ok") and part.get("has_more"):
            cursor = part["response_metadata"]["next_cursor"]
            part = await self._call(identity, method, {**arguments, "limit": _PAGE, "cursor": cursor})
            answer["messages"] += part.get("messages", ())
        return answer

    async def _is_outside(self, identity: Identity, channel: str) -> bool:
        """Whether a bot is not in the channel; a person may read and write a public one anyway."""
        if not identity.is_app:
            return False
        if channel not in self._members:
            self._members[channel] = await self._call(
                self._seed.reader, "conversations.members", {"channel": channel, "limit": _PAGE}
            )
        members = self._members[channel]
        return bool(members.get("ok")) and identity.user not in members["members"]

    async def _call(self, identity: Identity, method: str, arguments: Mapping[str, object]) -> Answer:
        status, answer = await self._emulator.call(identity, method, arguments)
        if status == 404 and "ok" not in answer:
            return {"ok": False, "error": "unknown_method", "req_method": method}
        if "ok" not in answer:
            raise RuntimeError(f"the Slack emulator answered {method} with {status} {answer}")
        return answer


def _shown(answer: Answer, arguments: Mapping[str, object]) -> Answer:
    metadata = str(arguments.get("include_all_metadata", "")).lower() in ("1", "true")
    messages = [as_slack_shows(message, metadata=metadata) for message in answer.get("messages", ())]
    return {**answer, "messages": messages} if answer["ok"] else answer


def _error(name: str) -> Answer:
    return {"ok": False, "error": name}
