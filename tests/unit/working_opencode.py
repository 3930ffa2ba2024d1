# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server in memory whose agent works by itself, the whole client in front of it, and what is never to happen."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from ansible_collections.dx.fleet.plugins.plugin_utils.beads.claim_sessions import look_at_all
from ansible_collections.dx.fleet.plugins.plugin_utils.beads.dispatcher import Liveness
from ansible_collections.dx.fleet.plugins.plugin_utils.beads.reaping import decide
from ansible_collections.dx.fleet.plugins.plugin_utils.dispatch.place import place
from ansible_collections.dx.fleet.plugins.plugin_utils.dispatch.preflight import look
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.errors import FleetError
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.outcome import Outcome, State
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.request import Request
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.settlement import end_of
from ansible_collections.dx.fleet.plugins.plugin_utils.sessions.survey import survey
from ansible_collections.dx.fleet.plugins.plugin_utils.sessions.wait import Limits, Target, wait_for

from .fake_opencode import URL, FakeOpenCode, FakeSession, tool
from .virtual_time import LoopClock

__all__ = [
    "CLOCK",
    "REQUEST",
    "Dispatched",
    "WorkingOpenCode",
    "check_dispatch",
    "check_reap",
    "dispatch",
    "status",
]

REQUEST = Request(dispatch="d1", task="Run make test", vm="epyc6", repo="affordabot")
CLOCK = LoopClock()
WORK_S = 5.0
SILENT_S = 20.0  # longer than any doubt lasts, and than the agent works
LATE_S = 120.0  # by then all has arrived that is ever to arrive


class WorkingOpenCode(FakeOpenCode):
    """A server whose agent works on each task for some seconds. ``runs``: how often it began to."""

    def __init__(self, *, work_s: float = WORK_S) -> None:
        super().__init__()
        self.runs = 0
        self.work_s = work_s

    @property
    def at_work(self) -> bool:
        """Whether any session works."""
        return any(session.status is not None for session in self.sessions.values())

    def _prompt(self, session: FakeSession, body: Any) -> None:
        before = len(session.messages)
        super()._prompt(session, body)
        if len(session.messages) > before:
            self.runs += 1
            session.step("a", tool("c", status="running"), completed=False)
            asyncio.get_running_loop().call_later(self.work_s, self._finish, session)

    def _finish(self, session: FakeSession) -> None:
        if session.status is not None:
            session.step("a", tool("c", exit=0), finish="stop", text="3 passed")
            self.idle(session.id)

    def _abort(self, name: str) -> None:
        if name in self.sessions and self.sessions[name].status is not None:
            error = {"name": "MessageAbortedError", "data": {"message": "Aborted"}}
            self.sessions[name].step("a", tool("c", status="error"), error=error)
        super()._abort(name)


@dataclass(frozen=True)
class Dispatched:
    """What a dispatch with a bead led to. ``bead``: what its claim became."""

    outcome: Outcome
    sent: bool
    bead: str


async def dispatch(
    fake: WorkingOpenCode, *, timeout_s: float = 600, server_silent_s: float = SILENT_S
) -> Dispatched:
    """A whole dispatch, from the look to the end of its claim."""
    sent = False
    try:
        async with fake.client() as server:
            plan = await look(server, REQUEST, patience_s=0)
            await place(server, REQUEST, plan, clock=CLOCK)
        sent = True
        target = Target("epyc6", plan.session, plan.message, directory=plan.directory)
        limits = Limits(timeout_s=timeout_s, server_silent_s=server_silent_s)
        found = await wait_for({URL: [target]}, {URL: fake.client()}, limits, clock=CLOCK)
        outcome = found[URL][0]
    except FleetError as error:
        outcome = error.as_outcome()
    return Dispatched(outcome, sent, end_of(outcome.as_dict(), sent=sent, begun_now=True).state)


async def check_dispatch(fake: WorkingOpenCode, seen: Dispatched) -> None:
    """That nothing is claimed that is not so, now or later, and that the same dispatch again does no harm."""
    state, at_work = seen.outcome.state, fake.at_work
    done = any(each["info"].get("finish") == "stop" for s in fake.sessions.values() for each in s.messages)
    assert state is not State.COMPLETED or (done and not at_work), "no state better than what happened"
    assert seen.bead not in ("closed", "blocked") or not at_work, "no bead ends while its work goes on"
    assert state in (State.COMPLETED, State.UNREACHABLE, State.REFUSED, State.TIMED_OUT), seen.outcome
    assert seen.outcome.reason_code != "effect_unknown" or seen.bead == "held"
    assert seen.outcome.next_action or seen.sent
    await asyncio.sleep(LATE_S)
    assert seen.bead != "released" or fake.runs == 0, "no bead is released for work that goes on"
    assert fake.runs <= 1
    fake.mend()
    again = await dispatch(fake)
    assert again.outcome.state in (State.COMPLETED, State.ABORTED), again.outcome
    assert fake.runs == 1, "the same dispatch again runs the task once in all"
    assert fake.stored(REQUEST.session, REQUEST.message) == [REQUEST.task]


async def status(fake: WorkingOpenCode) -> str:
    """What the status calls our session; the state of the VM, where that could not be asked."""
    async with fake.client() as server:
        try:
            found = await survey(server, "epyc6", patience_s=0)
        except FleetError as error:
            return error.state.value
    return {session.session: session.state for session in found.sessions}[REQUEST.session]


async def check_reap(fake: WorkingOpenCode) -> str:
    """What a reap makes of the claim; nothing, as long as its session may work."""
    claim = {"bead": "bd-1", "vm": "epyc6", "session": REQUEST.session, "message": REQUEST.message}
    claim |= {"dispatch": REQUEST.dispatch, "status": "in_progress", "held_s": 1e6}
    (seen,) = await look_at_all([claim], {"epyc6": fake.client()}, patience_s=0)
    became = decide(claim, seen, life=Liveness.GONE, ttl_s=0).state
    assert became == "kept" or not fake.at_work, seen
    assert became != "released" or fake.runs == 0, seen
    return became
