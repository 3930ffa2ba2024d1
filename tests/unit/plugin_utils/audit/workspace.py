# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Slack workspace in memory, and a clock for its deliverer: what a person would see, and every way to fail."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from ansible_collections.dx.fleet.plugins.plugin_utils.audit.slack.delivery import Delivery
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.slack.errors import (
    Ambiguous,
    SlackError,
    ThreadGone,
)
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.slack.message import Audience, SlackMessage
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.slack.pace import Pace
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.slack.port import Found, Page, Posted
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.store.outbox import Outbox

from tests.unit.clock import ManualClock

__all__ = ["CHANNEL", "Deliverer", "Died", "Kept", "Workspace"]

CHANNEL = "C1"


class Died(BaseException):
    """The deliverer's process is killed at this point."""


@dataclass
class Kept:
    """A message as the workspace has it."""

    ts: str
    channel: str
    thread: str | None
    message: SlackMessage
    posted_at: float
    versions: list[SlackMessage] = field(default_factory=list)

    @property
    def lines(self) -> list[str]:
        """What a person reads: the blocks, where there are any, else the text."""
        shown = [block["text"]["text"] for block in self.message.blocks or () if "text" in block]
        return "\n".join(shown or [self.message.text]).split("\n")


class Workspace:
    """Slack. ``script`` holds what the next calls do: None works, an error is raised, and
    :meth:`lost` and :meth:`dying` let the call succeed first."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.kept: list[Kept] = []
        self.calls: list[tuple[str, float]] = []
        self.script: deque[BaseException | Callable[[], BaseException | None] | None] = deque()
        self.refuse: Callable[[SlackMessage], SlackError | None] = lambda message: None
        self._after: BaseException | None = None
        self._number = 0

    # what a person sees

    def roots(self) -> list[Kept]:
        return [one for one in self.kept if one.thread is None]

    def thread(self, root: Kept | None = None) -> list[str]:
        head = root or self.roots()[0]
        return [line for one in self.kept if one.thread == head.ts for line in one.lines]

    def posts(self) -> int:
        return sum(1 for method, _ in self.calls if method == "post")

    # how it fails

    def lost(self, error: SlackError | None = None) -> Callable[[], BaseException | None]:
        """The next call is done, and its answer lost."""

        def arrange() -> None:
            self._after = error or Ambiguous("reset")

        return arrange  # type: ignore[return-value]

    def dying(self) -> Callable[[], BaseException | None]:
        """The next call is done, and the deliverer dies before it knows."""

        def arrange() -> None:
            self._after = Died()

        return arrange  # type: ignore[return-value]

    def _begin(self, method: str) -> None:
        self.calls.append((method, self.clock.now))
        step = self.script.popleft() if self.script else None
        if callable(step):
            step = step()
        if step is not None:
            raise step

    def _end(self) -> None:
        after, self._after = self._after, None
        if after is not None:
            raise after

    # the port

    async def post(self, channel: str, message: SlackMessage, thread: str | None = None) -> Posted:
        self._begin("post")
        if (error := self.refuse(message)) is not None:
            raise error
        self._number += 1
        ts = f"{self.clock.now:.0f}.{self._number:06d}"
        # As Slack does: a reply to a head that was deleted stands at the channel's top level.
        there = thread if any(one.ts == thread for one in self.kept) else None
        self.kept.append(Kept(ts, channel, there, message, self.clock.now))
        self._end()
        return Posted(channel, ts, detached=thread is not None and there is None)

    async def update(self, channel: str, ts: str, message: SlackMessage) -> None:
        self._begin("update")
        if (error := self.refuse(message)) is not None:
            raise error
        kept = next((one for one in self.kept if one.ts == ts), None)
        if kept is None:
            raise ThreadGone("message_not_found")
        kept.versions.append(kept.message)
        kept.message = message
        self._end()

    async def delete(self, channel: str, ts: str) -> None:
        self._begin("delete")
        self.kept = [one for one in self.kept if one.ts != ts]
        self._end()

    async def history(self, channel: str, cursor: str | None = None) -> Page:
        self._begin("history")
        return self._page([one for one in reversed(self.kept) if one.thread is None], cursor)

    async def replies(self, channel: str, thread: str, cursor: str | None = None) -> Page:
        self._begin("replies")
        if not any(one.ts == thread for one in self.kept):
            raise ThreadGone("thread_not_found")
        return self._page([one for one in self.kept if thread in (one.ts, one.thread)], cursor)

    def _page(self, messages: list[Kept], cursor: str | None) -> Page:
        start = int(cursor or 0)
        end = start + 2  # small, so that pages matter
        found = [found for one in messages[start:end] if (found := _found(one)) is not None]
        return Page(tuple(found), str(end) if end < len(messages) else None)


def _found(kept: Kept) -> Found | None:
    if kept.message.metadata is None:
        return None
    payload = kept.message.metadata["event_payload"]
    records = tuple(str(payload.get("records", "")).split())
    headline = payload.get("headline")
    is_root = headline is not None and kept.thread is None
    return Found(kept.ts, str(payload["thread_key"]), records, is_root, headline, kept.thread is not None)


class Deliverer:
    """A delivery whose time passes only where it waits."""

    def __init__(
        self,
        outbox: Outbox,
        workspace: Workspace,
        pace: Pace | None = None,
        audience: Audience | None = None,
    ) -> None:
        self.said: list[str] = []
        self.clock = workspace.clock
        self._delivery = Delivery(
            outbox,
            workspace,
            report=self.said.append,
            pace=pace or Pace(),
            clock=workspace.clock,
            audience=audience,
        )

    def settle(self, *, for_s: float = 300.0, closing: bool = False, turns: int = 5000) -> None:
        """Deliver till nothing is left to do, or for so long."""
        asyncio.run(self._settle(for_s, closing, turns))

    async def _settle(self, for_s: float, closing: bool, turns: int) -> None:
        end = self.clock.now + for_s
        for _ in range(turns):
            wait = await self._delivery.turn(closing=closing)
            if wait is None:
                return
            if self.clock.now + wait > end:
                self.clock.now = end
                return
            self.clock.now += wait
        raise AssertionError("no end of turns")

    def turn(self) -> float | None:
        return asyncio.run(self._delivery.turn())
