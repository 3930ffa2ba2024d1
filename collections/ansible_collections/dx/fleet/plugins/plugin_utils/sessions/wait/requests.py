# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""While a followed session waits for a person: a rule answers, somebody does, or the wait ends."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from ...domain.answer_policy import AnswerPolicy
from ...domain.clock import Clock
from ...domain.event_kind import EventKind
from ...domain.input_request import InputRequest
from ...domain.outcome import Evidence, State
from ...domain.task import shortened
from ...opencode.client import OpenCode
from ...opencode.errors import OpenCodeError
from ...opencode.models import Pending, PermissionRequest
from ..reply import Request, reply
from ..turn import Verdict
from .follower import Follower

__all__ = ["NO_ANSWERS", "Answering", "Requests", "needs_input"]

NOTICED_S = 0.5  # who answered records it, with their name, before this wait says that it is answered

OnInput = Literal["ask", "fail", "reject"]


@dataclass(frozen=True)
class Answering:
    """How a wait answers what is asked.

    ``on_input`` is for what no rule of the ``policy`` names: ``fail`` ends the wait, ``reject`` refuses it,
    ``ask`` goes on waiting until somebody has answered.
    """

    on_input: OnInput = "fail"
    policy: AnswerPolicy = field(default_factory=AnswerPolicy)


NO_ANSWERS = Answering()


@dataclass
class _Waiting:
    """What a session waits for, and since when it is no longer there."""

    asked: InputRequest
    gone_since: float | None = None


class Requests:
    """The requests of the followed sessions of one server.

    Args:
        server: The server.
        pending: The sessions that are followed.
        answering: What is answered how.
        clock: The time.
        look_again: Called with a session that is to be looked at once more after so many seconds.
    """

    def __init__(
        self,
        server: OpenCode,
        pending: Mapping[str, Follower],
        answering: Answering,
        clock: Clock,
        look_again: Callable[[str, float], None],
    ) -> None:
        self._server = server
        self._pending = pending
        self._answering = answering
        self._clock = clock
        self._look_again = look_again
        self._replied: dict[str, bool] = {}
        self._waiting: dict[str, _Waiting] = {}

    async def unanswered(self, session: str, requests: Sequence[Pending], directory: str) -> Pending | None:
        """The request of a working session for which its wait ends; None where it goes on."""
        open_ones = [each for each in requests if not await self._is_answered(session, each, directory)]
        if not open_ones:
            self._note_answered(session)
            return None
        waiting = self._waiting.get(session)
        known = waiting.asked.id if waiting is not None else None
        first = next((each for each in open_ones if each.id == known), open_ones[0])
        if self._answering.on_input != "ask":
            return first
        self._note_asked(session, first)
        return None

    def ended(self, session: str) -> None:
        """The session works no more: nothing waits there."""
        waiting = self._waiting.pop(session, None)
        if waiting is not None:
            self._say_answered(session, waiting.asked)

    async def _is_answered(self, session: str, request: Pending, directory: str) -> bool:
        """Whether we answer it ourselves. What can't be answered by a rule is asked of a person."""
        if request.id in self._replied:
            return self._replied[request.id]
        answer, words, by = self._answer_to(request)
        if answer is None:
            return False
        self._replied[request.id] = False
        try:
            heard = await reply(self._server, Request(request, directory), [words or answer])
        except OpenCodeError:
            return False
        self._replied[request.id] = True
        if heard:
            self._pending[session].changed(
                EventKind.ANSWERED, request=request.id, words=request.in_words(), answer=answer, by=by
            )
        return True

    def _answer_to(self, request: Pending) -> tuple[str | None, str | None, str]:
        """The answer, what the agent hears with it, and whose it is."""
        if isinstance(request, PermissionRequest):
            decision = self._answering.policy.decide(request.permission, request.patterns)
            if decision is not None and decision.allowed:
                return "once", None, f"answer_policy ({decision.rule.words})"
            if decision is not None:
                rule = decision.rule.words
                return "reject", f"the fleet's answer_policy says: {rule}", f"answer_policy ({rule})"
        if self._answering.on_input == "reject":
            return "reject", None, "on_input=reject"
        return None, None, ""

    def _note_asked(self, session: str, request: Pending) -> None:
        follower = self._pending[session]
        follower.moved_at = self._clock.monotonic()  # a person is what it waits for: it does not stall
        waiting = self._waiting.get(session)
        if waiting is not None and waiting.asked.id == request.id:
            waiting.gone_since = None
            return
        if waiting is not None:
            self._say_answered(session, waiting.asked)
        asked = InputRequest.of(request.model_dump(mode="json"))
        if asked is None:
            raise AssertionError
        self._waiting[session] = _Waiting(asked)
        follower.asked = request
        follower.changed(EventKind.ASKED, request=asked.as_request())

    def _note_answered(self, session: str) -> None:
        waiting = self._waiting.get(session)
        if waiting is None:
            return
        now = self._clock.monotonic()
        if waiting.gone_since is None:
            waiting.gone_since = now
        if now - waiting.gone_since >= NOTICED_S:
            self.ended(session)
        else:
            self._look_again(session, NOTICED_S)

    def _say_answered(self, session: str, asked: InputRequest) -> None:
        follower = self._pending.get(session)
        if follower is not None:
            follower.asked = None
            follower.moved_at = self._clock.monotonic()
            follower.changed(EventKind.ANSWERED, request=asked.id, words=asked.words, answer=None, by=None)


def needs_input(request: Pending) -> tuple[Verdict, Evidence]:
    """The end of a wait for a session that waits for a person."""
    is_permission = isinstance(request, PermissionRequest)
    data = request.model_dump(mode="json")
    asked = InputRequest.of(data)
    what = request.in_words() if is_permission or asked is None else f"an answer: {asked.words}"
    return Verdict(
        State.NEEDS_INPUT,
        "permission_pending" if is_permission else "question_pending",
        f"the agent waits for {shortened(what, 300)}",
    ), Evidence(request=data)
