# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One followed session: what its events have shown so far. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...domain.event_kind import EventKind
from ...domain.progress import Emit, ProgressEvent
from ...domain.task import shortened
from ...opencode.models import Message, Pending, SessionStatus, call_title

__all__ = ["Follower", "Target"]

FIELD_WIDTH = 500

_SUBSTANCE = ("message.part.updated", "message.part.delta", "message.updated", "todo.updated")
_WORTH_A_LOOK = (
    "session.idle",
    "session.error",
    "permission.asked",
    "permission.replied",
    "question.asked",
    "question.replied",
    "question.rejected",
)


@dataclass(frozen=True)
class Target:
    """A session to wait for.

    ``message`` is the user message that began the turn; None: the last turn. ``directory`` is where it works,
    if its server has reported it before.
    """

    vm: str
    session: str
    message: str | None = None
    dispatch: str | None = None
    repo: str | None = None
    directory: str | None = None


@dataclass(frozen=True)
class _Retry:
    """One retry of the model. ``next_try`` (milliseconds since the epoch) differs between any two of them, as
    OpenCode counts the attempts of each step from one."""

    attempt: int
    why: str
    next_try: int

    @classmethod
    def of(cls, status: Mapping[str, Any]) -> _Retry:
        """The retry of a session's status, of any shape: a peer may lie."""
        return cls(_whole(status.get("attempt")), _bounded(status.get("message")), _whole(status.get("next")))


@dataclass
class Follower:
    """Takes events and messages of one session, counts, and emits each change once.

    ``moved_at`` is the monotonic time of the last event of substance. ``asked`` is what it waits for a person
    about, while it is followed all the same.
    """

    target: Target
    emit: Emit
    moved_at: float
    steps: set[str] = field(default_factory=set)
    costs: dict[str, float] = field(default_factory=dict)
    error: str | None = None
    asked: Pending | None = None
    _tools: dict[str, str] = field(default_factory=dict)
    _retry: _Retry | None = None
    _fingerprint: int | None = None

    @property
    def cost(self) -> float:
        """US dollars of the turn so far."""
        return sum(self.costs.values())

    def take(self, kind: str, properties: Mapping[str, Any], now: float) -> bool:
        """Take one event of this session.

        Args:
            kind: The event's type.
            properties: Its properties, of any shape: a peer may lie.
            now: Monotonic time.

        Returns:
            Whether the session's state should be read now.
        """
        if kind in _SUBSTANCE:
            self.moved_at = now
        if kind == "message.part.updated":
            self._take_part(_mapping(properties.get("part")))
        elif kind == "message.updated":
            self._take_step(_mapping(properties.get("info")))
        elif kind == "session.status":
            return self._take_status(_mapping(properties.get("status")))
        elif kind == "session.error":
            data = _mapping(_mapping(properties.get("error")).get("data"))
            if isinstance(data.get("message"), str):
                self.error = shortened(data["message"], 300)
        return kind in _WORTH_A_LOOK

    def take_of_subagent(self, kind: str, properties: Mapping[str, Any], now: float) -> bool:
        """Take one event of a subagent: what it does is the session's work, steps and cost included."""
        if kind in _SUBSTANCE:
            self.moved_at = now
        if kind == "message.updated":
            self._take_step(_mapping(properties.get("info")))
        return kind in _WORTH_A_LOOK

    def take_status(self, status: SessionStatus) -> None:
        """Take the status that was read back."""
        self._take_status(status.model_dump())

    def take_messages(self, messages: Sequence[Message], now: float) -> None:
        """Take the turn as it was read back, with its subagents': it counts where every event was lost."""
        for message in messages:
            if message.info.role == "assistant":
                self._count(message.info.id, message.info.cost)
            for part in message.parts:
                if part.state is not None and part.state.status == "running":  # since before the stream began
                    self._take_part(part.model_dump())
        fingerprint = hash(
            tuple(
                (message.info.id, *((part.id, len(part.text), str(part.state)) for part in message.parts))
                for message in messages
            )
        )
        if fingerprint != self._fingerprint:
            if self._fingerprint is not None:
                self.moved_at = now
            self._fingerprint = fingerprint

    def changed(self, kind: EventKind, **fields: Any) -> None:
        """Emit one change."""
        self.emit(ProgressEvent(self.target.vm, kind, self.target.session, fields))

    def _take_step(self, info: Mapping[str, Any]) -> None:
        step, cost = info.get("id"), info.get("cost")
        if info.get("role") == "assistant" and isinstance(step, str):
            self._count(step, cost if isinstance(cost, int | float) else 0.0)

    def _count(self, step: str, cost: float) -> None:
        self.steps.add(step)
        self.costs[step] = cost

    def _take_part(self, part: Mapping[str, Any]) -> None:
        state = _mapping(part.get("state"))
        call, status = part.get("id"), state.get("status")
        if part.get("type") != "tool" or not isinstance(call, str) or self._tools.get(call) == status:
            return
        self._tools[call] = str(status)
        title = call_title(state.get("input"), state.get("title"))
        call_fields = {"tool": _bounded(part.get("tool")), "title": _bounded(title)}
        if status == "running":
            self.changed(EventKind.TOOL_STARTED, **call_fields)
        elif status == "completed":
            metadata = _mapping(state.get("metadata"))
            code = metadata.get("exit")
            self.changed(
                EventKind.TOOL_FINISHED,
                **call_fields,
                exit=code if isinstance(code, int) else None,
                cut_short="exit" in metadata and code is None,
            )
        elif status == "error":
            self.changed(EventKind.TOOL_FAILED, **call_fields, error=_bounded(state.get("error")))

    def _take_status(self, status: Mapping[str, Any]) -> bool:
        kind = status.get("type")
        if kind == "retry":
            retry = _Retry.of(status)
            if retry != self._retry:
                self._retry = retry
                self.changed(EventKind.RETRYING, **vars(retry))
        return kind == "idle"


def _bounded(value: Any) -> str:
    """What a server or an agent wrote, in a line of bounded length: who shows it shortens it further."""
    return shortened(str(value), FIELD_WIDTH)


def _whole(value: Any) -> int:
    """A whole number, or 0 for anything else that a peer may send."""
    return int(value) if isinstance(value, int | float) and abs(value) < 1e15 else 0


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
