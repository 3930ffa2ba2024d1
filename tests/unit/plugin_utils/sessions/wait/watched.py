# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server in memory whose sessions are waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from ansible_collections.dx.fleet.plugins.plugin_utils.domain.event_kind import EventKind
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.outcome import Outcome
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.progress import ProgressEvent
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.progress_wording import line_of
from ansible_collections.dx.fleet.plugins.plugin_utils.sessions.wait import (
    Answering,
    Limits,
    Target,
    wait_for,
)
from ansible_collections.dx.fleet.plugins.plugin_utils.sessions.wait.requests import NO_ANSWERS

from tests.unit.clock import Leaps
from tests.unit.fake_opencode import HOME, URL, FakeOpenCode, FakeSession
from tests.unit.virtual_time import LoopClock

__all__ = ["DIRECTORY", "LONG_S", "NO_LIMITS", "PATIENCE_S", "Watched"]

DIRECTORY = f"{HOME}/affordabot"
NO_LIMITS = Limits(timeout_s=None, stall_timeout_s=None, max_steps=None, server_gone_s=20, server_silent_s=60)
LONG_S = 60.0
PATIENCE_S = 30.0


class Watched:
    """A server with one busy session, and the wait for it."""

    def __init__(self) -> None:
        self.fake = FakeOpenCode()
        self.clock = Leaps(LoopClock())
        self.session = self.add("ses_1")
        self.told: list[ProgressEvent] = []
        self._wait: asyncio.Task[dict[str, list[Outcome]]] | None = None

    def add(self, name: str, directory: str = DIRECTORY) -> FakeSession:
        session = self.fake.session(name, directory)
        session.user(f"msg_{name}", "Run make test")
        session.status = {"type": "busy"}
        return session

    async def begin(
        self,
        limits: Limits = NO_LIMITS,
        *names: str,
        directory: str | None = None,
        answering: Answering = NO_ANSWERS,
    ) -> None:
        """Begin to wait, and go on once the stream is up and the sessions were looked at."""
        targets = [
            Target("epyc6", name, f"msg_{name}", "d1", "affordabot", directory)
            for name in names or ("ses_1",)
        ]
        servers = {URL: self.fake.client()}
        waiting = wait_for(
            {URL: targets},
            servers,
            limits,
            answering=answering,
            emit=self.told.append,
            clock=self.clock,
        )
        self._wait = asyncio.create_task(waiting)
        if self.fake.accepts_streams:
            await asyncio.wait_for(self.fake.connected.wait(), PATIENCE_S)
        await self.until(lambda: self.fake.count("GET", "/session/status") > 0)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Let the event loop run until the condition holds."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                if condition():
                    return
                await asyncio.sleep(0.001)

    async def outcomes(self) -> list[Outcome]:
        assert self._wait is not None
        found = await asyncio.wait_for(self._wait, PATIENCE_S)
        return [outcome for members in found.values() for outcome in members]

    async def outcome(self) -> Outcome:
        (found,) = await self.outcomes()
        return found

    async def cancel(self) -> None:
        assert self._wait is not None
        self._wait.cancel()
        await asyncio.gather(self._wait, return_exceptions=True)

    async def looked(self, times: int = 2) -> None:
        """Go on after so many more looks at the statuses, of which the last may not be over."""
        seen = self.fake.count("GET", "/session/status")
        await self.until(lambda: self.fake.count("GET", "/session/status") >= seen + times)

    async def passes(self, seconds: float) -> None:
        """So much time passes, and there is a look after it."""
        self.clock.leap(seconds)
        await self.looked()

    @property
    def waits(self) -> bool:
        return self._wait is not None and not self._wait.done()

    def lines(self, kind: EventKind) -> list[str]:
        return [line_of(event) for event in self.told if event.kind is kind]

    @property
    def ends(self) -> list[str]:
        return [line_of(event) for event in self.told if event.kind.is_end]

    def finish(self, name: str = "ses_1", *, silently: bool = False) -> None:
        """The agent is done."""
        self.fake.sessions[name].step(f"a_{name}", finish="stop", text="3 passed", cost=0.5)
        self.fake.idle(name, silently=silently)

    def ask(self, session: str = "ses_1", **more: Any) -> dict[str, Any]:
        """A permission is pending."""
        known = {"id": "per_1", "sessionID": session, "permission": "bash", "patterns": ["rm *"]}
        request = {**known, **more}
        self.fake.permissions.append(request)
        return request
