# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What keeps us from a session, and when it is given up.

Only OpenCode's own word ends a session as failed, and only that one: it was deleted, its project is broken,
its messages can't be read. A refused connection says that the server is gone, and its sessions with it.
Whatever else keeps us from it (a network that is down, a gateway or another service in its place) leaves them
working.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from ...domain.clock import Clock
from ...domain.outcome import State
from ...opencode.errors import (
    ConfigInvalid,
    NotFound,
    OpenCodeError,
    OwnError,
    Rejected,
    TooLarge,
    Unauthorized,
)
from ..turn import Verdict
from .limits import Limits

__all__ = ["Troubles", "is_own"]


class _Kind(Enum):
    GONE = "gone"
    OUT_OF_REACH = "out of reach"
    OWN = "own"


@dataclass(frozen=True)
class _Trouble:
    kind: _Kind
    since: float


class Troubles:
    """The troubles with each session. ``server_was_gone``: its server refused connections at some time."""

    def __init__(self, limits: Limits, clock: Clock) -> None:
        self._limits = limits
        self._clock = clock
        self._of: dict[str, _Trouble] = {}
        self.server_was_gone = False

    def is_new(self, session: str) -> bool:
        """Whether the session was well until now."""
        return session not in self._of

    def over(self, session: str) -> None:
        """The session was read."""
        self._of.pop(session, None)

    def take(self, session: str, error: OpenCodeError) -> Verdict | None:
        """Note why the session could not be read; its verdict, once that has lasted for too long."""
        kind = _kind(error)
        self.server_was_gone = self.server_was_gone or kind is _Kind.GONE
        known = self._of.get(session)
        if known is None or known.kind is not kind:
            known = self._of[session] = _Trouble(kind, self._clock.monotonic())
        if self._clock.monotonic() - known.since < self._patience_s(kind, error):
            return None
        return _verdict(kind, error)

    def _patience_s(self, kind: _Kind, error: OpenCodeError) -> float:
        if kind is _Kind.OUT_OF_REACH:
            return self._limits.server_silent_s
        final = isinstance(error, NotFound) or type(error) is Rejected
        return 0 if final else self._limits.server_gone_s


def is_own(error: OpenCodeError) -> bool:
    """Whether an error is the server's own word on one session or directory, and so not on the server."""
    return _kind(error) is _Kind.OWN


def _kind(error: OpenCodeError) -> _Kind:
    if error.reason_code == "connection_refused":
        return _Kind.GONE
    own = isinstance(error, OwnError | TooLarge) and not isinstance(error, Unauthorized)
    return _Kind.OWN if own else _Kind.OUT_OF_REACH


def _verdict(kind: _Kind, error: OpenCodeError) -> Verdict:
    if kind is _Kind.GONE:
        words = f"the server went away while the task ran: {error.message}"
        return Verdict(State.LOST, "server_gone", words)
    if kind is _Kind.OUT_OF_REACH:
        words = f"the server can't be asked what became of the task, which may go on: {error.message}"
        return Verdict(State.UNREACHABLE, _reason_out_of_reach(error), words)
    if isinstance(error, NotFound):
        return Verdict(State.FAILED, "session_gone", "the session was deleted")
    if isinstance(error, ConfigInvalid):
        words = f"the project can't be opened any more: {error.file}: {'; '.join(error.issues)}"
        return Verdict(State.FAILED, "config_invalid", words)
    return Verdict(State.FAILED, "session_unreadable", f"the session can't be read: {error.message}")


def _reason_out_of_reach(error: OpenCodeError) -> str:
    by_name = ("gateway_error", "not_opencode", "redirected", "unauthorized")
    return error.reason_code if error.reason_code in by_name else "server_silent"
