# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One followed session: what its events told so far. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...domain.progress import Emit, Progress
from ...domain.task import shortened
from ...opencode.models import Message, SessionStatus, call_title

__all__ = ["Follower", "Target"]

_SUBSTANCE = ("message.part.updated", "message.part.delta", "message.updated", "todo.updated")
_WORTH_A_LOOK = ("session.idle", "session.error", "permission.asked", "question.asked")


@dataclass(frozen=True)
class Target:
    """A session to wait for.

    ``message`` is the user message that began the turn; None: the last turn. ``directory`` is where it works,
    if its server told so before.
    """

    vm: str
    session: str
    message: str | None = None
    dispatch: str | None = None
    repo: str | None = None
    directory: str | None = None


@dataclass
class Follower:
    """Takes events and messages of one session, counts, and tells each change once.

    ``moved_at`` is the monotonic time of the last event of substance.
    """

    target: Target
    emit: Emit
    moved_at: float
    steps: set[str] = field(default_factory=set)
    costs: dict[str, float] = field(default_factory=dict)
    error: str | None = None
    _tools: dict[str, str] = field(default_factory=dict)
    _retry: tuple[int, str] | None = None
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

    def tell(self, kind: str, text: str) -> None:
        """Emit one line of progress."""
        self.emit(Progress(self.target.vm, kind, text, self.target.session))

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
        words = f"{part.get('tool')}: {shortened(call_title(state.get('input'), state.get('title')), 80)}"
        if status == "running":
            self.tell("tool_started", words)
        elif status == "completed":
            code = _mapping(state.get("metadata")).get("exit")
            self.tell(
                "tool_finished", f"{words} -> exit {code}" if isinstance(code, int) else f"{words} -> done"
            )
        elif status == "error":
            self.tell("tool_failed", f"{words} -> {shortened(str(state.get('error')), 100)}")

    def _take_status(self, status: Mapping[str, Any]) -> bool:
        kind = status.get("type")
        if kind == "retry":
            attempt, message = status.get("attempt"), shortened(str(status.get("message")), 120)
            told = (attempt if isinstance(attempt, int) else 0, message)
            if told != self._retry:
                self._retry = told
                self.tell("retry", f"Model retry {told[0]}: {message}")
        return kind == "idle"


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
