# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sessions and the subagents that they began, whose requests a person answers for the whole family."""

from __future__ import annotations

import asyncio
from collections.abc import Container
from typing import Any

from ...opencode.client import OpenCode
from ...opencode.errors import NotFound, NotOpenCode, Rejected, ServerFault
from ...opencode.models import Message, Pending
from ..pending import is_left_over

__all__ = ["Family"]

DEPTH = 8
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

    async def waiting(self, directory: str) -> dict[str, Pending]:
        """The requests of a directory that wait for a person, by the followed session.

        Raises:
            OpenCodeError: They can't be read.
        """
        permissions, questions = await asyncio.gather(
            self._server.permissions(directory), self._server.questions(directory)
        )
        pending: list[Pending] = [*permissions, *questions]
        found: dict[str, Pending] = {}
        for request in pending:
            if request.id in self._left_over:
                continue
            session = await self._ask_root(request.session)
            if session not in self._followed:
                continue
            if await is_left_over(self._server, request):
                self._left_over.add(request.id)
            else:
                found[session] = request
        return found

    async def _ask_root(self, session: str) -> str:
        """The followed session that a session belongs to, asked of the server; "" where there is none."""
        for _ in range(DEPTH):
            if session in self._followed or not session:
                break
            if session not in self._parents:
                try:
                    self._parents[session] = (await self._server.session(session)).parent or ""
                except NotFound:
                    self._parents[session] = ""
                except (Rejected, ServerFault, NotOpenCode):
                    return ""  # another session, most likely: it must not keep us from ours
            session = self._parents[session]
        return session

    async def steps(self, session: str, *, since: float) -> list[Message]:
        """The steps that the subagents of a session took since then, and those of their own.

        Args:
            session: The followed session.
            since: Milliseconds since the epoch.

        Raises:
            OpenCodeError: They can't be read.
        """
        found: list[Message] = []
        parents = [session]
        for _ in range(DEPTH):
            children = [child.id for parent in parents for child in await self._server.children(parent)]
            if not children:
                break
            for child in children:
                messages, _cursor = await self._server.messages(child, limit=MAX_STEPS)
                found += [
                    message
                    for message in messages
                    if message.info.role == "assistant" and message.info.time.created >= since
                ]
            parents = children
        return found
