# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a prompt tells the scripted model to do.

A prompt may hold directives, one a line, each starting with ``@``. They are read from the *last user message*
of every call; the number of assistant turns after it tells which step is next, so the model needs no memory.

Steps (each is one model call; a turn has as many calls as steps, and a final answer):

``@bash COMMAND``
    Call the bash tool.
``@write PATH <<< CONTENT``
    Call the write tool; ``\\n`` and ``\\t`` in CONTENT become a newline and a tab.
``@edit PATH <<< OLD ==> NEW``
    Two steps: a call of the read tool, without which OpenCode refuses the next, and one of the edit tool.
``@commit [MESSAGE]``
    A bash call that commits everything there is.
``@push [WHERE ...]``
    A bash call of ``git push`` (default ``origin HEAD``).
``@permission [COMMAND]``
    A bash call naming a path outside the directory (default ``cat /etc/hosts``), for which OpenCode asks.
``@question TEXT | OPTION | OPTION ...``
    Call OpenCode's question tool.
``@task PROMPT``
    A subagent with that prompt; ``\\n`` in it becomes a newline.
``@doom``
    Three identical tool calls in one message, for which OpenCode asks (``doom_loop``).
``@loop``
    The same harmless tool call for ever, one per step. Nothing after it is reached.
``@say TEXT``
    Text. Before a tool step it is sent with that step's call, else it is the final answer; several lines
    join. A turn without it ends with ``Done.`` and one line per tool result.
``@lie [TEXT]``
    Like ``@say``, by default that everything is done, tested, committed and pushed.
``@unicode``
    Like ``@say`` with an emoji, U+2028, U+0085, combining characters and other awkward text.
``@recall``
    Like ``@say`` with all earlier user texts of the conversation, numbered.

How the step that follows in the prompt (else the final answer) is given:

``@slow N SECONDS``
    Its text comes in N chunks, SECONDS apart.
``@length``
    It is the final answer and ends with ``finish_reason: length``.
``@nofinish``
    It ends cleanly, but without any ``finish_reason``; and so do all calls after it.

What happens instead of the step that follows (else of the final answer); ``times=K`` limits it to the first K
calls for that prompt, which is the only thing that the model remembers:

``@status CODE [retry-after=N] [times=K]``
    An HTTP error.
``@silent [SECONDS] [times=K]``
    The call is accepted and nothing is sent, till the client goes away; with SECONDS the step follows then.
``@drop [times=K]``
    The connection is reset in the middle of the stream.
``@badjson [times=K]``
    The stream holds malformed JSON.

For every answer to the prompt:

``@usage IN OUT``
    The token usage that is reported (else 100 and 20).

A text without directives that says ``make TARGET`` runs that and reports what came of it; any other is
answered by ``Done:`` and its first 80 characters.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

__all__ = [
    "AWKWARD_TEXT",
    "LIE",
    "DirectiveError",
    "Gate",
    "Pace",
    "Script",
    "Step",
    "ToolCall",
    "Usage",
    "parse",
]

AWKWARD_TEXT = (
    "Gr\u00fc\u00dfe \U0001f469\u200d\U0001f4bb\U0001f3f4 e\u0301 a\u2028b\u2029c\u0085d "
    "\u202eabc\u202c \ufeff\u4f60\u597d \u0001<b>&amp;</b> \\ \" '"
)

LIE = "Done. I ran all tests: 42 passed in 0.12s. Everything is committed and pushed."


class DirectiveError(ValueError):
    """A prompt has a directive that can't be understood; the model answers 400 with this text."""


@dataclass(frozen=True)
class Usage:
    """Tokens of one answer."""

    input: int = 100
    output: int = 20


@dataclass(frozen=True)
class Pace:
    """Text in ``chunks`` parts, ``pause_s`` seconds apart."""

    chunks: int
    pause_s: float


@dataclass(frozen=True)
class ToolCall:
    """A call of one of OpenCode's tools."""

    name: str
    arguments: dict[str, object]


