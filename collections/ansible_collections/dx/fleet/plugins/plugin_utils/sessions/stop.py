# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stopping a session with all its subagents, and proving that none of them works."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace

from ..domain.clock import SYSTEM_CLOCK, Clock
from ..domain.outcome import State, shown_state
from ..domain.stop import Clause, StopMark
from ..opencode.activity import working_in
from ..opencode.client import OpenCode
from ..opencode.errors import NotFound, OpenCodeError
from ..opencode.family import descendants_of
from ..opencode.models import Session
from .turn import Turn, judge, read_turn

__all__ = ["Stopped", "Wanted", "idle_clauses", "others_beside", "stop", "stopped_by"]

LOOK_EVERY_S = 0.05
CONFIRM_S = 0.25
"""From the look at which nothing works to the one that confirms it."""
DISPOSED_S = 5.0


@dataclass(frozen=True)
class Wanted:
    """What is to be stopped: a session, and the task in it as far as it is known.

    ``held``: a claim is under way for it, so that its work is not over when its turn is.
    """

    session: str
    dispatch: str | None = None
    message: str | None = None
    directory: str | None = None
    held: bool = False


@dataclass(frozen=True)
class Stopped:
    """What became of a session.

    ``state`` is ``stopped``, ``prevented`` (its task had not begun), ``already_ended`` or ``still_works``;
    ``family`` are it and its subagents, ``others`` are sessions that work in the same directory, left alone.
    ``idle_at`` is when, by the monotonic clock, none of the family worked any more.
    """

    session: str
    state: str
    directory: str
    mark: StopMark
    family: tuple[str, ...]
    others: tuple[str, ...] = ()
    disposed: bool = False
    why: str | None = None
    idle_at: float | None = None


async def stop(
    server: OpenCode,
    wanted: Wanted,
    mark: StopMark,
    *,
    timeout_s: float,
    aborting: Callable[[], None] = lambda: None,
    may_be_idle: Callable[[str, tuple[str, ...]], None] = lambda *_: None,
    clock: Clock = SYSTEM_CLOCK,
) -> Stopped:
    """Stop a session, its subagents first.

    It is marked before, so that whoever sends or follows its task knows who stopped it. A session that is not
    there yet is made with the mark, which keeps its dispatch from sending the task.

    Args:
        server: Its server.
        wanted: The session.
        mark: Who stops it, and why.
        timeout_s: How long the server is given to abort; then its instance of the directory is disposed of.
        aborting: Called when there is something to stop, before it is stopped.
        may_be_idle: Called with the directory and the other sessions that work there, when all is about to
            be aborted, and as soon as none of the family is seen to work. It must not block.
        clock: Time.

    Raises:
        OpenCodeError: The server can't be asked, or its answer says nothing.
    """
    session = await _session_of(server, wanted)
    turn, seen = await asyncio.gather(
        read_turn(server, session.id, wanted.message), _first_look(server, session)
    )
    over = None if wanted.held or seen.working else await _how_it_ended(server, session, wanted, turn, clock)
    if over is not None:
        return Stopped(session.id, "already_ended", session.directory, mark, (session.id,), why=over)
    aborting()
    await _mark(server, session, mark)
    state = "stopped" if seen.working or turn.messages else "prevented"
    if seen.working:
        may_be_idle(session.directory, seen.others)
        await _abort(server, seen)
    seen = await _aborted(server, session, timeout_s, clock, may_be_idle)
    disposed = bool(seen.working)
    if disposed:
        seen = await _disposed(server, session, seen, clock)
    if not seen.working and await _mark(server, await server.session(session.id), mark):
        # Who sent the task meanwhile has replaced the note, and may have sent it after the look.
        seen = await _aborted(server, session, DISPOSED_S, clock, may_be_idle)
    family = tuple(each.id for each in seen.family)
    return Stopped(
        session.id,
        "still_works" if seen.working else state,
        session.directory,
        mark,
        family,
        seen.others,
        disposed=disposed,
        idle_at=seen.idle_at,
    )


async def others_beside(server: OpenCode, found: Stopped) -> tuple[str, ...]:
    """The sessions that work in the directory of a stopped one now, and are not of its family.

    Raises:
        OpenCodeError: The server can't be asked.
    """
    statuses = await server.statuses(found.directory)
    return tuple(sorted(working_in(statuses).keys() - set(found.family)))


async def idle_clauses(
    server: OpenCode, found: Stopped, *, clock: Clock = SYSTEM_CLOCK
) -> tuple[list[Clause], bool]:
    """Whether no session of the family works, and nothing is queued in it, as the server says now.

    What was sent into the stopped session all the same is aborted once more; a note of the stop that is gone
    is made again.

    Returns:
        The clauses, and whether something had to be aborted once more.
    """
    resumed = False
    try:
        session = await server.session(found.session)
        await _mark(server, session, found.mark)
        seen, turn = await asyncio.gather(_look(server, session), read_turn(server, session.id, None))
        resumed = bool(seen.working)
        if resumed:
            seen = await _aborted(server, session, DISPOSED_S, clock)
            turn = await read_turn(server, session.id, None)
    except OpenCodeError as error:
        why = f"the server can't be asked: {error.message}"
        return [Clause("no_session_works", False, why), Clause("nothing_queued", False, why)], resumed
    names = ", ".join(each.id for each in seen.family)
    working = ", ".join(sorted(seen.working))
    idle = Clause("no_session_works", not working, f"{working} still works" if working else f"idle: {names}")
    last = turn.messages[-1].info.id if turn.messages else "none"
    queued = Clause("nothing_queued", True, f"nothing follows the last message ({last})")
    if working:
        queued = Clause("nothing_queued", False, "a session still works")
    return [idle, queued], resumed


