# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the messages of a turn say: its evidence, and what became of it.

`/session/status` of OpenCode 1.18 lists only sessions that work. An absent one may have finished, failed,
been aborted, died with its server or never begun: only its messages tell which.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from ..domain import identity
from ..domain.outcome import SHELLS, Evidence, State, ToolRun
from ..domain.task import shortened
from ..opencode.client import OpenCode
from ..opencode.errors import NotOpenCode
from ..opencode.models import Message, MessageError, Part

__all__ = ["Turn", "Verdict", "evidence_of", "judge", "read_turn"]

PAGE = 50
MAX_MESSAGES = 2000
MAX_TOOLS = 100


@dataclass(frozen=True)
class Verdict:
    """What became of an idle session. ``settled`` is False where the server may only be about to go on."""

    state: State
    reason_code: str
    message: str
    settled: bool = True

    @property
    def finished(self) -> bool:
        """Whether the agent ended the turn by itself, with work or without."""
        return self.state in (State.COMPLETED, State.NO_OP)


@dataclass(frozen=True)
class Turn:
    """The messages of a turn, oldest first, its user message included; empty where that is not stored.

    ``over``: a later turn of the same session has begun. What the session does now is not for this one.
    """

    messages: Sequence[Message]
    over: bool = False


async def read_turn(server: OpenCode, session: str, message: str | None) -> Turn:
    """The turn that a user message began.

    Without ``message`` it is the session's last turn. A later turn that someone else began in the same
    session is left out, and so is a summary that was made after its end. Of a turn of more than 2000 messages
    only the last ones are read.

    Raises:
        OpenCodeError: The messages can't be read.
    """
    for _ in range(2):
        turn = await _listed(server, session, message)
        if turn is not None:
            return turn
        if message is None or await server.message(session, message) is None:
            return Turn([])
        # It was stored after its page was read.
    raise NotOpenCode(f"{server.url} does not list message {message} of {session}, which it has")


async def _listed(server: OpenCode, session: str, message: str | None) -> Turn | None:
    """The turn as the pages of messages have it; None: it is not in them."""
    found: list[Message] = []
    cursor: str | None = None
    while True:
        page, cursor = await server.messages(session, limit=PAGE, before=cursor)
        found = page + found
        start = _start(found, message)
        if start is not None:
            return _until_next_turn(found[start:])
        if not page or cursor is None:
            return None
        if len(found) >= MAX_MESSAGES:
            if message is not None and await server.message(session, message) is None:
                return Turn([])
            return Turn(found)  # its end is what counts


def _start(messages: Sequence[Message], message: str | None) -> int | None:
    for index in reversed(range(len(messages))):
        candidate = messages[index]
        if candidate.info.id == message or (message is None and _is_prompt(candidate)):
            return index
    return None


def _is_prompt(message: Message) -> bool:
    """A person's message: OpenCode writes user messages of its own when it compacts a session."""
    return message.info.role == "user" and any(
        part.type == "text" and not part.synthetic for part in message.parts
    )


def _until_next_turn(messages: list[Message]) -> Turn:
    for index in range(1, len(messages)):
        if _is_prompt(messages[index]) and (
            judge(messages[:index]).settled or _died_before(messages[:index], messages[index:])
        ):
            return Turn(_without_later_summary(messages[:index]), over=True)
    return Turn(_without_later_summary(messages))


def _died_before(messages: Sequence[Message], later: Sequence[Message]) -> bool:
    """Whether the last step never ended: a living one ends before the next begins."""
    last = messages[-1].info
    unfinished = last.role == "assistant" and last.time.completed is None
    return unfinished and any(message.info.role == "assistant" for message in later)


def _without_later_summary(messages: list[Message]) -> list[Message]:
    """A person may have a session summarised (/compact) after the turn's end: that adds two messages."""
    end = len(messages)
    while end and _is_of_compaction(messages[end - 1]):
        end -= 1
    return messages[:end] if judge(messages[:end]).finished else messages


def _is_of_compaction(message: Message) -> bool:
    return message.info.is_compaction or any(part.type == "compaction" for part in message.parts)


def judge(messages: Sequence[Message]) -> Verdict:
    """What became of a turn whose session is idle."""
    if not messages:
        return Verdict(
            State.FAILED,
            "prompt_not_stored",
            "the server has no trace of the task: usually an unknown agent",
            settled=False,
        )
    last = messages[-1]
    info = last.info
    if info.role == "user":
        return Verdict(
            State.FAILED,
            "no_answer",
            "the agent never began: usually an unknown model or a directory that vanished",
            settled=False,
        )
    if info.error is not None:
        return _of_error(info.error)
    if info.time.completed is None or info.is_compaction:
        return Verdict(
            State.LOST,
            "server_restarted",
            "the server died in the middle of the task and does not resume it",
            settled=False,
        )
    verdict = _of_finish(messages)
    if verdict.finished and any(_is_prompt(message) for message in messages[1:]):
        return _merged(messages, verdict)
    return verdict


def _merged(messages: Sequence[Message], verdict: Verdict) -> Verdict:
    """OpenCode 1.18 merges a prompt that comes while a session works into its turn: one answer for both."""
    others = [message.info.id for message in messages[1:] if _is_prompt(message)]
    if any(other.startswith(identity.MESSAGE_PREFIX) for other in others):
        return Verdict(
            State.FAILED,
            "turn_merged",
            "another dispatch was merged into this turn: the answer may be to that",
        )
    return replace(
        verdict, reason_code="completed_with_more", message=f"{verdict.message} (someone prompted in between)"
    )


