# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an agent waits for a person about: a permission, or questions with their options. Plain data, no I/O.

Its text is the agent's or its server's: of any length and any shape until it is read here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..text.printable import shortened

__all__ = ["PERMISSION_ANSWERS", "InputQuestion", "InputRequest", "is_request_id"]

PERMISSION_ANSWERS = ("once", "always", "reject")
TEXT_WIDTH = 1000
OPTION_WIDTH = 200
MOST = 20  # questions, options of each, patterns
PLACE_OF_TEXT = "TEXT"  # stands for an answer that only a person can write
_ID = re.compile(r"(?:per|que)_[A-Za-z0-9_-]{1,100}")


def is_request_id(text: object) -> bool:
    """Whether it is the id of a permission or a question, as servers make them."""
    return isinstance(text, str) and _ID.fullmatch(text) is not None


@dataclass(frozen=True)
class InputQuestion:
    """One question. ``multiple``: several of its options may be chosen."""

    text: str
    options: tuple[str, ...] = ()
    multiple: bool = False

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {"text": self.text, "options": list(self.options), "multiple": self.multiple}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> InputQuestion:
        """The reverse of :meth:`as_dict`."""
        return cls(data["text"], tuple(data["options"]), data["multiple"])


@dataclass(frozen=True)
class InputRequest:
    """One request of an agent. A permission, of this kind and for these patterns, is one question."""

    id: str
    session: str
    questions: tuple[InputQuestion, ...]
    permission: str | None = None
    patterns: tuple[str, ...] = ()

    @classmethod
    def of(cls, request: Any) -> InputRequest | None:
        """The request as an outcome's evidence has it; None for what is none."""
        if not isinstance(request, Mapping) or not isinstance(request.get("id"), str):
            return None
        session = str(request.get("session") or "")
        if "permission" in request:
            kind = shortened(str(request["permission"]), OPTION_WIDTH)
            patterns = tuple(shortened(str(each), TEXT_WIDTH) for each in _list(request, "patterns")[:MOST])
            text = shortened(f"May the agent use {kind}: {', '.join(patterns)}", TEXT_WIDTH)
            question = InputQuestion(text, PERMISSION_ANSWERS)
            return cls(request["id"], session, (question,), kind, patterns)
        asked = [each for each in _list(request, "questions") if isinstance(each, Mapping)]
        return cls(request["id"], session, tuple(map(_question, asked[:MOST])))

    def as_request(self) -> dict[str, Any]:
        """As an outcome's evidence has it, of bounded length: JSON-ready, and what :meth:`of` reads."""
        known: dict[str, Any] = {"id": self.id, "session": self.session}
        if self.is_permission:
            return {**known, "permission": self.permission, "patterns": list(self.patterns)}
        questions = [
            {
                "question": each.text,
                "options": [{"label": label} for label in each.options],
                "multiple": each.multiple,
            }
            for each in self.questions
        ]
        return {**known, "questions": questions}

    @property
    def is_permission(self) -> bool:
        """Whether it is granted or rejected, and nothing else."""
        return self.permission is not None

    @property
    def words(self) -> str:
        """All of its questions in one line, each with its options."""
        return "; ".join(
            f"{each.text} ({' | '.join(each.options)})" if each.options else each.text
            for each in self.questions
        )

    def first_answers(self) -> list[str]:
        """An answer to each of its questions that would do: the first that is offered."""
        return [each.options[0] if each.options else PLACE_OF_TEXT for each in self.questions] or [
            PLACE_OF_TEXT
        ]


def _question(asked: Mapping[str, Any]) -> InputQuestion:
    labels = [each.get("label") for each in _list(asked, "options") if isinstance(each, Mapping)]
    return InputQuestion(
        shortened(str(asked.get("question") or ""), TEXT_WIDTH),
        tuple(_offered(labels)),
        asked.get("multiple") is True,
    )


def _offered(labels: Sequence[Any]) -> Iterable[str]:
    """The labels by which an option can be chosen: as they stand, or it is another one."""
    for label in labels[:MOST]:
        if isinstance(label, str) and label and label == shortened(label, OPTION_WIDTH):
            yield label


def _list(data: Mapping[str, Any], name: str) -> list[Any]:
    value = data.get(name)
    return value if isinstance(value, list) else []