async def stopped_by(
    server: OpenCode, session: str, dispatch: str | None, message: str | None
) -> StopMark | None:
    """Who stopped the task of a session, if anybody did.

    Raises:
        OpenCodeError: The session can't be read.
    """
    return _mark_about(await server.session(session), dispatch, message)


def _mark_about(session: Session, dispatch: str | None, message: str | None) -> StopMark | None:
    mark = StopMark.read(session.metadata)
    return mark if mark is not None and mark.is_about(dispatch, message) else None


async def _mark(server: OpenCode, session: Session, mark: StopMark) -> bool:
    """Note the stop in the session; returns whether it was not noted there."""
    if StopMark.read(session.metadata) == mark:
        return False
    await server.update_session(session.id, {"metadata": mark.added_to(session.metadata)})
    return True


@dataclass(frozen=True)
class _Seen:
    """A family in one look, the oldest first. ``working`` are not idle; ``others`` work in its directory;
    ``idle_at`` is when the first look had ended since which none was seen to work."""

    family: tuple[Session, ...]
    working: frozenset[str]
    others: tuple[str, ...]
    idle_at: float | None = None


async def _first_look(server: OpenCode, session: Session) -> _Seen:
    """A look that is fast where something works: what it may have missed is found once that was aborted."""
    seen = await _look(server, session, sure=False)
    return seen if seen.working else await _look(server, session)


async def _look(server: OpenCode, session: Session, *, sure: bool = True) -> _Seen:
    below, here = await asyncio.gather(
        descendants_of(server, session.id, sure=sure), server.statuses(session.directory)
    )
    family = (session, *below)
    elsewhere = {each.directory for each in family} - {session.directory}
    statuses = [here, *await asyncio.gather(*map(server.statuses, elsewhere))]
    names = {each.id for each in family}
    working = {name for each in statuses for name in working_in(each)}
    return _Seen(family, frozenset(names & working), tuple(sorted(working_in(here).keys() - names)))


async def _how_it_ended(
    server: OpenCode, session: Session, wanted: Wanted, turn: Turn, clock: Clock
) -> str | None:
    """How the task of an idle session ended before; None: it may not have begun, or be about to go on.

    Where an abort comes between two steps its messages do not say that it ended: the note of that stop does.
    """
    if not turn.messages:
        return None
    verdict = judge(turn.messages)
    before = _mark_about(session, wanted.dispatch, wanted.message)
    if not verdict.settled:
        if before is None:
            return None
        await clock.sleep(CONFIRM_S)
        if (await _look(server, session)).working:
            return None
    if before is not None and (verdict.state is State.ABORTED or not verdict.settled):
        return f"{State.ABORTED}: {before.words()}"
    return f"{shown_state(verdict.state)}: {verdict.message}"


async def _session_of(server: OpenCode, wanted: Wanted) -> Session:
    """The session that is to be stopped; it is made where it is not there yet."""
    try:
        return await server.session(wanted.session)
    except NotFound:
        where = wanted.directory or (await server.paths()).home
        await server.create_session(wanted.session, where)
        return await server.session(wanted.session)


async def _disposed(server: OpenCode, session: Session, seen: _Seen, clock: Clock) -> _Seen:
    """What is to be seen after all that runs in the family's directories was ended."""
    for directory in {each.directory for each in seen.family}:
        await server.dispose(directory)
    return await _aborted(server, session, DISPOSED_S, clock)


async def _aborted(
    server: OpenCode,
    session: Session,
    timeout_s: float,
    clock: Clock,
    may_be_idle: Callable[[str, tuple[str, ...]], None] = lambda *_: None,
) -> _Seen:
    """Abort until nothing of the family works in two looks, or the time is over; returns the last look.
    ``may_be_idle`` is called at the first of the two."""
    deadline = clock.monotonic() + timeout_s
    idle_at: float | None = None
    while True:
        seen = await _look(server, session)
        now = clock.monotonic()
        if seen.working:
            idle_at = None
        elif idle_at is not None:
            return replace(seen, idle_at=idle_at)
        else:
            idle_at = now
            may_be_idle(session.directory, seen.others)
        if now >= deadline:
            return replace(seen, idle_at=idle_at)
        await _abort(server, seen)
        await clock.sleep(LOOK_EVERY_S if idle_at is None else CONFIRM_S)


async def _abort(server: OpenCode, seen: _Seen) -> None:
    """Abort what works, the youngest first, without a pause in which one goes on whose subagent has ended."""
    await asyncio.gather(
        *(server.abort(each.id) for each in reversed(seen.family) if each.id in seen.working)
    )