def _of_error(error: MessageError) -> Verdict:
    words = shortened(error.in_words(), 200)
    if error.name == "MessageAbortedError":
        return Verdict(State.ABORTED, "aborted", "the session was aborted")
    status = str(error.data.get("statusCode"))
    by_status: dict[tuple[str, str], str] = {
        ("APIError", "401"): "model_unauthorized",
        ("APIError", "403"): "model_unauthorized",
        ("APIError", "429"): "model_rate_limited",
    }
    by_name = {
        "ContextOverflowError": "context_overflow",
        "ContentFilterError": "content_filter",
        "MessageOutputLengthError": "answer_cut",
        "ProviderAuthError": "model_unauthorized",
    }
    reason = by_status.get((error.name, status)) or by_name.get(error.name, "model_error")
    return Verdict(State.FAILED, reason, f"the model failed: {words}")


def _of_finish(messages: Sequence[Message]) -> Verdict:
    last = messages[-1]
    finish = last.info.finish
    if finish == "stop":
        return _of_stop(messages)
    if finish == "length":
        return Verdict(State.FAILED, "answer_cut", "the model's answer was cut at its length limit")
    if finish == "content-filter":
        return Verdict(State.FAILED, "content_filter", "the model's provider blocked its answer")
    if finish is None:
        return Verdict(State.ABORTED, "aborted", "the session was aborted while it waited to retry the model")
    if finish == "tool-calls" and any(_was_rejected(part) for part in last.parts):
        return Verdict(State.FAILED, "input_rejected", "a permission or question was rejected")
    return Verdict(
        State.FAILED,
        "ended_early",
        f"the agent stopped without an answer (last step ended with {finish!r})",
        settled=False,
    )


def _was_rejected(part: Part) -> bool:
    error = part.state.error if part.state is not None else None
    return error is not None and ("rejected" in error or "dismissed" in error)


def _of_stop(messages: Sequence[Message]) -> Verdict:
    """The agent says that it is done. A turn in which it did nothing and wrote nothing is not work."""
    text, tools = _text(messages[-1]), _tools_of(messages)
    trouble = _trouble_of(next((tool for tool in reversed(tools) if _is_shell(tool)), None))
    before = f"its last command {trouble}; " if trouble else ""
    if not text and not any(_succeeded(tool) for tool in tools):
        how = "a word, and no tool call of it succeeded" if tools else "work and without a word"
        return Verdict(State.NO_OP, "empty_turn", f"{before}the agent ended its turn without {how}")
    words = f"the agent wrote: {shortened(text, 160)}" if text else "the agent wrote nothing"
    return Verdict(State.COMPLETED, "completed", before + words)


def _tools_of(messages: Sequence[Message]) -> list[Part]:
    return [part for message in messages for part in message.parts if part.type == "tool"]


def _succeeded(tool: Part) -> bool:
    """OpenCode completes a shell command also where that failed, or was cut short."""
    state = tool.state
    if state is None or state.status != "completed":
        return False
    return not (_is_shell(tool) and _trouble_of(tool))


def _is_shell(tool: Part) -> bool:
    return tool.tool in SHELLS


def _trouble_of(command: Part | None) -> str | None:
    """How the last shell command went wrong, if it did: the agent's own words may leave it out."""
    if command is None or command.state is None:
        return None
    title = shortened(command.title(), 60)
    if command.state.was_cut_short:
        return f"was cut short ({title})"
    code = command.state.exit_code()
    if code:
        return f"failed ({title} -> exit {code})"
    return f"failed ({title})" if command.state.status == "error" else None


def _text(message: Message) -> str:
    return "\n".join(part.text for part in message.parts if part.type == "text" and part.text).strip()


def evidence_of(
    messages: Sequence[Message], evidence: Evidence, subagents: Sequence[Message] = ()
) -> Evidence:
    """The evidence with all that the messages of a turn tell; ``subagents`` are the steps of its subagents,
    which count among steps, tokens and cost."""
    if not messages:
        return evidence
    steps = [message for message in messages if message.info.role == "assistant"]
    paid = [*steps, *subagents]
    tools = _tools_of(steps)
    last = steps[-1] if steps else None
    ended = last.info.time.completed if last else None
    error = last.info.error if last else None
    return replace(
        evidence,
        directory=(last.info.directory() if last else None) or evidence.directory,
        agent=messages[0].info.agent,
        model=_model(last),
        steps=len(paid),
        tools=tuple(_tool_run(part) for part in tools[-MAX_TOOLS:]),
        tool_count=len(tools),
        text=_text(last)[:4000] if last else None,
        error=shortened(error.in_words(), 400) if error else None,
        tokens={
            "input": sum(step.info.tokens.input for step in paid),
            "output": sum(step.info.tokens.output for step in paid),
            "reasoning": sum(step.info.tokens.reasoning for step in paid),
            "cache_read": sum(step.info.tokens.cache.read for step in paid),
            "cache_write": sum(step.info.tokens.cache.write for step in paid),
        },
        cost=round(sum(step.info.cost for step in paid), 6),
        duration_s=round((ended - messages[0].info.time.created) / 1000, 3) if ended else None,
        started_at=_iso(messages[0].info.time.created),
        ended_at=_iso(ended) if ended else None,
    )


def _model(step: Message | None) -> str | None:
    if step is None or not isinstance(step.info.model, str):
        return None
    return f"{step.info.provider}/{step.info.model}" if step.info.provider else step.info.model


def _tool_run(part: Part) -> ToolRun:
    state = part.state
    status = "unknown" if state is None else "cut_short" if state.was_cut_short else state.status
    exit_code = state.exit_code() if state else None
    return ToolRun(tool=part.tool, title=shortened(part.title(), 200), status=status, exit=exit_code)


def _iso(milliseconds: float) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds")
