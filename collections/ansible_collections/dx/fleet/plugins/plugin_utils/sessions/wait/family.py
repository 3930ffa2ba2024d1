# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Followed sessions and the subagents that they began: what one of a family does is done by all of it."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Container, Sequence
from typing import Any

from ...opencode.client import OpenCode
from ...opencode.errors import NotFound, OwnError
from ...opencode.family import DEPTH, descendants_of
from ...opencode.models import Message, Pending, Session
from ...opencode.pending import is_left_over

__all__ = ["Family"]

PAGE = 100
MAX_STEPS = 1000  # of one subagent


class Family:
    """Which followed session another session belongs to.

    Args:
        server: Their server.
        followed: The ids of the followed sessions, as they are at each call.
    """

    def __init__(self, server: OpenCode, followed: Container[str]) -> None:
        self._server = server
        self._followed = followed
        self._parents: dict[str, str] = {}
        self._left_over: set[str] = set()

    def learn(self, kind: str, properties: dict[str, Any]) -> None:
        """Take from an event whose subagent a session is."""
        info = properties.get("info")
        if kind.startswith("session.") and isinstance(info, dict) and isinstance(info.get("parentID"), str):
            self._parents[str(info.get("id"))] = info["parentID"]

    def root(self, session: str) -> str:
        """The followed session that a session belongs to, as far as events told; else the session itself."""
        for _ in range(DEPTH):
            if session in self._followed or session not in self._parents:
                break
            session = self._parents[session]
        return session

    async def waiting(self, directory: str, at_work: Collection[str]) -> dict[str, list[Pending]]:
        """The requests of a directory that wait for a person, by the followed session.

        Args:
            directory: The directory.
            at_work: The sessions that work there; a request of another one is left over.

        Raises:
            OpenCodeError: They can't be read.
        """
        permissions, questions = await asyncio.gather(
            self._server.permissions(directory), self._server.questions(directory)
        )
        pending: list[Pending] = [*permissions, *questions]
        found: dict[str, list[Pending]] = {}
        for request in pending:
            if request.id in self._left_over or request.session not in at_work:
                continue
            session = await self.ask_root(request.session)
            if session not in self._followed:
                continue
            if await is_left_over(self._server, request):
                self._left_over.add(request.id)
            else:
                found.setdefault(session, []).append(request)
        return found

    async def ask_root(self, session: str) -> str:
        """The followed session that a session belongs to, asked of the server; "" where there is none.

        Raises:
            OpenCodeError: The server can't be asked.
        """
        for _ in range(DEPTH):
            if session in self._followed or not session:
                break
            if session not in self._parents:
                try:
                    self._parents[session] = (await self._server.session(session)).parent or ""
                except NotFound:
                    self._parents[session] = ""
                except OwnError:
                    return ""  # another session, most likely: it must not keep us from ours
            session = self._parents[session]
        return session

    async def working(self, session: str) -> list[str]:
        """Those of a session and its descendants that are not idle.

        Raises:
            OpenCodeError: They can't be asked.
        """
        root = await self._server.session(session)
        return await self._at_work([root, *await descendants_of(self._server, session)])

    async def subagents_at_work(self, session: str) -> list[str]:
        """Those of the descendants of a session that are not idle.

        Raises:
            OpenCodeError: They can't be asked.
        """
        return await self._at_work(await descendants_of(self._server, session))

    async def _at_work(self, members: Sequence[Session]) -> list[str]:
        at_work: list[str] = []
        for directory in dict.fromkeys(member.directory for member in members):
            statuses = await self._server.statuses(directory)
            at_work += [
                member.id
                for member in members
                if member.directory == directory
                and member.id in statuses
                and statuses[member.id].type != "idle"
            ]
        return at_work

    async def steps(self, session: str, *, since: float) -> list[Message]:
        """The steps that the subagents of a session took since then, and those of their own.

        Args:
            session: The followed session.
            since: Milliseconds since the epoch.

        Raises:
            OpenCodeError: They can't be read.
        """
        found: list[Message] = []
        for child in await descendants_of(self._server, session):
            found += [
                message
                for message in await self._newest(child.id)
                if message.info.role == "assistant" and message.info.time.created >= since
            ]
        return found

    async def _newest(self, session: str) -> list[Message]:
        """The newest messages of a session, a thousand at most."""
        found: list[Message] = []
        cursor: str | None = None
        while len(found) < MAX_STEPS:
            page, cursor = await self._server.messages(session, limit=PAGE, before=cursor)
            found += page
            if cursor is None or not page:
                break
        return found
