# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from contextlib import suppress
from typing import Any

from ansible_collections.dx.fleet.plugins.module_utils.specs import BEADS_INFO
from ansible_collections.dx.fleet.plugins.plugin_utils.ansible_edge.tracker_action import BeadsAction

with suppress(ImportError):  # FleetAction.run says what is missing
    from ansible_collections.dx.fleet.plugins.plugin_utils.beads.claim_sessions import (
        look_at_all,
        no_dispatch,
    )


class ActionModule(BeadsAction):
    # The folder is one of the tracker host, and expanded there.
    ARGUMENT_SPEC = {**BEADS_INFO, "beads_dir": {"type": "str"}}

    async def act(self, args: dict[str, Any]) -> dict[str, Any]:
        claims = self.claims_on(args)
        if not args["sessions"]:
            return {"changed": False, "claims": claims}
        servers = self.servers_of(claim["vm"] for claim in claims)
        seen = await look_at_all(claims, servers, patience_s=args["preflight_timeout"])
        told = []
        for claim, session in zip(claims, seen, strict=True):
            verdict = session.verdict
            told.append(
                {
                    **claim,
                    "session_state": session.state,
                    "session_outcome": None if verdict is None else verdict.state.value,
                    "session_why": session.why if verdict is None else verdict.message,
                    "summary": _summary(claim, session.state),
                }
            )
        return {"changed": False, "claims": told}


def _summary(claim: dict[str, Any], state: str) -> str:
    if claim["dispatch"] is None:
        where = f"{claim['bead']} {claim['status']} on {claim['vm']}"
        return f"{where}, held by no dispatch: {no_dispatch(claim)}"
    age = "an unknown time" if claim["age_s"] is None else f"{claim['age_s']:.0f} s"
    return (
        f"{claim['bead']} {claim['status']} on {claim['vm']}, session {claim['session']} {state},"
        f" by {claim['orchestrator'] or 'an unknown orchestrator'} for {age}"
    )