@dataclass(frozen=True)
class Gate:
    """A failure that comes instead of a step; ``times`` None means always."""

    kind: Literal["status", "silent", "drop", "badjson"]
    status: int = 200
    retry_after: str | None = None
    seconds: float | None = None
    times: int | None = None


@dataclass(frozen=True)
class Step:
    """One model call: what it says, which tools it calls, how it ends, and what may come instead.

    ``finish`` None: by what it holds (``stop`` or ``tool_calls``); "none": no finish reason at all.
    A ``sticky`` step is the last one and is repeated for ever.
    """

    text: tuple[str, ...] = ()
    tools: tuple[ToolCall, ...] = ()
    gates: tuple[Gate, ...] = ()
    pace: Pace | None = None
    finish: Literal["length", "none"] | None = None
    recall: bool = False
    sticky: bool = False


@dataclass(frozen=True)
class Script:
    """What one prompt asks for. Always ends with a step that calls no tool, or with a sticky one."""

    steps: tuple[Step, ...]
    usage: Usage = field(default_factory=Usage)

    def step(self, turn: int) -> tuple[int, Step]:
        """The step (with its number) for the call that follows ``turn`` assistant messages."""
        number = min(turn, len(self.steps) - 1)
        return number, self.steps[number]


def bash(command: str) -> ToolCall:
    """A call of the bash tool."""
    return ToolCall("bash", {"command": command, "description": command[:60]})


def parse(text: str) -> Script | None:
    """The script of a prompt, or None if it has no directive.

    Raises:
        DirectiveError: a directive is malformed, or unknown beside known ones.
    """
    lines = [found.groups() for found in map(_LINE.match, re.split(r"\r?\n", text)) if found]
    if not any(name in _DIRECTIVES for name, _ in lines):
        return None
    builder = _Builder()
    for name, rest in lines:
        if name not in _DIRECTIVES:
            raise DirectiveError(f"unknown directive @{name}")
        try:
            _DIRECTIVES[name](builder, (rest or "").strip())
        except (ValueError, IndexError) as error:
            raise DirectiveError(f"malformed directive @{name} {rest or ''}: {error}") from error
    return builder.script()


_LINE = re.compile(r"\s*@(\w+)(?:[ \t]+(.*))?$")


@dataclass
class _Builder:
    """Collects directives; a tool closes the step that is being collected."""

    done: list[Step] = field(default_factory=list)
    current: Step = field(default_factory=Step)
    usage: Usage = field(default_factory=Usage)

    def change(self, **values: object) -> None:
        self.current = replace(self.current, **values)  # type: ignore[arg-type]

    def say(self, text: str) -> None:
        self.change(text=(*self.current.text, text))

    def gate(self, gate: Gate) -> None:
        self.change(gates=(*self.current.gates, gate))

    def tools(self, *calls: ToolCall, sticky: bool = False) -> None:
        self.done.append(replace(self.current, tools=calls, sticky=sticky))
        self.current = Step()

    def script(self) -> Script:
        steps = self.done
        if not (steps and steps[-1].sticky):
            steps = [*steps, replace(self.current, sticky=self.current.finish == "none")]
        return Script(tuple(steps), self.usage)


def _commit(message: str) -> str:
    return f"git add --all && git commit --message {shlex.quote(message)}"


def _options(rest: str, *allowed: str) -> tuple[list[str], dict[str, str]]:
    words, options = [], {}
    for word in rest.split():
        key, equals, value = word.partition("=")
        if not equals:
            words.append(word)
        elif key in allowed:
            options[key] = value
        else:
            raise ValueError(f"unknown option {key}")
    return words, options


def _times(options: dict[str, str]) -> int | None:
    return int(options["times"]) if "times" in options else None


def _write(builder: _Builder, rest: str) -> None:
    path, separator, content = rest.partition("<<<")
    if not separator or not path.strip():
        raise ValueError("expected PATH <<< CONTENT")
    text = content.strip().replace("\\n", "\n").replace("\\t", "\t")
    builder.tools(ToolCall("write", {"filePath": path.strip(), "content": text}))


