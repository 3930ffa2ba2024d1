# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What sessions do, each with its subagents: the one state that a person cares about."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from .client import OpenCode
from .errors import ConfigInvalid, OwnError, Unauthorized
from .family import DEPTH, descendants_of
from .models import Pending, Session, SessionStatus
from .pending import is_left_over

__all__ = ["Activity", "activity_of", "activity_of_family", "working_families", "working_in"]

AT_ONCE = 8  # directories; the server opens each at its first request


@dataclass(frozen=True)
class Activity:
    """What the families of some sessions do.

    ``states``: ``busy``, ``retry`` or ``needs_input`` of each that is not idle, by the id of its root.
    ``unreadable``: the directories that OpenCode itself can't open, with the reason: nothing else is known of
    their sessions. ``permissions`` and ``questions`` wait for a person; each has its ``directory``.
    """

    states: Mapping[str, str]
    unreadable: Mapping[str, str]
    permissions: tuple[dict[str, Any], ...]
    questions: tuple[dict[str, Any], ...]


async def activity_of(server: OpenCode, sessions: Sequence[Session]) -> Activity:
    """What families do.

    Args:
        server: Their server.
        sessions: Roots, and the descendants that are known; others are asked for when they work.

    Raises:
        OpenCodeError: The server can't be asked. What ails one directory is in ``unreadable``.
    """
    parents = {session.id: session.parent for session in sessions}
    states: dict[str, str] = {}
    unreadable: dict[str, str] = {}
    permissions: list[dict[str, Any]] = []
    questions: list[dict[str, Any]] = []
    for directory in sorted({session.directory for session in sessions}):
        try:
            statuses, asked, questioned = await asyncio.gather(
                server.statuses(directory), server.permissions(directory), server.questions(directory)
            )
        except OwnError as error:
            unreadable[directory] = _why(error)
            continue
        working = working_in(statuses)
        for name in working:
            root = await _root_of(server, name, parents)
            if root not in states or name == root:
                states[root] = working[name]
        pending: list[tuple[Pending, list[dict[str, Any]]]] = [
            *((each, permissions) for each in asked),
            *((each, questions) for each in questioned),
        ]
        for request, kept in pending:
            if request.session in working and not await is_left_over(server, request):
                states[await _root_of(server, request.session, parents)] = "needs_input"
                kept.append({"directory": directory, **request.model_dump(mode="json")})
    return Activity(states, unreadable, tuple(permissions), tuple(questions))


async def activity_of_family(server: OpenCode, session: Session) -> Activity:
    """What one session and all its descendants do; its state is under its own id.

    Raises:
        OpenCodeError: They can't be asked.
    """
    members = [session.model_copy(update={"parent": None}), *await descendants_of(server, session.id)]
    return await activity_of(server, members)


async def working_families(server: OpenCode, sessions: Sequence[Session]) -> set[str]:
    """The roots of the families of which a member works. A directory that can't be opened has none.

    Raises:
        OpenCodeError: The server can't be asked.
    """
    parents = {session.id: session.parent for session in sessions}
    directories = sorted({session.directory for session in sessions})
    working: list[str] = []
    for first in range(0, len(directories), AT_ONCE):
        places = directories[first : first + AT_ONCE]
        working += chain.from_iterable(await asyncio.gather(*(_working_in(server, each) for each in places)))
    return {await _root_of(server, name, parents) for name in working}


async def _working_in(server: OpenCode, directory: str) -> list[str]:
    try:
        return list(working_in(await server.statuses(directory)))
    except OwnError as error:
        if isinstance(error, Unauthorized):
            raise
        return []


def working_in(statuses: Mapping[str, SessionStatus]) -> dict[str, str]:
    """The sessions that are not idle, with what they do (``busy`` or ``retry``)."""
    return {session: status.type for session, status in statuses.items() if status.type != "idle"}


async def _root_of(server: OpenCode, session: str, parents: dict[str, str | None]) -> str:
    """The oldest ancestor of a session. ``parents`` is what is known, and learns."""
    for _ in range(DEPTH):
        if session not in parents:
            try:
                parents[session] = (await server.session(session)).parent
            except OwnError:  # its parent can't be read: then it stands for itself
                parents[session] = None
        parent = parents[session]
        if parent is None:
            break
        session = parent
    return session


def _why(error: OwnError) -> str:
    """In one line, why a directory can't be opened.

    Raises:
        OpenCodeError: It is not the directory that is the matter.
    """
    if isinstance(error, Unauthorized):
        raise error
    return f"{error.file}: {'; '.join(error.issues)}" if isinstance(error, ConfigInvalid) else error.message
