# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a server is doing: its health, and its sessions by state."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ..opencode.activity import Activity, activity_of
from ..opencode.client import OpenCode
from ..opencode.errors import OpenCodeError, OwnError
from ..opencode.family import DEPTH
from ..opencode.models import Session
from ..opencode.reach import PATIENCE_S, check_server, unusable
from ..opencode.recent import recent_sessions

__all__ = ["SessionInfo", "Survey", "survey"]


@dataclass(frozen=True)
class SessionInfo:
    """A session with its subagents. Times are ms since the epoch.

    ``state`` is ``busy``, ``retry``, ``needs_input``, ``idle`` or ``unreadable``: OpenCode can't open its
    directory, ``why`` says what is wrong.
    """

    session: str
    state: str
    title: str
    directory: str
    dispatch: str | None
    created: float
    cost: float
    why: str | None = None


@dataclass(frozen=True)
class Survey:
    """One server. ``sessions`` are the recent ones (see ``recent_sessions``), subagents' left out."""

    url: str
    version: str
    home: str
    sessions: tuple[SessionInfo, ...]
    permissions: tuple[dict[str, Any], ...]
    questions: tuple[dict[str, Any], ...]

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready form, with the number of sessions in each state."""
        counts = dict.fromkeys(("busy", "retry", "needs_input", "idle", "unreadable"), 0)
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
        sessions = await recent_sessions(server)
        activity = await activity_of(server, sessions)
        roots = [session for session in sessions if session.parent is None]
        roots += await _older(server, activity, {session.id for session in roots})
    except OpenCodeError as error:
        raise unusable(server, vm, error) from error
    cost = _family_costs(sessions)
    return Survey(
        url=server.url,
        version=version,
        home=home,
        sessions=tuple(_info(session, activity, cost.get(session.id, 0)) for session in roots),
        permissions=activity.permissions,
        questions=activity.questions,
    )


async def _older(server: OpenCode, activity: Activity, listed: set[str]) -> list[Session]:
    """The sessions of which a subagent works, though they themselves are not among the newest."""
    found = []
    for name in sorted(set(activity.states) - listed):
        try:
            found.append(await server.session(name))
        except OwnError:
            continue  # deleted meanwhile
    return found


def _family_costs(sessions: list[Session]) -> dict[str, float]:
    """What the listed subagents of each root cost."""
    parents = {session.id: session.parent for session in sessions}
    costs: dict[str, float] = {}
    for session in sessions:
        root = session.parent
        for _ in range(DEPTH):
            if root is None or parents.get(root) is None:
                break
            root = parents[root]
        if root is not None:
            costs[root] = costs.get(root, 0) + session.cost
    return costs


def _info(session: Session, activity: Activity, of_subagents: float) -> SessionInfo:
    dispatch = session.metadata.get("dx_dispatch")
    why = activity.unreadable.get(session.directory)
    idle = "idle" if why is None else "unreadable"
    return SessionInfo(
        session=session.id,
        state=activity.states.get(session.id, idle),
        title=session.title,
        directory=session.directory,
        dispatch=dispatch if isinstance(dispatch, str) else None,
        created=session.time.created,
        cost=round(session.cost + of_subagents, 6),
        why=why,
    )