def _edit(builder: _Builder, rest: str) -> None:
    path, separator, change = rest.partition("<<<")
    old, arrow, new = change.partition("==>")
    if not (separator and arrow and path.strip()):
        raise ValueError("expected PATH <<< OLD ==> NEW")
    before, after = (text.strip().replace("\\n", "\n").replace("\\t", "\t") for text in (old, new))
    file = path.strip()
    builder.tools(ToolCall("read", {"filePath": file}))
    builder.tools(ToolCall("edit", {"filePath": file, "oldString": before, "newString": after}))


def _question(builder: _Builder, rest: str) -> None:
    text, *options = (part.strip() for part in rest.split("|"))
    if not text:
        raise ValueError("expected TEXT | OPTION | OPTION")
    question = {
        "question": text,
        "header": text[:30],
        "options": [{"label": option, "description": option} for option in options or ("yes", "no")],
    }
    builder.tools(ToolCall("question", {"questions": [question]}))


def _task(builder: _Builder, rest: str) -> None:
    if not rest:
        raise ValueError("expected a prompt")
    prompt = rest.replace("\\n", "\n")
    builder.tools(ToolCall("task", {"description": rest[:30], "prompt": prompt, "subagent_type": "general"}))


def _status(builder: _Builder, rest: str) -> None:
    words, options = _options(rest, "times", "retry-after")
    gate = Gate("status", int(words[0]), retry_after=options.get("retry-after"), times=_times(options))
    if not 400 <= gate.status <= 599:
        raise ValueError("expected a status from 400 to 599")
    builder.gate(gate)


def _silent(builder: _Builder, rest: str) -> None:
    words, options = _options(rest, "times")
    builder.gate(Gate("silent", seconds=float(words[0]) if words else None, times=_times(options)))


def _plain_gate(kind: Literal["drop", "badjson"]) -> Callable[[_Builder, str], None]:
    def add(builder: _Builder, rest: str) -> None:
        builder.gate(Gate(kind, times=_times(_options(rest, "times")[1])))

    return add


def _slow(builder: _Builder, rest: str) -> None:
    chunks, pause = rest.split()
    if int(chunks) < 1:
        raise ValueError("expected at least one chunk")
    builder.change(pace=Pace(int(chunks), float(pause)))


def _usage(builder: _Builder, rest: str) -> None:
    tokens_in, tokens_out = rest.split()
    builder.usage = Usage(int(tokens_in), int(tokens_out))


def _bash(builder: _Builder, rest: str) -> None:
    if not rest:
        raise ValueError("expected a command")
    builder.tools(bash(rest))


_DIRECTIVES: dict[str, Callable[[_Builder, str], None]] = {
    "say": lambda builder, rest: builder.say(rest),
    "unicode": lambda builder, rest: builder.say(AWKWARD_TEXT),
    "recall": lambda builder, rest: builder.change(recall=True),
    "bash": _bash,
    "write": _write,
    "edit": _edit,
    "commit": lambda builder, rest: builder.tools(bash(_commit(rest or "Work"))),
    "push": lambda builder, rest: builder.tools(bash(f"git push {rest or 'origin HEAD'}")),
    "lie": lambda builder, rest: builder.say(rest or LIE),
    "permission": lambda builder, rest: builder.tools(bash(rest or "cat /etc/hosts")),
    "question": _question,
    "task": _task,
    "doom": lambda builder, rest: builder.tools(*[bash("true")] * 3),
    "loop": lambda builder, rest: builder.tools(bash("true"), sticky=True),
    "slow": _slow,
    "length": lambda builder, rest: builder.change(finish="length"),
    "nofinish": lambda builder, rest: builder.change(finish="none"),
    "status": _status,
    "silent": _silent,
    "drop": _plain_gate("drop"),
    "badjson": _plain_gate("badjson"),
    "usage": _usage,
}
