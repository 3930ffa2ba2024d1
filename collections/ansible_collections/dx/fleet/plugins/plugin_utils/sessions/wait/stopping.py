# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stopping a session that went beyond a limit of ours: asked for, and then proven."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from ...domain.clock import Clock
from ...domain.event_kind import EventKind
from ...domain.outcome import State
from ...opencode.client import OpenCode
from ...opencode.errors import AnswerLost, OpenCodeError
from ..turn import Verdict, read_turn
from . import pace
from .endings import Endings
from .family import Family
from .follower import Follower
from .limits import Limits, exceeded
from .requests import needs_input

__all__ = ["Stopping"]


class Stopping:
    """Applies limits to the followed sessions of one server.

    Args:
        server: The server.
        endings: The followed sessions.
        family: Their subagents, which are stopped with them.
        limits: The limits; their time runs from now on.
        clock: The time.
    """

    def __init__(
        self, server: OpenCode, endings: Endings, family: Family, limits: Limits, clock: Clock
    ) -> None:
        self._server = server
        self._endings = endings
        self._family = family
        self._limits = limits
        self._clock = clock
        self._started = self._clock.monotonic()

    def left_s(self) -> float | None:
        """Seconds until our own time limit, a little more than none once it is reached."""
        if self._limits.timeout_s is None:
            return None
        return max(self._started + self._limits.timeout_s - self._clock.monotonic(), 0.01)

    async def apply_limits(self, session: str) -> None:
        """Stop the session if it is beyond a limit; its outcome says whether the stop is proven."""
        follower = self._endings.pending[session]
        verdict = exceeded(self._limits, follower, began=self._started, now=self._clock.monotonic())
        if verdict is None or await self._ended_or_moved(follower, verdict):
            return
        if follower.asked is not None and verdict.state is State.TIMED_OUT:
            # A person is what it waits for: their answer still helps.
            await self._endings.finish(session, *needs_input(follower.asked))
            return
        follower.changed(EventKind.ABORTING, why=verdict.message)
        if await self._aborted(session):
            follower.changed(EventKind.STOPPED)
        else:
            verdict = replace(
                verdict,
                reason_code=f"{verdict.reason_code}_unconfirmed",
                message=f"{verdict.message}; the abort is not confirmed, it may still work",
            )
        await self._endings.finish(session, verdict)

    async def _ended_or_moved(self, follower: Follower, verdict: Verdict) -> bool:
        """Whether the turn ended before it could be stopped, or moved although no event said so."""
        session, before = follower.target.session, follower.moved_at
        try:
            async with asyncio.timeout(pace.ABORT_S):
                turn = await read_turn(self._server, session, follower.target.message)
                found = self._endings.judge(turn)
                ended = turn.over
                if found.settled and not ended:
                    at_work = await self._family.working(session)
                    # Between the last answer and the end of its session nothing more can come.
                    ended = not at_work or (found.finished and at_work == [session])
                    if not ended and session not in at_work:
                        self._endings.outlasted.add(session)
                everything = [*turn.messages, *await self._endings.of_subagents(session, turn)]
        except (OpenCodeError, TimeoutError):
            return False
        if ended:
            await self._endings.end(session, found, turn)
            return True
        follower.take_messages(everything, self._clock.monotonic())
        return verdict.reason_code == "stall_timeout" and follower.moved_at > before

    async def _aborted(self, session: str) -> bool:
        """Abort the session and its subagents; True once the server says that all of them are idle."""
        try:
            async with asyncio.timeout(pace.ABORT_S):
                while True:
                    try:
                        await self._abort(session)
                        at_work = await self._family.working(session)
                        if not at_work:
                            return True
                        for member in at_work:
                            await self._abort(member)
                    except OpenCodeError:
                        await self._clock.sleep(0.5)
                        continue
                    await self._clock.sleep(0.1)
        except TimeoutError:
            return False

    async def _abort(self, session: str) -> None:
        """Ask for a stop. What came of it is read from the status, whatever is answered."""
        try:
            await self._server.abort(session)
        except AnswerLost:
            return
