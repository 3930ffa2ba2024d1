# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Answering what the agents of a session wait for: permissions and questions, subagents' included."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..opencode.client import OpenCode
from ..opencode.errors import NotFound
from ..opencode.family import descendants_of
from ..opencode.models import PermissionRequest, QuestionRequest
from ..opencode.pending import is_left_over

__all__ = ["PERMISSION_ANSWERS", "Request", "reply", "waiting_in"]

PERMISSION_ANSWERS = ("once", "always", "reject")


@dataclass(frozen=True)
class Request:
    """What an agent waits for. ``options`` are the answers to its first question."""

    request: PermissionRequest | QuestionRequest
    directory: str

    @property
    def options(self) -> list[str]:
        """The answers that it offers."""
        if isinstance(self.request, PermissionRequest):
            return list(PERMISSION_ANSWERS)
        first = self.request.questions[:1]
        return [option.label for question in first for option in question.options]

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {
            "id": self.request.id,
            "session": self.request.session,
            "kind": "permission" if isinstance(self.request, PermissionRequest) else "question",
            "words": self.request.in_words(),
            "options": self.options,
        }


async def waiting_in(server: OpenCode, session: str) -> list[Request]:
    """What a session and its subagents wait for, oldest first; what an aborted turn left behind is not.

    Raises:
        OpenCodeError: It can't be read.
    """
    root = await server.session(session)
    family = [root, *await descendants_of(server, session)]
    names = {each.id for each in family}
    found: list[Request] = []
    for directory in sorted({each.directory for each in family}):
        statuses = await server.statuses(directory)
        working = {name for name, status in statuses.items() if status.type != "idle"}
        asked: Sequence[PermissionRequest | QuestionRequest] = [
            *await server.permissions(directory),
            *await server.questions(directory),
        ]
        for request in asked:
            # A subagent's question keeps its parent working, whatever its own status says.
            waits = request.session in names and working & names
            if waits and not await is_left_over(server, request):
                found.append(Request(request, directory))
    return sorted(found, key=lambda each: each.request.id)


async def reply(server: OpenCode, waiting: Request, answer: str) -> bool:
    """Answer one request.

    Args:
        server: Its server.
        waiting: The request.
        answer: For a permission ``once``, ``always`` or ``reject``; any other text rejects it and tells the
            agent why. For a question the text, or ``reject``; of several questions each gets it.

    Returns:
        Whether it was still waited for.

    Raises:
        OpenCodeError: It can't be known whether the answer arrived.
    """
    request = waiting.request
    try:
        if isinstance(request, PermissionRequest):
            word = answer if answer in PERMISSION_ANSWERS else "reject"
            words = None if word == answer else answer
            await server.reply_permission(request.id, waiting.directory, word, words)
        else:
            answers = None if answer == "reject" else [[answer] for _ in request.questions]
            await server.reply_question(request.id, waiting.directory, answers)
    except NotFound:
        return False
    return True
