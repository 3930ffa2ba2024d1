# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a server is doing: its health, and its sessions by state."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass
from typing import Any

from ..opencode.client import OpenCode
from ..opencode.errors import OpenCodeError
from ..opencode.models import Pending, Session
from ..opencode.reach import PATIENCE_S, check_server, unusable
from .pending import is_left_over

__all__ = ["SessionInfo", "Survey", "live_state", "survey"]

NEWEST = 100


@dataclass(frozen=True)
class SessionInfo:
    """``state`` is ``busy``, ``retry``, ``needs_input`` or ``idle``; times are ms since the epoch."""

    session: str
    state: str
    title: str
    directory: str
    dispatch: str | None
    created: float
    cost: float


@dataclass(frozen=True)
class Survey:
    """One server. ``sessions`` are the newest hundred, subagents' left out."""

    url: str
    version: str
    home: str
    sessions: tuple[SessionInfo, ...]
    permissions: tuple[dict[str, Any], ...]
    questions: tuple[dict[str, Any], ...]

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready form, with the number of sessions in each state."""
        counts: dict[str, int] = {"busy": 0, "retry": 0, "needs_input": 0, "idle": 0}
        for session in self.sessions:
            counts[session.state] += 1
        return {
            "url": self.url,
            "version": self.version,
            "home": self.home,
            "sessions": [asdict(session) for session in self.sessions],
            "session_counts": counts,
            "permissions": list(self.permissions),
            "questions": list(self.questions),
        }


async def survey(server: OpenCode, vm: str, *, patience_s: float = PATIENCE_S) -> Survey:
    """Ask a server what it is doing.

    Raises:
        PreflightError: It can't be asked.
    """
    version = await check_server(server, vm, patience_s=patience_s)
    try:
        home = (await server.paths()).home
        sessions = [session for session in await server.sessions(NEWEST) if session.parent is None]
        states, permissions, questions = await live_state(server, sessions)
    except OpenCodeError as error:
        raise unusable(server, vm, error) from error
    return Survey(
        url=server.url,
        version=version,
        home=home,
        sessions=tuple(_info(session, states) for session in sessions),
        permissions=tuple(permissions),
        questions=tuple(questions),
    )


async def live_state(
    server: OpenCode, sessions: list[Session]
) -> tuple[dict[str, str], list[dict[str, Any]], list[dict[str, Any]]]:
    """State of each session that is not idle, and the requests that wait for a person."""
    states: dict[str, str] = {}
    permissions: list[dict[str, Any]] = []
    questions: list[dict[str, Any]] = []
    for directory in sorted({session.directory for session in sessions}):
        statuses, asked, questioned = await asyncio.gather(
            server.statuses(directory), server.permissions(directory), server.questions(directory)
        )
        working = {session: status.type for session, status in statuses.items() if status.type != "idle"}
        states |= working
        pending: list[tuple[Pending, list[dict[str, Any]]]] = [
            *((each, permissions) for each in asked),
            *((each, questions) for each in questioned),
        ]
        for request, kept in pending:
            if request.session in working and not await is_left_over(server, request):
                states[request.session] = "needs_input"
                kept.append({"directory": directory, **request.model_dump(mode="json")})
    return states, permissions, questions


def _info(session: Session, states: dict[str, str]) -> SessionInfo:
    dispatch = session.metadata.get("dx_dispatch")
    return SessionInfo(
        session=session.id,
        state=states.get(session.id, "idle"),
        title=session.title,
        directory=session.directory,
        dispatch=dispatch if isinstance(dispatch, str) else None,
        created=session.time.created,
        cost=session.cost,
    )
