# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All followed sessions of one server: its event stream, and the truth read back by REST.

An event never decides anything. It tells a person what happens and says which session to look at; what
became of a session is read from the server. So a lost, late or doubled event costs at most one interval.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from ...domain.clock import Clock
from ...domain.outcome import Outcome
from ...opencode.client import OpenCode
from ...opencode.errors import OpenCodeError
from . import pace
from .directories import Directories
from .endings import Endings, assumed_directories
from .family import Family
from .follower import Follower
from .limits import Limits
from .look import Look
from .requests import Answering
from .stopping import Stopping
from .stream import Stream
from .trouble import Troubles

__all__ = ["ServerWatch"]


class ServerWatch:
    """Follows sessions of one server until each has an outcome.

    Args:
        server: The server; it is only used while :meth:`run` runs.
        followers: The sessions, by id.
        limits: When to stop one.
        answering: What is done when one waits for a person.
        clock: The time.
    """

    def __init__(
        self,
        server: OpenCode,
        followers: dict[str, Follower],
        limits: Limits,
        answering: Answering,
        clock: Clock,
    ) -> None:
        self._clock = clock
        self._pending = dict(followers)
        self._family = Family(server, self._pending)
        self._directories = Directories(server, assumed_directories(followers))
        troubles = Troubles(limits, clock)
        self._endings = Endings(server, self._pending, self._family, self._directories, troubles)
        self._stopping = Stopping(server, self._endings, self._family, limits, clock)
        self._stream = Stream(server, self._take_event, self._events_missed, clock)
        self._look = Look(
            server,
            self._endings,
            self._family,
            self._directories,
            troubles,
            limits,
            answering,
            clock,
            look_again=self._look_again,
            look_now=self._look_now,
        )
        self._dirty: set[str] = set()
        self._to_come: set[str] = set()
        self._kick = asyncio.Event()
        self._next_full_look = self._clock.monotonic()

    async def run(self) -> dict[str, Outcome]:
        """The outcome of each session, by id."""
        stream = asyncio.create_task(self._stream.follow())
        try:
            while self._pending:
                await self._look_once()
        finally:
            stream.cancel()
            await asyncio.gather(stream, return_exceptions=True)
        return self._endings.outcomes

    # -- reasons to look -----------------------------------------------------------------------------

    def _events_missed(self) -> None:
        self._next_full_look = min(self._next_full_look, self._clock.monotonic() + self._interval_s())
        self._look_at(self._pending)

    def _take_event(self, kind: str, properties: dict[str, Any]) -> None:
        self._family.learn(kind, properties)
        session = _session_of(properties)
        root = self._family.root(session)
        follower = self._pending.get(root)
        if follower is None:
            return
        take = follower.take if session == root else follower.take_of_subagent
        if take(kind, properties, self._clock.monotonic()):
            self._look_at([root])
            self._look_again(root, pace.SOON_S)

    def _look_at(self, sessions: Iterable[str]) -> None:
        self._dirty.update(sessions)
        self._kick.set()

    def _look_again(self, session: str, pause_s: float) -> None:
        """Look once more after a pause, unless that is to come anyway or the session is settled by then."""
        if session not in self._to_come:
            self._to_come.add(session)
            asyncio.get_running_loop().call_later(pause_s, self._look_now, session)

    def _look_now(self, session: str) -> None:
        self._to_come.discard(session)
        self._look_at([session])

    # -- looks ---------------------------------------------------------------------------------------

    async def _look_once(self) -> None:
        """Wait for a reason to look, look, and act on limits."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._until_look_s()):
                await self._kick.wait()
        sessions = [session for session in self._dirty if session in self._pending]
        if (
            self._clock.monotonic() >= self._next_full_look
        ):  # kicks of one session must not keep us from the others
            sessions = list(self._pending)
            self._next_full_look = self._clock.monotonic() + self._interval_s()
        self._kick.clear()
        self._dirty.clear()
        if sessions:
            await self._look_in_time(sessions)
        # At once: a server that is silent makes each of them wait.
        await asyncio.gather(*map(self._stopping.apply_limits, list(self._pending)))

    async def _look_in_time(self, sessions: list[str]) -> None:
        """Look, but not beyond our own limit of time: what is silent then is ended by that."""
        try:
            async with asyncio.timeout(self._stopping.left_s()):
                places = await self._look.places(sessions)
                self._dirty.difference_update(
                    sessions
                )  # what gave a reason until now is in the answers to come
                await self._look.at(places)
        except OpenCodeError as error:
            for session in list(self._pending):
                self._endings.in_trouble(session, error)
            self._next_full_look = min(self._next_full_look, self._clock.monotonic() + pace.AGAIN_S)
        except TimeoutError:
            return

    def _interval_s(self) -> float:
        directories = len({self._directories.known(session) for session in self._pending})
        usual = max(pace.LOOK_EVERY_S, directories / pace.LOOKS_PER_SECOND)
        return min(usual, directories * pace.DEAF_LOOK_EVERY_S) if self._stream.is_deaf() else usual

    def _until_look_s(self) -> float:
        until = max(self._next_full_look - self._clock.monotonic(), 0.01)
        left = self._stopping.left_s()
        return until if left is None else min(until, left)


def _session_of(properties: dict[str, Any]) -> str:
    """The session that an event is about; its place differs between the events of OpenCode 1.18."""
    for holder in (properties, properties.get("info"), properties.get("part")):
        if isinstance(holder, dict) and isinstance(holder.get("sessionID"), str):
            return str(holder["sessionID"])
    return ""
