# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ansible_collections.dx.fleet.plugins.module_utils.specs import REAP
from ansible_collections.dx.fleet.plugins.plugin_utils.ansible_edge.tracker_action import (
    BeadsAction,
    ModuleFailure,
)
from ansible_collections.dx.fleet.plugins.plugin_utils.beads.dispatcher import Liveness
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.errors import TrackerError
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.outcome import State
from ansible_collections.dx.fleet.plugins.plugin_utils.text.redact import redact

with suppress(ImportError):  # FleetAction.run says what is missing
    from ansible_collections.dx.fleet.plugins.plugin_utils.beads.claim_sessions import look_at_all
    from ansible_collections.dx.fleet.plugins.plugin_utils.beads.reaping import Decision, decide

if TYPE_CHECKING:
    from ansible_collections.dx.fleet.plugins.plugin_utils.beads.claim_sessions import SessionSeen

ALREADY_ENDED = frozenset(("claim_lost", "bead_not_found"))  # somebody was faster, which is as well


class ActionModule(BeadsAction):
    # The folder is one of the tracker host, and expanded there.
    ARGUMENT_SPEC = {**REAP, "beads_dir": {"type": "str"}}

    async def act(self, args: dict[str, Any]) -> dict[str, Any]:
        where = {name: args[name] for name in ("beads_dir", "beads_executable", "timeout")}
        claims = self.claims_on(where)
        servers = self.servers_of(claim["vm"] for claim in claims)
        seen = await look_at_all(claims, servers, patience_s=args["preflight_timeout"])
        told, changed, failures = [], False, []
        decisions = await asyncio.gather(
            *(self._decided(*each, args["ttl"]) for each in zip(claims, seen, strict=True))
        )
        for claim, decision in zip(claims, decisions, strict=True):
            if decision.state != "kept":
                try:
                    changed |= self._end(claim, decision, where)
                except ModuleFailure as failure:
                    found = Decision("kept", f"it could not be ended: {failure.message}")
                    if failure.reason_code not in ALREADY_ENDED:
                        failures.append(failure)
                    told.append(self._told(claim, found))
                    continue
            told.append(self._told(claim, decision))
        result = {"changed": changed, "claims": told}
        if failures:
            error = TrackerError(
                f"{len(failures)} of {len(claims)} claims could not be ended: {failures[0].message}",
                reason_code=failures[0].reason_code,
                next_action=failures[0].next_action,
                state=State.UNREACHABLE if failures[0].state is State.UNREACHABLE else State.FAILED,
            )
            return {**result, **self.failed(error.as_outcome().with_(vm=self.vm))}
        return result

    async def _decided(self, claim: dict[str, Any], session: SessionSeen, ttl_s: float) -> Decision:
        """What is to become of a claim; its dispatcher is looked for only where it is the last hope."""
        decision = decide(claim, session, life=Liveness.UNSEEN, ttl_s=ttl_s)
        if decision.state == "kept":
            return decision
        return decide(claim, session, life=await self.liveness(claim), ttl_s=ttl_s)

    def _end(self, claim: dict[str, Any], decision: Decision, where: dict[str, Any]) -> bool:
        """End a claim, if it is still the one that was looked at; whether that changed anything."""
        ended = self.on_tracker(
            "dx.fleet.beads_claim",
            {
                **where,
                "bead": claim["bead"],
                "state": decision.state,
                "dispatch": claim["dispatch"],
                "reason": redact(f"reaped: {decision.found}"),
                "seen_dispatcher": claim["dispatcher"] or "",
            },
        )
        return bool(ended["changed"])

    def _told(self, claim: dict[str, Any], decision: Decision) -> dict[str, Any]:
        became = f"would be {decision.state}" if self._task.check_mode else decision.state
        return {
            **claim,
            "became": decision.state,
            "found": decision.found,
            "summary": f"{claim['bead']}: {became}: {decision.found}",
        }
