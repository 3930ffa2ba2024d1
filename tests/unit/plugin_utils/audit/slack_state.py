# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A channel of Slack on a socket of this machine: what was posted is there to be read back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.unit.plugin_utils.audit.slack_server import Handler, SlackServer, serving

__all__ = ["Channel", "channel"]


@dataclass
class Channel:
    """The messages, in their order, as Slack keeps them. ``faults`` is for the server that holds it."""

    server: SlackServer
    messages: list[dict[str, Any]] = field(default_factory=list)

    def roots(self) -> list[dict[str, Any]]:
        """The heads of threads."""
        return [one for one in self.messages if "thread_ts" not in one]

    def replies(self, root: dict[str, Any]) -> list[str]:
        """What a person reads in a thread."""
        lines = [
            "\n".join(block["text"]["text"] for block in one["blocks"]) or one["text"]
            for one in self.messages
            if one.get("thread_ts") == root["ts"]
        ]
        return "\n".join(lines).split("\n") if lines else []

    def answer(self, handler: Handler) -> None:
        """Do what the last request asks for."""
        request = self.server.requests[-1]
        found = getattr(self, "_" + request.method.replace(".", "_"))(request.body)
        handler.send(200, json.dumps({"ok": True, **found}).encode(), {})

    def _chat_postMessage(self, body: dict[str, Any]) -> dict[str, Any]:
        message = {"ts": f"1700000000.{len(self.messages):06d}", **body}
        self.messages.append(message)
        return {"channel": body["channel"], "ts": message["ts"], "message": message}

    def _chat_update(self, body: dict[str, Any]) -> dict[str, Any]:
        (message,) = (one for one in self.messages if one["ts"] == body["ts"])
        message.update(body)
        return {"channel": body["channel"], "ts": body["ts"]}

    def _conversations_history(self, body: dict[str, Any]) -> dict[str, Any]:
        return {"messages": list(reversed(self.roots()))}

    def _conversations_replies(self, body: dict[str, Any]) -> dict[str, Any]:
        return {"messages": [one for one in self.messages if body["ts"] in (one["ts"], one.get("thread_ts"))]}


@contextmanager
def channel() -> Iterator[Channel]:
    """A channel for as long as this."""
    with serving() as server:
        one = Channel(server)
        server.usual = one.answer
        yield one
