# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A stop meets the start of a dispatch, or its end: never a run that nobody stopped, never a finished bead blocked.

``DX_SOAK_STOPS`` is the number of rounds of each race.
"""

from __future__ import annotations

import asyncio
import os
import random
import time

import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.dispatch.place import place
from ansible_collections.dx.fleet.plugins.plugin_utils.dispatch.preflight import look
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.errors import DispatchError
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.request import Request
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.stop import StopMark
from ansible_collections.dx.fleet.plugins.plugin_utils.opencode.client import OpenCode
from ansible_collections.dx.fleet.plugins.plugin_utils.sessions.stop import (
    Wanted,
    idle_clauses,
    stop,
)

from tests.lab import Lab, ScriptedModel
from tests.lab.tracker import Tracker

from .fleet import Fleet, Server, fresh_id

pytestmark = pytest.mark.usefixtures("idle_before", "idle_afterwards")

ROUNDS = int(os.environ.get("DX_SOAK_STOPS", "3"))
AT_ONCE = 4
QUIET_S = 2.0  # as a stop looks that nothing moves
WATCHED_S = 2.0  # after both are done


async def stop_at_the_start(server: Server, directory: str, delay_s: float) -> str:
    """One round; returns what the stop said."""
    auth = {} if server.password is None else {"password": server.password}
    request = Request(fresh_id(), "@bash sleep 606", "epyc6", directory=directory)
    async with OpenCode(server.url, **auth) as ours, OpenCode(server.url, **auth) as theirs:
        plan = await look(ours, request)
        placing = asyncio.create_task(place(ours, request, plan))
        await asyncio.sleep(delay_s)
        mark = StopMark("feng", "", time.time(), request.dispatch, request.message)
        wanted = Wanted(request.session, request.dispatch, request.message, plan.directory, held=True)
        found = await stop(theirs, wanted, mark, timeout_s=10)
        await asyncio.sleep(QUIET_S)
        clauses, _ = await idle_clauses(theirs, found)
        (sent,) = await asyncio.gather(placing, return_exceptions=True)
        assert sent is True or (isinstance(sent, DispatchError) and sent.reason_code == "stopped"), sent
        assert all(clause.proven for clause in clauses), (delay_s, clauses)
        until = time.monotonic() + WATCHED_S
        while time.monotonic() < until:
            assert request.session not in await theirs.statuses(plan.directory), f"an orphan, {delay_s:.3f} s"
            await asyncio.sleep(0.1)
    return found.state


async def test_a_stop_at_the_start_leaves_no_run_behind(fleet: Fleet, lab: Lab, model: ScriptedModel) -> None:
    server, directory = fleet["epyc6"], str(lab.vms["epyc6"].repo("affordabot"))
    drawn = random.Random(16)
    states: list[str] = []
    for first in range(0, ROUNDS, AT_ONCE):
        delays = [drawn.uniform(0, 0.4) for _ in range(first, min(first + AT_ONCE, ROUNDS))]
        states += await asyncio.gather(*(stop_at_the_start(server, directory, each) for each in delays))
    assert set(states) <= {"stopped", "prevented"}
    print(
        f"{len(states)} stops at the start: {states.count('prevented')} prevented, {states.count('stopped')} stopped"
    )


def test_a_stop_at_the_end_blocks_no_finished_bead(
    bead_fleet: Fleet, model: ScriptedModel, tracker: Tracker
) -> None:
    drawn = random.Random(61)
    ends: list[str] = []
    for number in range(ROUNDS):
        bead = tracker.create(f"race {number}", f"@silent 2\n@say done {number}")
        waiting = bead_fleet.start("epyc6", "affordabot", "--bead", bead, "--json")
        model.wait_for_prompt(f"done {number}")
        time.sleep(drawn.uniform(0, 2))  # it is what is raced: the turn ends 2 s after its prompt
        stopped = bead_fleet.look("stop", bead, "--by", "feng")
        result, found = waiting.finish().result(), tracker.show(bead)
        ends.append(f"{result['state']} {found['status']}")
        shown = (number, result, found, stopped.out)
        assert ends[-1] in ("completed closed", "aborted blocked"), shown
        states = [each["state"] for each in stopped.document().get("stops", ())]
        if found["status"] == "closed":
            assert states in ([], ["already_ended"]), shown
            assert "stopped by" not in found.get("notes", ""), shown
        else:
            assert states == ["stopped"], shown
            assert "stopped by feng" in found["notes"], shown
        assert not bead_fleet["epyc6"].works_on(result["session"]), shown
    print(
        f"{len(ends)} stops at the end: {ends.count('completed closed')} finished, {ends.count('aborted blocked')} stopped"
    )
