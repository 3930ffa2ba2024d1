# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a followed session ends: its outcome, with all that was learned of it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

from ...domain.event_kind import EventKind
from ...domain.outcome import Evidence, Outcome, State
from ...opencode.client import OpenCode
from ...opencode.errors import OpenCodeError
from ...opencode.models import Message
from ..turn import Turn, Verdict, evidence_of, judge, read_turn
from . import pace
from .directories import Directories
from .family import Family
from .follower import Follower
from .trouble import Troubles

__all__ = ["Endings"]


class Endings:
    """The sessions that are followed (``pending``), and the outcomes of those that are over.

    Args:
        server: Their server.
        pending: The sessions by id; the ended ones are taken out of it.
        family: Their subagents.
        directories: Where they work.
        troubles: What keeps us from them.
    """

    def __init__(
        self,
        server: OpenCode,
        pending: dict[str, Follower],
        family: Family,
        directories: Directories,
        troubles: Troubles,
    ) -> None:
        self._server = server
        self.pending = pending
        self._family = family
        self._directories = directories
        self._troubles = troubles
        self.outcomes: dict[str, Outcome] = {}
        self.outlasted: set[str] = set()
        """Sessions that were stopped while a subagent worked on after their last answer."""

    def judge(self, turn: Turn) -> Verdict:
        """What became of a turn whose session is idle, in the light of what its server went through."""
        verdict = judge(turn.messages)
        if verdict.reason_code == "no_answer" and self._troubles.server_was_gone:
            words = "the server died before the agent began and does not resume it"
            return replace(verdict, state=State.LOST, reason_code="server_restarted", message=words)
        return verdict

    def in_trouble(self, session: str, error: OpenCodeError) -> None:
        """The session could not be read; it ends if that has lasted for too long."""
        follower = self.pending[session]
        if self._troubles.is_new(session):
            follower.changed(EventKind.CONNECTION_LOST, reason_code=error.reason_code)
        verdict = self._troubles.take(session, error)
        if verdict is not None:
            counted = Evidence(steps=len(follower.steps), cost=round(follower.cost, 6))
            self._settle(session, verdict, counted if follower.steps else Evidence())

    def well(self, session: str) -> None:
        """The session was read, and what kept us from it is over."""
        self._troubles.over(session)

    async def finish(self, session: str, verdict: Verdict, evidence: Evidence | None = None) -> None:
        """End a wait with what was concluded from outside, unless the turn itself says that it is over.

        With a subagent still at work, the root's last answer is not the end of the task.
        """
        evidence = evidence or Evidence()
        target = self.pending[session].target
        try:
            async with asyncio.timeout(pace.ABORT_S):
                turn = await read_turn(self._server, session, target.message)
                found = self.judge(turn)
                answered = found.finished and session not in self.outlasted
                if answered and verdict.state is State.NEEDS_INPUT:
                    answered = not await self._family.subagents_at_work(session)
        except OpenCodeError as error:
            self._settle(
                session, verdict, replace(evidence, error=f"the messages can't be read: {error.message}")
            )
        except TimeoutError:
            self._settle(session, verdict, replace(evidence, error="the messages could not be read in time"))
        else:
            if turn.over or answered:
                await self.end(session, found, turn)
            else:
                await self.end(session, verdict, turn, evidence)

    async def end(self, session: str, verdict: Verdict, turn: Turn, evidence: Evidence | None = None) -> None:
        """The turn is over."""
        try:
            async with asyncio.timeout(pace.ABORT_S):
                subagents = await self.of_subagents(session, turn)
        except (OpenCodeError, TimeoutError):
            subagents = []  # the turn is what counts
        self._settle(session, verdict, evidence_of(turn.messages, evidence or Evidence(), subagents))

    async def of_subagents(self, session: str, turn: Turn) -> list[Message]:
        """The steps of the agents that the turn's agent sent out: they cost, too.

        Raises:
            OpenCodeError: They can't be read.
        """
        if not any(part.tool == "task" for message in turn.messages for part in message.parts):
            return []
        return await self._family.steps(session, since=turn.messages[0].info.time.created)

    def _settle(self, session: str, verdict: Verdict, evidence: Evidence) -> None:
        follower = self.pending.pop(session)
        follower.changed(EventKind(verdict.state.value), message=verdict.message)
        target = follower.target
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        self.outcomes[session] = Outcome(
            state=verdict.state,
            reason_code=verdict.reason_code,
            message_to_human=verdict.message,
            vm=target.vm,
            repo=target.repo,
            dispatch=target.dispatch,
            session=session,
            message=target.message,
            started_at=evidence.started_at,
            duration_s=evidence.duration_s,
            evidence=replace(
                evidence,
                transport=self._server.way,
                session=session,
                directory=evidence.directory or self._directories.known(session),
                noticed_at=now,
            ),
        )


def assumed_directories(followers: Mapping[str, Follower]) -> dict[str, str]:
    """What was reported before of where sessions work."""
    return {
        name: follower.target.directory
        for name, follower in followers.items()
        if follower.target.directory is not None
    }
