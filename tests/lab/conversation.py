# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From the messages of one chat completion call to the scripted model's reply. Pure; no I/O, no memory."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from .directives import Gate, Pace, Script, Step, ToolCall, Usage, bash, parse

__all__ = ["Conversation", "Message", "Reply"]

Message = Mapping[str, Any]
"""One message in OpenAI's form: ``{"role": ..., "content": text or parts, "tool_calls": [...]}``."""


@dataclass(frozen=True)
class Reply:
    """What the model is to answer; ``step`` is the number of the step in the prompt's script."""

    text: str
    tools: tuple[ToolCall, ...]
    finish: Literal["stop", "tool_calls", "length"] | None
    usage: Usage
    gates: tuple[Gate, ...] = ()
    pace: Pace | None = None
    step: int = 0


@dataclass(frozen=True)
class Conversation:
    """The messages of one call."""

    messages: Sequence[Message]

    @property
    def is_title_request(self) -> bool:
        """OpenCode asks its small model for a title of a session that has none."""
        return any(m["role"] == "system" and "title generator" in _text(m) for m in self.messages)

    @property
    def user_texts(self) -> list[str]:
        """All that the user said, oldest first."""
        return [_text(message) for message in self.messages if message["role"] == "user"]

    @property
    def last_user_text(self) -> str:
        """The prompt of this turn."""
        return self.user_texts[-1] if self.user_texts else ""

    @property
    def since_prompt(self) -> Sequence[Message]:
        """The messages after the last user message."""
        places = [place for place, message in enumerate(self.messages) if message["role"] == "user"]
        return self.messages[places[-1] + 1 :] if places else ()

    @property
    def turns_since_prompt(self) -> int:
        """How many assistant messages follow the last user message; 0 means that the prompt is new."""
        return sum(message["role"] == "assistant" for message in self.since_prompt)

    def reply(self) -> Reply:
        """The next answer.

        Raises:
            DirectiveError: the prompt's directives can't be understood.
        """
        if self.is_title_request:
            return Reply("Scripted task", (), "stop", Usage(10, 5))
        script = parse(self.last_user_text) or self._plain_script()
        number, step = script.step(self.turns_since_prompt)
        text = self._text_of(step)
        return Reply(text, step.tools, _finish(step), script.usage, step.gates, step.pace, number)

    def _plain_script(self) -> Script:
        target = _make_target(self.last_user_text)
        if target is None:
            return Script((Step(text=(f"Done: {self.last_user_text[:80]}",)),))
        report = _make_report(target, self._tool_results())
        return Script((Step(tools=(bash(f"make {target}"),)), Step(text=(report,))))

    def _text_of(self, step: Step) -> str:
        said = list(step.text)
        if step.recall:
            said.append(_recall(self.user_texts[:-1]))
        if not said and not step.tools:
            said = ["Done.", *(f"- {_shortened(_last_line(result))}" for result in self._tool_results())]
        return "\n".join(said)

    def _tool_results(self) -> list[str]:
        return [_text(message) for message in self.since_prompt if message["role"] == "tool"]


def _text(message: Message) -> str:
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return "\n".join(part.get("text", "") for part in content if part.get("type") == "text")


def _finish(step: Step) -> Literal["stop", "tool_calls", "length"] | None:
    if step.finish == "none":
        return None
    if step.finish == "length":
        return "length"
    return "tool_calls" if step.tools else "stop"


_MAKE = re.compile(r"\bmake[ \t]+([A-Za-z][\w.-]*)")
_NO_TARGETS = frozenset(
    (
        "a",
        "an",
        "all",
        "any",
        "certain",
        "each",
        "every",
        "it",
        "no",
        "sure",
        "that",
        "the",
        "them",
        "this",
        "use",
    )
)


def _make_target(text: str) -> str | None:
    for found in _MAKE.finditer(text):
        target = found.group(1).rstrip(".-")
        if target not in _NO_TARGETS:
            return target
    return None


_MAKE_ERROR = re.compile(r"^make(?:\[\d+\])?: \*\*\* .*$", re.MULTILINE)


def _make_report(target: str, results: Sequence[str]) -> str:
    """What an honest agent says of the output of ``make``, which ends with 2 when a recipe fails."""
    if not results:
        return f"make {target} was not run"
    output = results[-1]
    last = _shortened(_last_line(output))
    if _MAKE_ERROR.search(output):
        return f"make {target} failed with exit 2: {last}"
    if "<shell_metadata>" in output:
        return f"make {target} did not finish: {last}"
    return f"tests passed: {last}" if target == "test" else f"make {target} passed: {last}"


def _recall(texts: Sequence[str]) -> str:
    if not texts:
        return "Nothing was said before."
    return "\n".join(["Said before:", *(f"{number}. {text}" for number, text in enumerate(texts, 1))])


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "(no output)"


def _shortened(text: str, limit: int = 200) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "\u2026"


def tool_call_payload(calls: Sequence[ToolCall], prefix: str) -> list[dict[str, Any]]:
    """Tool calls in OpenAI's form; ``prefix`` makes their ids unique."""
    return [
        {
            "index": index,
            "id": f"call_{prefix}_{index}",
            "type": "function",
            "function": {"name": call.name, "arguments": json.dumps(call.arguments)},
        }
        for index, call in enumerate(calls)
    ]
