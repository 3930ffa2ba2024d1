# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""OpenCode's answers, as far as this collection reads them. Unknown fields are ignored.

Shapes: OpenCode 1.18.33, `GET /doc`; what they mean is noted where it is not obvious.
"""

from __future__ import annotations

from typing import Any, Literal, Optional, Union

from pydantic import BaseModel, ConfigDict, Field

__all__ = [
    "Agent",
    "Health",
    "Info",
    "Message",
    "MessageInfo",
    "Part",
    "Paths",
    "Pending",
    "PermissionRequest",
    "Project",
    "QuestionRequest",
    "Session",
    "SessionStatus",
    "call_title",
]


LATEST_MS = 1e14  # the year 5138


class _Answer(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)


class Health(_Answer):
    healthy: Literal[True]
    version: str


class Info(_Answer):
    """`GET /api/info` of OpenCode 2."""

    version: str


class Paths(_Answer):
    """`GET /path`. In ``directory`` symbolic links are resolved."""

    home: str
    directory: str


class Project(_Answer):
    """A project is known by its first commit: ``sandboxes`` are its other working trees and clones."""

    id: str
    worktree: str
    sandboxes: list[str] = []


class Agent(_Answer):
    name: str
    mode: str = "all"
    hidden: bool = False


class Model(_Answer):
    id: str


class Provider(_Answer):
    """One of `GET /config/providers`. The server also tells the provider's API key here: never kept."""

    id: str
    models: dict[str, Model] = {}


class Providers(_Answer):
    providers: list[Provider]


class Time(_Answer):
    """Milliseconds since the epoch."""

    created: float = Field(default=0, ge=0, le=LATEST_MS)
    completed: Optional[float] = Field(default=None, ge=0, le=LATEST_MS)
    updated: float = Field(default=0, ge=0, le=LATEST_MS)


class Cache(_Answer):
    read: int = 0
    write: int = 0


class Tokens(_Answer):
    input: int = 0
    output: int = 0
    reasoning: int = 0
    cache: Cache = Cache()


class Session(_Answer):
    """A session. ``directory`` is where its tools run; ``cost`` in US dollars over the session's life.

    Its ``time`` has ``created``, and ``updated`` of its last step or change.
    """

    id: str
    directory: str
    title: str = ""
    parent: Optional[str] = Field(None, alias="parentID")
    metadata: dict[str, Any] = {}
    cost: float = 0
    time: Time = Time()


class CreatedSession(_Answer):
    """`POST /api/session`: its own form of a session."""

    class Data(_Answer):
        class Location(_Answer):
            directory: str

        id: str
        location: Location

    data: Data


class SessionStatus(_Answer):
    """``retry``: the model failed, ``message`` says how, ``next`` (ms since the epoch) is the next try."""

    type: Literal["idle", "busy", "retry"]
    attempt: int = 0
    message: str = ""
    next: float = 0


class MessageError(_Answer):
    name: str
    data: dict[str, Any] = {}

    def in_words(self) -> str:
        """``APIError 401: message``, as far as known."""
        status = self.data.get("statusCode")
        code = f" {status}" if isinstance(status, int) else ""
        message = self.data.get("message")
        return f"{self.name}{code}: {message}" if isinstance(message, str) else f"{self.name}{code}"


class MessageInfo(_Answer):
    """Head of a message. An assistant message is one step of the agent, not its whole turn."""

    id: str
    session: str = Field(alias="sessionID")
    role: Literal["user", "assistant"]
    time: Time = Time()
    agent: Optional[str] = None
    mode: Optional[str] = None
    provider: Optional[str] = Field(None, alias="providerID")
    model: Union[str, dict[str, Any], None] = Field(None, alias="modelID")
    cost: float = 0
    tokens: Tokens = Tokens()
    finish: Optional[str] = None
    error: Optional[MessageError] = None
    summary: Any = None
    path: Any = None
    wanted: Any = Field(None, alias="model")

    def asked_model(self) -> str | None:
        """``provider/model`` that a user message asks for."""
        if isinstance(self.wanted, dict) and {"providerID", "modelID"} <= self.wanted.keys():
            return f"{self.wanted['providerID']}/{self.wanted['modelID']}"
        return None

    def directory(self) -> str | None:
        """Where this step of the agent worked."""
        found = self.path.get("cwd") if isinstance(self.path, dict) else None
        return found if isinstance(found, str) else None

    @property
    def is_compaction(self) -> bool:
        """Whether it is OpenCode's own summary of a session that grew too long: the turn goes on after it."""
        return self.role == "assistant" and (self.summary is True or self.mode == "compaction")


class ToolState(_Answer):
    status: str
    input: Any = None
    title: Optional[str] = None
    metadata: dict[str, Any] = {}
    error: Optional[str] = None

    def exit_code(self) -> int | None:
        """Exit code of a shell command; None for other tools, and after a time-out or an abort."""
        code = self.metadata.get("exit")
        return code if isinstance(code, int) and not isinstance(code, bool) else None

    @property
    def was_cut_short(self) -> bool:
        """Whether a shell command was ended by a time-out or an abort. OpenCode 1.18 calls it ``completed``
        then, with the exit code null."""
        return self.status == "completed" and "exit" in self.metadata and self.metadata["exit"] is None


def call_title(given: Any, title: Any) -> str:
    """What a tool call does: the command, path or pattern that it is given, else its title."""
    if isinstance(given, dict):
        for key in ("command", "filePath", "path", "pattern", "url", "description"):
            value = given.get(key)
            if isinstance(value, str) and value:
                return value
    return title if isinstance(title, str) else ""


class Part(_Answer):
    id: str
    message: str = Field("", alias="messageID")
    session: str = Field("", alias="sessionID")
    type: str
    text: str = ""
    synthetic: bool = False
    tool: str = ""
    state: Optional[ToolState] = None

    def title(self) -> str:
        """What a tool call does, in its own words: the command of a shell call, else path or title."""
        return call_title(self.state.input, self.state.title) if self.state is not None else ""


class Message(_Answer):
    info: MessageInfo
    parts: list[Part] = []


class ToolCall(_Answer):
    """Where a request came from: the step, by its message."""

    message: str = Field(alias="messageID")


class Pending(_Answer):
    """What waits for a person; its session is plain ``busy`` meanwhile."""

    id: str
    session: str = Field(alias="sessionID")
    tool: Optional[ToolCall] = Field(None, exclude=True)

    def in_words(self) -> str:
        """What is wanted."""
        raise NotImplementedError


class PermissionRequest(Pending):
    """A tool call that waits for a yes."""

    permission: str
    patterns: list[str] = []
    metadata: dict[str, Any] = {}

    def in_words(self) -> str:
        """``permission KIND: PATTERNS``."""
        return f"permission {self.permission}: {', '.join(self.patterns)}"


class QuestionOption(_Answer):
    label: str = ""


class Question(_Answer):
    question: str
    options: list[QuestionOption] = []
    multiple: Any = False


class QuestionRequest(Pending):
    """A question of the agent."""

    questions: list[Question] = []

    def in_words(self) -> str:
        """``question: TEXT``."""
        return f"question: {'; '.join(question.question for question in self.questions)}"
