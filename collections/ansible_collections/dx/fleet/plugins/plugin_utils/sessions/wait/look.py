# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One look at followed sessions: what the server itself says that they do, and which of them are over."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from ...domain.clock import Clock
from ...opencode.activity import working_in
from ...opencode.client import OpenCode
from ...opencode.errors import OpenCodeError
from ...opencode.models import Pending, SessionStatus
from ..turn import Verdict, read_turn
from . import pace
from .directories import Directories
from .endings import Endings
from .family import Family
from .limits import Limits
from .requests import Answering, Requests, needs_input
from .trouble import Troubles, is_own

__all__ = ["Look"]


@dataclass
class _Doubt:
    """A verdict on an idle session that a server about to go on would overturn."""

    reason_code: str
    since: float


class Look:
    """Reads what the followed sessions of one server do.

    Args:
        server: The server.
        endings: The sessions, and where those go that are over.
        family: Their subagents.
        directories: Where they work.
        troubles: What kept us from them.
        limits: Our limits, for the pace of counting.
        answering: What is done when one waits for a person.
        clock: The time.
        look_again: Called with a session that is to be looked at once more after so many seconds.
        look_now: Called with a session that is to be looked at once more at once.
    """

    def __init__(
        self,
        server: OpenCode,
        endings: Endings,
        family: Family,
        directories: Directories,
        troubles: Troubles,
        limits: Limits,
        answering: Answering,
        clock: Clock,
        *,
        look_again: Callable[[str, float], None],
        look_now: Callable[[str], None],
    ) -> None:
        self._server = server
        self._endings = endings
        self._family = family
        self._directories = directories
        self._troubles = troubles
        self._limits = limits
        self._look_again = look_again
        self._look_now = look_now
        self._clock = clock
        self._began = self._clock.monotonic()
        self._requests = Requests(server, endings.pending, answering, clock, look_again)
        self._doubts: dict[str, _Doubt] = {}
        self._counted: dict[str, float] = {}

    async def places(self, sessions: Iterable[str]) -> dict[str, list[str]]:
        """The sessions by the directory in which they work.

        Raises:
            OpenCodeError: The server can't be asked at all.
        """
        by_directory: dict[str, list[str]] = {}
        for session in sessions:
            try:
                by_directory.setdefault(await self._directories.of(session), []).append(session)
            except OpenCodeError as error:
                await self._in_trouble([session], error)
        return by_directory

    async def at(self, places: Mapping[str, Sequence[str]]) -> None:
        """Look at sessions by directory; what keeps us from one session or directory leaves the others alone.

        Raises:
            OpenCodeError: The server can't be asked at all.
        """
        every = list(places.items())
        for first in range(0, len(every), pace.LOOKS_AT_ONCE):
            looks = [self._at_directory(*place) for place in every[first : first + pace.LOOKS_AT_ONCE]]
            for failure in await asyncio.gather(*looks, return_exceptions=True):
                if failure is not None:
                    raise failure

    async def _at_directory(self, directory: str, members: Sequence[str]) -> None:
        try:
            statuses = await self._server.statuses(directory)
            at_work = set(working_in(statuses))
            busy = {await self._family.ask_root(name): statuses[name] for name in at_work}
            busy |= {name: statuses[name] for name in at_work if name in members}  # its own word first
            waiting = await self._family.waiting(directory, at_work) if at_work else {}
        except OpenCodeError as error:
            await self._in_trouble(members, error)
            return
        for session in members:
            await self._at_session(session, busy.get(session), waiting.get(session, ()), directory)

    async def _at_session(
        self, session: str, status: SessionStatus | None, requests: Sequence[Pending], directory: str
    ) -> None:
        try:
            if status is None:
                self._requests.ended(session)
                await self._at_idle(session)
            else:
                await self._at_busy(session, status, requests, directory)
        except OpenCodeError as error:
            if status is None or not is_own(error):
                await self._in_trouble([session], error)
            # What works is not over because its messages can't be read just now.
        else:
            self._endings.well(session)

    async def _in_trouble(self, sessions: Sequence[str], error: OpenCodeError) -> None:
        """What keeps us from these sessions is theirs, unless the server as a whole is not well.

        Raises:
            OpenCodeError: It is not.
        """
        if not is_own(error):
            try:
                await self._server.health(pace.HEALTH_S)
            except OpenCodeError:
                raise error from None
        for session in sessions:
            self._endings.in_trouble(session, error)
            self._look_again(session, pace.AGAIN_S)

    async def _at_busy(
        self, session: str, status: SessionStatus, requests: Sequence[Pending], directory: str
    ) -> None:
        self._doubts.pop(session, None)
        self._endings.pending[session].take_status(status)
        request = await self._requests.unanswered(session, requests, directory)
        if request is not None:
            await self._endings.finish(session, *needs_input(request))
        else:
            await self._count(session)

    async def _at_idle(self, session: str) -> None:
        follower = self._endings.pending[session]
        turn = await read_turn(self._server, session, follower.target.message)
        verdict = self._endings.judge(turn)
        if not verdict.finished and await self._directories.was_wrong(session):
            self._look_now(session)  # it may work elsewhere
            return
        if not turn.over and await self._family_goes_on(session, verdict):
            return
        if verdict.settled or self._doubted_long_enough(session, verdict):
            if follower.error and verdict.reason_code in ("no_answer", "prompt_not_stored"):
                verdict = replace(verdict, message=f"the agent never began: {follower.error}")
            await self._endings.end(session, verdict, turn)

    async def _family_goes_on(self, session: str, verdict: Verdict) -> bool:
        """Whether a subagent works on, or has just ended: the session is woken by that (OpenCode 1.18)."""
        if verdict.settled and await self._family.subagents_at_work(session):
            self._doubts[session] = _Doubt("subagent_at_work", self._clock.monotonic())
            self._look_again(session, pace.LOOK_EVERY_S)
            await self._count(session)
            return True
        doubt = self._doubts.get(session)
        if doubt is None or doubt.reason_code != "subagent_at_work":
            return False
        age_s = self._clock.monotonic() - doubt.since
        if age_s < pace.SETTLE_S:
            self._look_again(session, max(pace.SETTLE_S - age_s, pace.SOON_S))
            return True
        return False

    async def _count(self, session: str) -> None:
        """Read the turn back soon and then now and then, so that limits hold even where events were lost.

        Soon, as the turn may have been over when the wait began, and the session work for somebody else.
        """
        pending = self._endings.pending
        every_s = min(pace.COUNT_EVERY_S, (self._limits.stall_timeout_s or pace.COUNT_EVERY_S) / 3)
        if session not in self._counted:
            every_s = min(every_s, pace.LOOK_EVERY_S)
        every_s = max(every_s, len(pending) / pace.COUNTS_PER_SECOND)
        if self._clock.monotonic() - self._counted.get(session, self._began) < every_s:
            return
        self._counted[session] = self._clock.monotonic()
        follower = pending[session]
        turn = await read_turn(self._server, session, follower.target.message)
        if turn.over:
            await self._endings.end(session, self._endings.judge(turn), turn)
        else:
            steps = [*turn.messages, *await self._endings.of_subagents(session, turn)]
            follower.take_messages(steps, self._clock.monotonic())

    def _doubted_long_enough(self, session: str, verdict: Verdict) -> bool:
        doubt = self._doubts.get(session)
        if doubt is None or doubt.reason_code != verdict.reason_code:
            doubt = self._doubts[session] = _Doubt(verdict.reason_code, self._clock.monotonic())
        age_s = self._clock.monotonic() - doubt.since
        if age_s >= self._patience_s(session, verdict):
            return True
        if age_s < pace.LOOK_EVERY_S:  # each pause twice the one before, until it is that of the looks at all
            self._look_again(session, max(age_s, pace.SOON_S))
        return False

    def _patience_s(self, session: str, verdict: Verdict) -> float:
        """A loaded server stores a message, or the error of one, seconds after it is idle (OpenCode 1.18)."""
        match verdict.reason_code:
            case "prompt_not_stored" | "no_answer":
                return pace.START_S if self._endings.pending[session].error is None else pace.SETTLE_S
            case "server_restarted":
                return pace.SETTLE_S if self._troubles.server_was_gone else pace.START_S
        return pace.SETTLE_S
