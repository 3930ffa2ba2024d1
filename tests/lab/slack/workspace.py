# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Slack workspace as tests and the demo use it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import httpx

from ..plan import SlackState
from .faults import Fault
from .socket_client import SocketClient

if TYPE_CHECKING:
    from slack_sdk import WebClient

__all__ = ["Message", "SlackRequest", "SlackWorkspace", "Thread"]

_CONTROL_TIMEOUT_S = 60.0
_SHOWN_SUBTYPES = (None, "bot_message", "thread_broadcast")


@dataclass(frozen=True)
class Message:
    """A message as the reader gets it; ``raw`` is all of it. ``bot_id`` is None where a person wrote it."""

    ts: str
    thread_ts: str | None
    user: str
    bot_id: str | None
    text: str
    blocks: tuple[dict[str, Any], ...]
    metadata: Mapping[str, Any] | None
    edited: bool
    raw: Mapping[str, Any]

    @classmethod
    def from_slack(cls, raw: Mapping[str, Any]) -> Message:
        """One of ``messages`` of a history."""
        return cls(
            ts=raw["ts"],
            thread_ts=raw.get("thread_ts"),
            user=raw["user"],
            bot_id=raw.get("bot_id"),
            text=raw["text"],
            blocks=tuple(raw.get("blocks", ())),
            metadata=raw.get("metadata"),
            edited="edited" in raw,
            raw=raw,
        )


@dataclass(frozen=True)
class Thread:
    """A root and its replies, oldest first."""

    root: Message
    replies: tuple[Message, ...]

    @property
    def messages(self) -> tuple[Message, ...]:
        """Root and replies."""
        return (self.root, *self.replies)

    @property
    def texts(self) -> list[str]:
        """The texts of the replies."""
        return [reply.text for reply in self.replies]


@dataclass(frozen=True)
class SlackRequest:
    """A call that arrived at :attr:`SlackWorkspace.url`, answered or spoiled.

    ``user`` is the account of its token, None for a wrong one; ``time`` is the keeper's monotonic clock, in s.
    """

    method: str
    user: str | None
    arguments: Mapping[str, Any]
    time: float


