# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All followed sessions of one server: its event stream, and the truth read back by REST.

An event never decides anything. It tells a person what happens and says which session to look at; what
became of a session is read from the server. So a lost, late or doubled event costs at most one interval.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from ...domain.event_kind import EventKind
from ...domain.outcome import Evidence, Outcome, State
from ...domain.task import shortened
from ...opencode.client import OpenCode
from ...opencode.errors import NotFound, NotOpenCode, OpenCodeError, Rejected, ServerFault
from ...opencode.models import Message, Pending, PermissionRequest, SessionStatus
from ..turn import Turn, Verdict, evidence_of, judge, read_turn
from .family import Family
from .follower import Follower
from .limits import Limits

__all__ = ["ServerWatch"]

LOOK_EVERY_S = 1.5  # a pending question is found within 2 s even if its event was lost
LOOKS_PER_SECOND = 4  # and the rate stays bounded over many directories
AGAIN_S = 0.5
SOON_S = 0.1  # a server may say that a session is idle a moment before it answers so, or stores its end
DEAF_S = 1.5  # a loaded server says "connected" up to 0.2 s before it passes on any event (OpenCode 1.18)
COUNT_EVERY_S = 10.0
COUNTS_PER_SECOND = 1
STREAM_SILENCE_S = 25.0  # the server sends a heartbeat every 10 s (OpenCode 1.18)
SETTLE_S = 2.0
START_S = 15.0
ABORT_S = 10.0


@dataclass
class _Doubt:
    """A verdict on an idle session that a server about to go on would overturn."""

    reason_code: str
    since: float


