# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Answering what the agents of a session wait for: permissions and questions, subagents' included."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..domain.errors import UsageError
from ..domain.input_request import PERMISSION_ANSWERS, InputRequest
from ..opencode.activity import working_in
from ..opencode.client import OpenCode
from ..opencode.errors import NotFound
from ..opencode.family import descendants_of
from ..opencode.models import Pending, PermissionRequest, Question, QuestionRequest
from ..opencode.pending import is_left_over

__all__ = ["Request", "reply", "waiting_in"]


@dataclass(frozen=True)
class Request:
    """What an agent waits for."""

    request: Pending
    directory: str

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        asked = InputRequest.of(self.request.model_dump(mode="json"))
        if asked is None:
            raise AssertionError
        return {
            "id": self.request.id,
            "session": self.request.session,
            "kind": "permission" if asked.is_permission else "question",
            "words": self.request.in_words(),
            "options": list(asked.questions[0].options) if asked.questions else [],
            "questions": [each.as_dict() for each in asked.questions],
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
        working = working_in(statuses).keys()
        asked: Sequence[Pending] = [
            *await server.permissions(directory),
            *await server.questions(directory),
        ]
        for request in asked:
            # A subagent's question keeps its parent working, whatever its own status says.
            waits = request.session in names and working & names
            if waits and not await is_left_over(server, request):
                found.append(Request(request, directory))
    return sorted(found, key=lambda each: each.request.id)


async def reply(server: OpenCode, waiting: Request, answers: Sequence[str]) -> bool:
    """Answer one request.

    Args:
        server: Its server.
        waiting: The request.
        answers: For a permission ``once``, ``always`` or ``reject``; any other text rejects it and tells the
            agent why. For questions a text for each, or one for all of them; ``reject`` alone, where it is
            not offered, rejects them.

    Returns:
        Whether it was still waited for.

    Raises:
        UsageError: ``answers_missing``: there are more questions than answers, or fewer.
        OpenCodeError: It can't be known whether the answer arrived.
    """
    request = waiting.request
    try:
        if isinstance(request, PermissionRequest):
            answer = " ".join(answers)
            word = answer if answer in PERMISSION_ANSWERS else "reject"
            words = None if word == answer else answer
            await server.reply_permission(request.id, waiting.directory, word, words)
        elif isinstance(request, QuestionRequest):
            await server.reply_question(request.id, waiting.directory, _to_questions(request, answers))
    except NotFound:
        return False
    return True


def _to_questions(request: QuestionRequest, answers: Sequence[str]) -> list[list[str]] | None:
    """What OpenCode takes: a list for each question; None rejects them."""
    offered = {option.label for question in request.questions for option in question.options}
    if list(answers) == ["reject"] and "reject" not in offered:
        return None
    if len(answers) not in (1, len(request.questions)):
        raise UsageError(
            f"{len(request.questions)} questions wait, and there are {len(answers)} answers",
            reason_code="answers_missing",
            next_action="give one answer for each question, in their order",
        )
    each = list(answers) * (len(request.questions) if len(answers) == 1 else 1)
    return [_chosen(question, answer) for question, answer in zip(request.questions, each, strict=True)]


def _chosen(question: Question, answer: str) -> list[str]:
    """One answer; where several may be chosen, all that are named with commas between them."""
    labels = {option.label for option in question.options}
    several = [each.strip() for each in answer.split(",")]
    are_several = question.multiple is True and answer not in labels and labels.issuperset(several)
    return several if are_several else [answer]
