# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ansible_collections.dx.fleet.plugins.module_utils.beads.settling import End, end_of
from ansible_collections.dx.fleet.plugins.module_utils.specs import CLAIM, CLAIM_REQUIRED_IF
from ansible_collections.dx.fleet.plugins.plugin_utils.ansible_edge.tracker_action import (
    BeadsAction,
    ModuleFailure,
)
from ansible_collections.dx.fleet.plugins.plugin_utils.beads.dispatcher import is_gone, this_dispatcher
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.errors import TrackerError
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.event_kind import EventKind
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.orchestrator import orchestrator_of
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.progress import ProgressEvent
from ansible_collections.dx.fleet.plugins.plugin_utils.text.redact import redact

with suppress(ImportError):  # FleetAction.run says what is missing
    from ansible_collections.dx.fleet.plugins.plugin_utils.beads.claim_sessions import look_at_all
    from ansible_collections.dx.fleet.plugins.plugin_utils.domain.settlement import settled

if TYPE_CHECKING:
    from ansible_collections.dx.fleet.plugins.plugin_utils.audit.facts.event import Subject

MODULE = "dx.fleet.beads_claim"
UNSEEN_S = 60.0  # age of a claim from which a dispatcher that can't be seen counts as gone


class ActionModule(BeadsAction):
    # The folder is one of the tracker host, and expanded there.
    ARGUMENT_SPEC = {**CLAIM, "beads_dir": {"type": "str"}}
    REQUIRED_IF = [each for each in CLAIM_REQUIRED_IF if each[1] != "claimed"] + [
        ("state", "claimed", ["vm"])
    ]

    async def act(self, args: dict[str, Any]) -> dict[str, Any]:
        if args["state"] == "settled":
            return self._settle(args)
        if args["state"] != "claimed":
            return _told(self.on_tracker(MODULE, args))
        args["orchestrator"] = args["orchestrator"] or orchestrator_of(os.environ)
        args["dispatcher"] = args["dispatcher"] or this_dispatcher()
        result = _told(await self._claim(args))
        if args["any_vm"] and not self._is_known(result["vm"]):
            if result["changed"] and not result["continued"] and not self._task.check_mode:
                self.on_tracker(MODULE, self._given_back(args, result))
            raise _unknown_vm(args["bead"], result["vm"])
        await self._say(args, result)
        return result

    def named(self, args: Mapping[str, Any]) -> dict[str, Any]:
        return {"bead": args.get("bead"), "dispatch": args.get("dispatch")}

    async def _claim(self, args: dict[str, Any]) -> dict[str, Any]:
        """The claim; where another is in the way that nobody holds any more, again with that known."""
        try:
            return self.on_tracker(MODULE, args)
        except ModuleFailure as failure:
            details = failure.details
            if failure.reason_code == "orchestrator_active":
                idle = await self._idle(details["others"])
                if len(idle) < len(details["others"]):
                    raise
                return await self._claim({**args, "idle_beads": idle + args["idle_beads"]})
            claim = details.get("claim")
            known = args["gone_dispatcher"] is not None
            if failure.reason_code != "already_claimed" or known or not claim or not _is_abandoned(claim):
                raise
            if args["any_vm"] and not self._is_known(claim["vm"]):
                raise _unknown_vm(args["bead"], claim["vm"]) from failure
            # Again from the start: a claim of another orchestrator may be in the way as well.
            return await self._claim({**args, "gone_dispatcher": claim["dispatcher"]})

    def _is_known(self, vm: str | None) -> bool:
        """Whether there is such a host, on which the work could go on."""
        return vm == self.vm or vm in (self._task_vars.get("hostvars") or {})

    def _given_back(self, args: Mapping[str, Any], result: Mapping[str, Any]) -> dict[str, Any]:
        """Options that release a claim which this task has just made."""
        where = ("bead", "beads_dir", "beads_executable", "timeout", "lock_timeout")
        options = {name: args[name] for name in where}
        seen = {"seen_dispatcher": args["dispatcher"], "dispatch": result["dispatch"]}
        return {**options, **seen, "state": "released", "reason": f"there is no VM {result['vm']}"}

    async def _idle(self, claims: list[dict[str, Any]]) -> list[str]:
        """The beads of those claims whose session is known not to work."""
        seen = await look_at_all(claims, self.servers_of(claim["vm"] for claim in claims))
        return [claim["bead"] for claim, each in zip(claims, seen, strict=True) if not each.maybe_works]

    async def _say(self, args: Mapping[str, Any], result: dict[str, Any]) -> None:
        bead, held = args["bead"], result["dispatch"]
        if result["vm"] != self.vm and args["any_vm"]:
            result["elsewhere"] = result["vm"]
        holder = (result["previous_holder"] or {}).get("orchestrator")
        if self.telling is not None and result["changed"] and not self._task.check_mode:
            subject = self._subject(result["vm"], bead, held, result["session"])
            self.telling.claimed(subject, before=holder if result["continued"] else None)
        if not result["continued"]:
            self._emit(EventKind.CLAIMED, bead=bead, dispatch=held)
        elif result["changed"]:
            self._emit(EventKind.CONTINUED, dispatch=held, orchestrator=holder)
        others = [claim for claim in result["others"] if claim["bead"] != bead]
        if not others:
            return
        idle = await self._idle(others)
        for claim in others:
            if claim["bead"] not in idle:
                self._emit(
                    EventKind.OTHER_ORCHESTRATOR,
                    orchestrator=claim["orchestrator"],
                    bead=claim["bead"],
                    on=claim["vm"],
                    claimed_at=claim["claimed_at"],
                )

    def _settle(self, args: dict[str, Any]) -> dict[str, Any]:
        end = end_of(args["outcome"], sent=args["sent"], begun_now=args["begun_now"])
        if end.state == "held":  # nothing to write, so nothing to run
            outcome = settled(args["outcome"], args["bead"], ended=end.state)
            told = {} if outcome.state.good else self.failed(outcome)
            return {"changed": False, "ended": end.state, "outcome": outcome.as_dict(), **told}
        try:
            result = _told(self.on_tracker(MODULE, _ending(args, end)))
        except ModuleFailure as failure:
            outcome = settled(args["outcome"], args["bead"], failure=failure)
            if self.telling is not None:
                self.telling.ended(outcome)
            return {"changed": False, **self.failed(outcome)}
        outcome = settled(args["outcome"], args["bead"], ended=end.state)
        self._emit(EventKind.CLAIM_ENDED, bead=args["bead"], ended=end.state)
        if self.telling is not None and end.state == "released":
            subject = self._subject(self.vm, args["bead"], args["dispatch"], outcome.session)
            self.telling.released(subject, end.reason)
        told = {} if outcome.state.good else self.failed(outcome)
        return {**result, "ended": end.state, "outcome": outcome.as_dict(), **told}

    def _subject(self, vm: str, bead: str, dispatch: str, session: str | None) -> Subject | None:
        return self.telling and self.telling.about(dispatch, session, vm=vm, bead=bead)

    def _emit(self, kind: EventKind, **fields: Any) -> None:
        self.emit(ProgressEvent(self.vm, kind, fields=fields))