class ServerWatch:
    """Follows sessions of one server until each has an outcome.

    Args:
        server: The server; it is only used while :meth:`run` runs.
        followers: The sessions, by id.
        limits: When to stop one.
    """

    def __init__(self, server: OpenCode, followers: dict[str, Follower], limits: Limits) -> None:
        self._server = server
        self._pending = dict(followers)
        self._limits = limits
        self._outcomes: dict[str, Outcome] = {}
        self._started = time.monotonic()
        self._dirty: set[str] = set()
        self._to_come: set[str] = set()
        self._kick = asyncio.Event()
        self._doubts: dict[str, _Doubt] = {}
        self._counted: dict[str, float] = {}
        self._family = Family(server, self._pending)
        self._directories: dict[str, str] = {}
        self._assumed = {
            name: follower.target.directory
            for name, follower in followers.items()
            if follower.target.directory is not None
        }
        self._unreadable: dict[str, float] = {}
        self._trouble: tuple[float, bool] | None = None
        self._was_gone = False
        self._next_full_look = self._started
        self._deaf_until = 0.0

    async def run(self) -> dict[str, Outcome]:
        """The outcome of each session, by id."""
        stream = asyncio.create_task(self._follow_stream())
        try:
            while self._pending:
                await self._look_once()
        finally:
            stream.cancel()
            await asyncio.gather(stream, return_exceptions=True)
        return self._outcomes

    # -- the stream ----------------------------------------------------------------------------------

    async def _follow_stream(self) -> None:
        pause_s = 0.1
        while True:
            try:
                async with self._server.events(STREAM_SILENCE_S) as events:
                    pause_s = 0.1
                    async for event in events:
                        self._take_event(event)
            except OpenCodeError:
                pass  # what it means for the sessions is decided by the looks, which fail as well
            self._look_at(self._pending)
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, 2.0)

    def _take_event(self, event: dict[str, Any]) -> None:
        payload = event.get("payload")
        if not isinstance(payload, dict) or payload.get("type") == "sync":  # each durable event comes twice
            return
        kind, properties = str(payload.get("type")), payload.get("properties")
        if kind == "server.connected":
            self._deaf_until = time.monotonic() + DEAF_S
            self._next_full_look = min(self._next_full_look, time.monotonic() + self._interval_s())
            self._look_at(self._pending)
        elif self._is_deaf():  # no longer; what it missed until now was for any of them
            self._deaf_until = 0.0
            self._look_at(self._pending)
        if not isinstance(properties, dict):
            return
        self._family.learn(kind, properties)
        session = _session_of(properties)
        root = self._family.root(session)
        follower = self._pending.get(root)
        if follower is None:
            return
        now = time.monotonic()
        take = follower.take if session == root else follower.take_of_subagent
        if take(kind, properties, now):
            self._look_at([root])
            self._look_again(root, SOON_S)

    def _is_deaf(self) -> bool:
        """Whether the stream is too new to be relied upon: events may be lost till the first one comes."""
        return time.monotonic() < self._deaf_until

    def _look_at(self, sessions: Iterable[str]) -> None:
        self._dirty.update(sessions)
        self._kick.set()

    def _look_again(self, session: str, pause_s: float) -> None:
        """Look once more after a pause, unless that is to come anyway or the session is settled by then."""
        if session not in self._to_come:
            self._to_come.add(session)
            asyncio.get_running_loop().call_later(pause_s, self._look_as_said, session)

    def _look_as_said(self, session: str) -> None:
        self._to_come.discard(session)
        self._look_at([session])

    # -- the truth -----------------------------------------------------------------------------------

    async def _look_once(self) -> None:
        """Wait for a reason to look, look, and act on limits."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._until_look_s()):
                await self._kick.wait()
        sessions = [session for session in self._dirty if session in self._pending]
        if time.monotonic() >= self._next_full_look:  # kicks of one session must not keep us from the others
            sessions = list(self._pending)
            self._next_full_look = time.monotonic() + self._interval_s()
        self._kick.clear()
        self._dirty.clear()
        if sessions:
            await self._look_in_time(sessions)
        # At once: a server that is silent makes each of them wait.
        await asyncio.gather(*map(self._apply_limits, list(self._pending)))

    async def _look_in_time(self, sessions: list[str]) -> None:
        """Look, but not beyond our own limit of time: what is silent then is ended by that."""
        try:
            async with asyncio.timeout(self._left_s()):
                await self._look(sessions)
            self._trouble = None
        except OpenCodeError as error:
            self._in_trouble(error)
            self._next_full_look = min(self._next_full_look, time.monotonic() + AGAIN_S)
        except TimeoutError:
            return

    def _interval_s(self) -> float:
        directories = len({self._told_directory(session) for session in self._pending})
        usual = max(LOOK_EVERY_S, directories / LOOKS_PER_SECOND)
        return min(usual, directories * SOON_S) if self._is_deaf() else usual

    def _until_look_s(self) -> float:
        until = max(self._next_full_look - time.monotonic(), 0.01)
        left = self._left_s()
        return until if left is None else min(until, left)

    def _left_s(self) -> float | None:
        """Seconds until our own time limit, a little more than none once it is reached."""
        if self._limits.timeout_s is None:
            return None
        return max(self._started + self._limits.timeout_s - time.monotonic(), 0.01)

    async def _look(self, sessions: list[str]) -> None:
        by_directory: dict[str, list[str]] = {}
        for session in sessions:
            directory = await self._directory(session)
            if directory is not None:
                by_directory.setdefault(directory, []).append(session)
        self._dirty.difference_update(sessions)  # what gave a reason until now is in the answers to come
        for directory, members in by_directory.items():
            statuses = await self._server.statuses(directory)
            works = any(status.type != "idle" for status in statuses.values())
            waiting = await self._family.waiting(directory) if works else {}
            for session in members:
                try:
                    await self._look_at_session(session, statuses.get(session), waiting.get(session))
                except (NotFound, Rejected, ServerFault, NotOpenCode) as error:
                    self._cannot_read(session, error)
                else:
                    self._unreadable.pop(session, None)

    async def _directory(self, session: str) -> str | None:
        """Where the session works, as its server says or said; None where that ended the session for us.

        Asked of another directory, the server would call a working session absent.
        """
        told = self._told_directory(session)
        if told is None:
            try:
                told = self._directories[session] = (await self._server.session(session)).directory
            except (NotFound, Rejected, ServerFault) as error:
                self._cannot_read(session, error)
                return None
            except NotOpenCode as error:
                await self._server.health()  # else it is not this session that is the matter
                self._cannot_read(session, error)
                return None
        return told

    def _told_directory(self, session: str) -> str | None:
        """Where the session works, as far as we know without asking."""
        return self._directories.get(session) or self._assumed.get(session)

    async def _look_at_session(
        self,
        session: str,
        status: SessionStatus | None,
        request: Pending | None,
    ) -> None:
        follower = self._pending[session]
        if status is not None and status.type != "idle":
            self._doubts.pop(session, None)
            follower.take_status(status)
            if request is not None:  # of an idle session it would be a left-over
                await self._needs_input(session, request)
            else:
                await self._count(session)
            return
        turn = await read_turn(self._server, session, follower.target.message)
        verdict = self._judge(turn)
        if verdict.state is not State.COMPLETED and session in self._assumed:  # it may work elsewhere
            assumed = self._assumed.pop(session)
            if await self._directory(session) != assumed:
                self._look_at([session])
                return
        if verdict.settled or self._doubted_long_enough(session, verdict):
            if follower.error and verdict.reason_code in ("no_answer", "prompt_not_stored"):
                verdict = replace(verdict, message=f"the agent never began: {follower.error}")
            await self._end(session, verdict, turn)

    def _judge(self, turn: Turn) -> Verdict:
        verdict = judge(turn.messages)
        if verdict.reason_code == "no_answer" and self._was_gone:
            words = "the server died before the agent began and does not resume it"
            return replace(verdict, state=State.LOST, reason_code="server_restarted", message=words)
        return verdict

    async def _count(self, session: str) -> None:
        """Read the turn back soon and then now and then, so that limits hold even where events were lost.

        Soon, as the turn may have been over when the wait began, and the session work for somebody else.
        """
        now = time.monotonic()
        every_s = min(COUNT_EVERY_S, (self._limits.stall_timeout_s or COUNT_EVERY_S) / 3)
        if session not in self._counted:
            every_s = min(every_s, LOOK_EVERY_S)
        every_s = max(every_s, len(self._pending) / COUNTS_PER_SECOND)
        if now - self._counted.get(session, self._started) < every_s:
            return
        self._counted[session] = now
        follower = self._pending[session]
        turn = await read_turn(self._server, session, follower.target.message)
        if turn.over:
            await self._end(session, self._judge(turn), turn)
        else:
            follower.take_messages([*turn.messages, *await self._of_subagents(session, turn)], now)

    def _doubted_long_enough(self, session: str, verdict: Verdict) -> bool:
        now = time.monotonic()
        doubt = self._doubts.get(session)
        if doubt is None or doubt.reason_code != verdict.reason_code:
            doubt = self._doubts[session] = _Doubt(verdict.reason_code, now)
        age_s = now - doubt.since
        if age_s >= self._patience_s(session, verdict):
            return True
        if age_s < LOOK_EVERY_S:  # each pause twice the one before, until it is that of the looks at all
            self._look_again(session, max(age_s, SOON_S))
        return False

    def _patience_s(self, session: str, verdict: Verdict) -> float:
        """A loaded server stores a message, or the error of one, seconds after it is idle (OpenCode 1.18)."""
        match verdict.reason_code:
            case "prompt_not_stored" | "no_answer":
                return START_S if self._pending[session].error is None else SETTLE_S
            case "server_restarted":
                return SETTLE_S if self._was_gone else START_S
        return SETTLE_S

    def _cannot_read(self, session: str, error: OpenCodeError) -> None:
        """End a session that was deleted, or that its server can't tell; the others may be well."""
        since = self._unreadable.setdefault(session, time.monotonic())
        if isinstance(error, NotFound):
            self._settle(
                session, Verdict(State.FAILED, "session_gone", "the session was deleted"), Evidence()
            )
        elif time.monotonic() - since >= (0 if isinstance(error, Rejected) else self._limits.server_gone_s):
            words = f"the session can't be read: {error.message}"
            self._settle(session, Verdict(State.FAILED, "session_unreadable", words), Evidence())

    def _in_trouble(self, error: OpenCodeError) -> None:
        """Give up the server's sessions once it has been gone, or out of reach, for too long.

        Only a refused connection says that the server is gone, and its sessions with it. Whatever else keeps
        us from it (a network that is down, another service in its place) leaves them working.
        """
        now = time.monotonic()
        gone = error.reason_code == "connection_refused"
        self._was_gone = self._was_gone or gone
        if self._trouble is None:
            for follower in self._pending.values():
                follower.changed(EventKind.CONNECTION_LOST, reason_code=error.reason_code)
        if self._trouble is None or self._trouble[1] != gone:
            self._trouble = (now, gone)
        if now - self._trouble[0] < (self._limits.server_gone_s if gone else self._limits.server_silent_s):
            return
        state, reason = (State.LOST, "server_gone") if gone else (State.UNREACHABLE, "server_silent")
        words = f"the server went away while the task ran: {error.message}"
        for session, follower in list(self._pending.items()):
            counted = Evidence(steps=len(follower.steps), cost=round(follower.cost, 6))
            self._settle(session, Verdict(state, reason, words), counted if follower.steps else Evidence())

    # -- ends ----------------------------------------------------------------------------------------

    async def _needs_input(self, session: str, request: Pending) -> None:
        kind = "permission_pending" if isinstance(request, PermissionRequest) else "question_pending"
        words = f"the agent waits for {shortened(request.in_words(), 200)}"
        evidence = Evidence(request=request.model_dump(mode="json"))
        await self._finish(session, Verdict(State.NEEDS_INPUT, kind, words), evidence)

    async def _apply_limits(self, session: str) -> None:
        follower = self._pending[session]
        verdict = self._exceeded(follower)
        if verdict is None:
            return
        if await self._ended_or_moved(follower, verdict):
            return
        follower.changed(EventKind.ABORTING, why=verdict.message)
        if await self._aborted(follower):
            follower.changed(EventKind.STOPPED)
        else:
            verdict = replace(
                verdict,
                reason_code=f"{verdict.reason_code}_unconfirmed",
                message=f"{verdict.message}; the abort is not confirmed, it may still work",
            )
        await self._finish(session, verdict)

    def _exceeded(self, follower: Follower) -> Verdict | None:
        limits, now = self._limits, time.monotonic()
        if limits.timeout_s is not None and now - self._started >= limits.timeout_s:
            return Verdict(State.TIMED_OUT, "timeout", f"not finished after {limits.timeout_s:g} s")
        if limits.stall_timeout_s is not None and now - follower.moved_at >= limits.stall_timeout_s:
            return Verdict(State.STALLED, "stall_timeout", f"nothing moved for {limits.stall_timeout_s:g} s")
        if limits.max_steps is not None and len(follower.steps) > limits.max_steps:
            return Verdict(State.ABORTED, "max_steps", f"more than {limits.max_steps} steps")
        if limits.max_cost is not None and follower.cost > limits.max_cost:
            return Verdict(
                State.ABORTED, "max_cost", f"cost {follower.cost:g}, more than {limits.max_cost:g}"
            )
        return None

    async def _ended_or_moved(self, follower: Follower, verdict: Verdict) -> bool:
        """Whether the turn ended before it could be stopped, or moved although no event said so."""
        session, before = follower.target.session, follower.moved_at
        try:
            async with asyncio.timeout(ABORT_S):
                turn = await read_turn(self._server, session, follower.target.message)
                found = self._judge(turn)
                ended = turn.over or found.state is State.COMPLETED
                ended = ended or (found.settled and await self._is_idle(session))
                everything = [*turn.messages, *await self._of_subagents(session, turn)]
        except (OpenCodeError, TimeoutError):
            return False
        if ended:
            await self._end(session, found, turn)
            return True
        follower.take_messages(everything, time.monotonic())
        return verdict.reason_code == "stall_timeout" and follower.moved_at > before

    async def _aborted(self, follower: Follower) -> bool:
        """Abort the session; True once the server says that it is idle, False after ten seconds."""
        session = follower.target.session
        try:
            async with asyncio.timeout(ABORT_S):
                while True:
                    try:
                        await self._server.abort(session)
                        if await self._is_idle(session):
                            return True
                    except OpenCodeError:
                        await asyncio.sleep(0.5)
                        continue
                    await asyncio.sleep(0.1)
        except TimeoutError:
            return False

    async def _is_idle(self, session: str) -> bool:
        directory = self._directories.get(session) or (await self._server.session(session)).directory
        status = (await self._server.statuses(directory)).get(session)
        return status is None or status.type == "idle"

    async def _finish(self, session: str, verdict: Verdict, evidence: Evidence | None = None) -> None:
        """End a wait with what was concluded from outside, unless the turn itself says that it is over."""
        evidence = evidence or Evidence()
        target = self._pending[session].target
        try:
            async with asyncio.timeout(ABORT_S):
                turn = await read_turn(self._server, session, target.message)
        except OpenCodeError as error:
            self._settle(
                session, verdict, replace(evidence, error=f"the messages can't be read: {error.message}")
            )
        except TimeoutError:
            self._settle(session, verdict, replace(evidence, error="the messages could not be read in time"))
        else:
            found = self._judge(turn)
            if turn.over or found.state is State.COMPLETED:
                await self._end(session, found, turn)
            else:
                await self._end(session, verdict, turn, evidence)

    async def _end(
        self, session: str, verdict: Verdict, turn: Turn, evidence: Evidence | None = None
    ) -> None:
        try:
            async with asyncio.timeout(ABORT_S):
                subagents = await self._of_subagents(session, turn)
        except (OpenCodeError, TimeoutError):
            subagents = []  # the turn is what counts
        self._settle(session, verdict, evidence_of(turn.messages, evidence or Evidence(), subagents))

    async def _of_subagents(self, session: str, turn: Turn) -> list[Message]:
        """The steps of the agents that the turn's agent sent out: they cost, too."""
        if not any(part.tool == "task" for message in turn.messages for part in message.parts):
            return []
        return await self._family.steps(session, since=turn.messages[0].info.time.created)

    def _settle(self, session: str, verdict: Verdict, evidence: Evidence) -> None:
        follower = self._pending.pop(session)
        follower.changed(EventKind(verdict.state.value), message=verdict.message)
        target = follower.target
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._outcomes[session] = Outcome(
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
                session=session,
                directory=evidence.directory or self._told_directory(session),
                noticed_at=now,
            ),
        )


def _session_of(properties: dict[str, Any]) -> str:
    """The session that an event is about; its place differs between the events of OpenCode 1.18."""
    for holder in (properties, properties.get("info"), properties.get("part")):
        if isinstance(holder, dict) and isinstance(holder.get("sessionID"), str):
            return str(holder["sessionID"])
    return ""
