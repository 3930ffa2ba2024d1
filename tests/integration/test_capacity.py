# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A VM with room for one gets one of the dispatches that come at the same moment, from whichever controller."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.dispatch.place import place
from ansible_collections.dx.fleet.plugins.plugin_utils.dispatch.preflight import look
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.errors import FleetError
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.identity import session_id
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.request import Request
from ansible_collections.dx.fleet.plugins.plugin_utils.opencode.client import OpenCode

from tests.lab import Lab

from .fleet import Fleet, fresh_id

ROUNDS = int(os.environ.get("DX_CAPACITY_ROUNDS", "3"))
pytestmark = pytest.mark.usefixtures("idle_before", "idle_afterwards")


def test_of_two_commands_at_once_one_is_sent(fleet: Fleet, tmp_path: Path) -> None:
    small = fleet.described_as(tmp_path, epyc6={"max_concurrent": 1})
    ids = [fresh_id() for _ in range(2)]
    task = "@bash sleep 30"
    running = [small.start("--json", "--no-wait", "--id", each, "epyc6", "affordabot", task) for each in ids]
    done = [each.finish() for each in running]
    assert sorted(each.code for each in done) == [0, 4]
    server = fleet["epyc6"]
    sent = next(session_id(name) for name, each in zip(ids, done, strict=True) if each.code == 0)
    assert server.prompts(sent) == [[task]]
    assert [session_id(name) for name in ids if server.has(session_id(name))] == [sent]


def test_in_no_round_a_second_one_gets_in(lab: Lab, fleet: Fleet) -> None:
    """The look of both is over before either sends, as if each had been alone."""
    server = fleet["epyc6"]

    async def race() -> list[str]:
        url = lab.vms["epyc6"].url
        asked = Request("", "@bash sleep 60", "epyc6", repo="affordabot", max_concurrent=1)
        requests = [replace(asked, dispatch=fresh_id()) for _ in range(2)]
        clients = [OpenCode(url) for _ in requests]
        plans = await asyncio.gather(
            *(look(client, each) for client, each in zip(clients, requests, strict=True))
        )
        steps = zip(clients, requests, plans, strict=True)
        ends = await asyncio.gather(*(place(*step) for step in steps), return_exceptions=True)
        for client in clients:
            await client.__aexit__(None, None, None)
        reasons = [end.reason_code for end in ends if isinstance(end, FleetError)]
        assert (ends.count(True), reasons) == (1, ["at_capacity"]), ends
        sent = requests[ends.index(True)]
        assert [each.session for each in requests if server.has(each.session)] == [sent.session]
        return [sent.session]

    for _ in range(ROUNDS):
        (session,) = asyncio.run(race())
        assert len(server.prompts(session)) == 1
        server.ask("POST", f"/session/{session}/abort")
        while server.works_on(session):
            pass