class SlackWorkspace:
    """A running workspace: an emulator behind our front.

    Attributes:
        url: what a ``WebClient`` takes as its ``base_url``. Ends with a slash.
        bot_token: the app's. It may write where the bot is, and read there.
        reader_token: of a person, Jane, to read back what others wrote, to write as a person does, or to throw
            the bot out of a channel.
        channel: id of the public channel ``agent-coordination``, in which the bot is.
        other_token: of a second person, Sam.
        app_token: the app's own, for Socket Mode.
        app: id of the app.
        team: id of the workspace.
        private_channel: id of a private one in which it is.
        other_channel: id of a public one in which it is not.
    """

    def __init__(self, state: SlackState) -> None:
        self.url = state.url
        self.bot_token = state.bot_token
        self.reader_token = state.reader_token
        self.other_token = state.other_token
        self.app_token = state.app_token
        self.app = state.app
        self.team = state.team
        self.channel = state.channel
        self.private_channel = state.private_channel
        self.other_channel = state.other_channel
        self._control = httpx.Client(
            base_url=state.control, timeout=_CONTROL_TIMEOUT_S, trust_env=False, verify=False
        )
        # Not through the front: what it spoils and counts are the calls of others.
        self._reader = _client(self.reader_token, f"{state.control}/api/")

    @property
    def env(self) -> dict[str, str]:
        """What makes a child post here."""
        return {
            "SLACK_BOT_TOKEN": self.bot_token,
            "SLACK_AUDIT_CHANNEL": self.channel,
            "DX_SLACK_API_URL": self.url,
        }

    def client(self, token: str | None = None, *, timeout_s: int = 10) -> WebClient:
        """A client that does not repeat anything; with the bot's token by default."""
        return _client(token or self.bot_token, self.url, timeout_s=timeout_s)

    def fault(
        self,
        method: str,
        kind: str,
        times: int | None = 1,
        *,
        after: int = 0,
        contains: str = "",
        commit: bool | None = None,
        seconds: float | None = None,
        pause_s: float = 0.3,
        status: int = 500,
        retry_after: str | None = "1",
    ) -> None:
        """Spoil calls: see :mod:`tests.lab.slack.faults` for the kinds and the rest."""
        fault = Fault(method, kind, times, after, contains, commit, seconds, pause_s, status, retry_after)
        self._order("faults", asdict(fault))

    def limit(self, per_second: float, burst: int = 1, method: str = "chat.postMessage") -> None:
        """From now on answer 429 with ``Retry-After`` to whoever calls the method more often, per channel."""
        self._order("limits", {"method": method, "per_second": per_second, "burst": burst})

    def refuse(self) -> None:
        """Stop listening and reset all connections, as when nobody is there."""
        self._order("refuse")

    def accept(self) -> None:
        """The end of :meth:`refuse`."""
        self._order("accept")

    def calls(self, method: str = "*") -> int:
        """How many calls of the method arrived, spoiled ones too."""
        return len(self.requests(method))

    def requests(self, method: str = "*") -> list[SlackRequest]:
        """The calls of the method that arrived, oldest first."""
        return self._requests({"method": method})

    def wait_for_calls(self, method: str, at_least: int = 1, timeout_s: float = 30) -> list[SlackRequest]:
        """The calls of the method, as soon as there are so many.

        Raises:
            TimeoutError: there were fewer.
        """
        found = self._requests({"method": method, "at_least": str(at_least), "timeout": str(timeout_s)})
        if len(found) < at_least:
            raise TimeoutError(f"{len(found)} calls of {method} within {timeout_s} s, not {at_least}")
        return found

    @property
    def socket(self) -> SocketClient:
        """What goes over Socket Mode, and how it is spoiled."""
        return SocketClient(self._control)

    def thread(self, ts: str, channel: str | None = None) -> Thread:
        """The thread of that root, with metadata."""
        channel = channel or self.channel
        found = self._read("conversations.replies", {"channel": channel, "ts": ts})
        # The root is on each page.
        by_ts = {message.ts: message for message in found}
        root = by_ts.pop(ts)
        return Thread(root, tuple(by_ts.values()))

    def threads(self, channel: str | None = None) -> list[Thread]:
        """All threads of the channel, oldest first; what Slack itself says there (who joined) is left out."""
        channel = channel or self.channel
        found = self._read("conversations.history", {"channel": channel})
        roots = [one for one in found if one.thread_ts in (None, one.ts)]
        return [self.thread(one.ts, channel) if one.thread_ts else Thread(one, ()) for one in reversed(roots)]

    def names(self) -> dict[str, str]:
        """The names that people see, by the id of the account."""
        members = self._reader.users_list()["members"]
        return {member["id"]: member["name"] for member in members}

    def clear(self) -> None:
        """Delete all messages and records, end all faults, limits and refusals, and let the bot in again."""
        self._order("clear")

    def close(self) -> None:
        """End the connection to the control; the workspace lives on."""
        self._control.close()

    def _read(self, method: str, arguments: dict[str, Any]) -> list[Message]:
        asked = {**arguments, "include_all_metadata": True, "limit": 200}
        answers = iter(self._reader.api_call(method, params=asked))
        found = [message for answer in answers for message in answer["messages"]]
        return [Message.from_slack(one) for one in found if one.get("subtype") in _SHOWN_SUBTYPES]

    def _requests(self, query: dict[str, str]) -> list[SlackRequest]:
        timeout_s = float(query.get("timeout", "0")) + _CONTROL_TIMEOUT_S
        answer = self._control.get("/requests", params=query, timeout=timeout_s).raise_for_status()
        return [SlackRequest(**one) for one in answer.json()]

    def _order(self, verb: str, body: Mapping[str, Any] | None = None) -> None:
        self._control.post(f"/{verb}", json=body).raise_for_status()


def _client(token: str, url: str, *, timeout_s: int = 30) -> WebClient:
    # Imported here: that takes 0.1 s, and most labs are without Slack.
    from slack_sdk import WebClient

    return WebClient(token, base_url=url, timeout=timeout_s, retry_handlers=[])