def _ending(args: Mapping[str, Any], end: End) -> dict[str, Any]:
    """Options that end a claim.

    The outcome itself stays here: Ansible logs a module's options on the tracker host, and the agent's words
    are in it. Those in the reason go into an argument of `bd`, and into the bead.
    """
    left_out = ("outcome", "sent", "begun_now")
    options = {name: value for name, value in args.items() if name not in left_out}
    options |= {"state": end.state, "reason": redact(end.reason)}
    if end.state == "released":
        # Whoever went on with the claim meanwhile may have sent the task.
        options["seen_dispatcher"] = args["seen_dispatcher"] or args["dispatcher"] or this_dispatcher()
    return options


def _unknown_vm(bead: str, vm: str | None) -> TrackerError:
    return TrackerError(
        f"{bead} is claimed on {vm}, or was, and the inventory has no such VM",
        reason_code="unknown_vm",
        next_action=f"put {vm} back into the endpoints file, or free it: bd update {bead} -s open -a ''",
    )


def _is_abandoned(claim: Mapping[str, Any]) -> bool:
    """Whether nobody dispatches a claim any more: its process is gone, or can't be seen and had its time."""
    gone = is_gone(claim["dispatcher"])
    if gone is None:
        return claim["held_s"] is not None and claim["held_s"] >= UNSEEN_S
    return gone


def _told(result: dict[str, Any]) -> dict[str, Any]:
    """What the module told, without what Ansible adds."""
    return {
        name: value for name, value in result.items() if name != "invocation" and not name.startswith("_")
    }
