# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an agent waits for: a permission, or the answer to a question. Plain data, no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...domain.input_request import is_request_id
from ...text.printable import shortened
from .event import AuditEvent

__all__ = ["Question", "question_of"]

WIDTH = 1000
OPTION_WIDTH = 120
MAX_OPTIONS = 20


@dataclass(frozen=True)
class Question:
    """What a person is asked, in their words, and the answers that are offered; ``id`` is the request's."""

    text: str
    options: tuple[str, ...]
    is_permission: bool
    id: str | None = None


def question_of(event: AuditEvent) -> Question:
    """What the agent waits for. The request in the event is the server's, so anything may be in it."""
    request = event.fields.get("request")
    otherwise = str(event.fields.get("message") or "an answer")
    if not isinstance(request, Mapping):
        return Question(shortened(otherwise, WIDTH), (), False)
    name = request["id"] if is_request_id(request.get("id")) else None
    if "permission" in request:
        patterns = ", ".join(map(str, _list(request, "patterns")))
        text = f"May the agent use {request['permission']}: {patterns}"
        return Question(shortened(text, WIDTH), ("once", "always", "reject"), True, name)
    asked = [one for one in _list(request, "questions") if isinstance(one, Mapping)]
    text = " ".join(str(one.get("question") or "") for one in asked)
    labels = [
        str(option.get("label") or "")
        for one in asked
        for option in _list(one, "options")
        if isinstance(option, Mapping)
    ]
    options = tuple(shortened(label, OPTION_WIDTH) for label in labels if label)[:MAX_OPTIONS]
    return Question(shortened(text or otherwise, WIDTH), options, False, name)


def _list(data: Mapping[str, Any], name: str) -> list[Any]:
    value = data.get(name)
    return value if isinstance(value, list) else []
