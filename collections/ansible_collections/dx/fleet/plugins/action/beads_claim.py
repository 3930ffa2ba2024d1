# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ansible_collections.dx.fleet.plugins.module_utils.specs import CLAIM, CLAIM_REQUIRED_IF
from ansible_collections.dx.fleet.plugins.plugin_utils.ansible_edge.tracker_action import (
    BeadsAction,
    ModuleFailure,
)
from ansible_collections.dx.fleet.plugins.plugin_utils.beads.dispatcher import Liveness, this_dispatcher
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.errors import TrackerError
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.event_kind import EventKind
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.orchestrator import orchestrator_of
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.precedence import (
    claim_options,
    last_outcome,
    of_request_for_claim,
    returned,
)
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.progress import ProgressEvent
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.settlement import End, end_of, settled
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.targets import may_be_any_vm, vm_of_work
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.work import closing_outcome
from ansible_collections.dx.fleet.plugins.plugin_utils.text.redact import redact

with suppress(ImportError):  # FleetAction.run says what is missing
    from ansible_collections.dx.fleet.plugins.plugin_utils.beads.claim_sessions import look_at_all

if TYPE_CHECKING:
    from ansible_collections.dx.fleet.plugins.plugin_utils.audit.facts.event import Subject

MODULE = "dx.fleet.beads_claim"
EARLIER_STEPS = ("request", "policies", "plan", "claim", "made", "sent", "followed", "verified")
TRIES = 4  # one for each thing that can be in the way, and one more
UNSEEN_S = 300.0  # age of a claim from which a dispatcher counts as gone that has no session to beat in yet


class ActionModule(BeadsAction):
    # The folder is one of the tracker host, and expanded there.
    ARGUMENT_SPEC = {**CLAIM, "beads_dir": {"type": "str"}}
    REQUIRED_IF = [each for each in CLAIM_REQUIRED_IF if each[1] != "claimed"]

    def requested(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        return of_request_for_claim(request)

    async def act(self, args: dict[str, Any]) -> dict[str, Any]:
        steps = {name: args[name] for name in EARLIER_STEPS}
        # Ansible logs a module's options on the tracker host, and the agent's words are in what it returned.
        args = {name: value for name, value in claim_options(args).items() if name not in EARLIER_STEPS}
        if args["state"] == "settled":
            return self._settle(args, **steps)
        if args["state"] == "located":
            return self._locate(args, steps["request"])
        if args["state"] != "claimed":
            return _told(self.on_tracker(MODULE, args))
        args["vm"] = args["vm"] or self.vm
        args["orchestrator"] = args["orchestrator"] or orchestrator_of(os.environ)
        args["dispatcher"] = args["dispatcher"] or this_dispatcher()
        result = _told(await self._claim(args))
        await self._say(args, result)
        return result

    def named(self, args: Mapping[str, Any]) -> dict[str, Any]:
        return {"bead": args.get("bead"), "dispatch": args.get("dispatch")}

    async def _claim(self, args: dict[str, Any]) -> dict[str, Any]:
        """Claim the bead. If what nobody works on any more is in the way, try again with that known."""
        for left in reversed(range(TRIES)):
            try:
                return self.on_tracker(MODULE, args)
            except ModuleFailure as failure:
                known = await self._found_abandoned(args, failure)
                if not known or not left:
                    raise
                args = {**args, **known}
        raise AssertionError("unreachable")

    async def _found_abandoned(self, args: Mapping[str, Any], failure: ModuleFailure) -> dict[str, Any]:
        """Options by which the claim can be had in spite of the failure; none where somebody is at work."""
        details = failure.details
        if failure.reason_code == "orchestrator_active":
            idle = await self._idle(details["others"])
            return {"idle_beads": idle + args["idle_beads"]} if len(idle) == len(details["others"]) else {}
        claim = details.get("claim")
        tried = args["gone_dispatcher"] is not None
        if failure.reason_code != "already_claimed" or tried or not claim:
            return {}
        life = await self.liveness(claim)
        unseen_too_long = claim["held_s"] is not None and claim["held_s"] >= UNSEEN_S
        if life is Liveness.ALIVE or (life is Liveness.UNSEEN and not unseen_too_long):
            return {}
        return {"gone_dispatcher": claim["dispatcher"] or ""}

    def _locate(self, args: dict[str, Any], request: Mapping[str, Any]) -> dict[str, Any]:
        """The VM on which the bead is worked on; the run's own hosts where it names them, or none works."""
        anywhere = may_be_any_vm(request)
        if args["bead"] is None or not (anywhere or args["retry"]):
            return {"changed": False, "skipped": True, "msg": "the run names where it works"}
        found = _told(self.on_tracker(MODULE, {**args, "state": "present"}))
        vm = vm_of_work(found, retry=args["retry"])
        if vm is None or vm == self.vm or not anywhere:
            return found
        if not self._is_known(vm):
            raise _unknown_vm(args["bead"], vm)
        return {**found, "elsewhere": vm}

    def _is_known(self, vm: str | None) -> bool:
        """Whether there is such a host, on which the work could go on."""
        return vm == self.vm or vm in (self._task_vars.get("hostvars") or {})

    async def _idle(self, claims: list[dict[str, Any]]) -> list[str]:
        """The beads of those claims whose session is known not to work."""
        seen = await look_at_all(claims, self.servers_of(claim["vm"] for claim in claims))
        return [claim["bead"] for claim, each in zip(claims, seen, strict=True) if not each.maybe_works]

    async def _say(self, args: Mapping[str, Any], result: dict[str, Any]) -> None:
        bead, held = args["bead"], result["dispatch"]
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

    def _settle(
        self,
        args: dict[str, Any],
        *,
        claim: Mapping[str, Any],
        made: Mapping[str, Any],
        sent: Mapping[str, Any],
        followed: Mapping[str, Any],
        verified: Mapping[str, Any],
        request: Mapping[str, Any],
        policies: Mapping[str, Any],
        **_: Any,
    ) -> dict[str, Any]:
        """End the claim as the outcome asks for; nothing is written where it goes on."""
        if not returned(claim) or self._task.check_mode:
            return {"changed": False, "skipped": True, "msg": "there is no claim to end"}
        bead, found = args["bead"], last_outcome(made, sent, followed, verified)
        end = end_of(
            found,
            sent=bool(returned(sent)),
            begun_now=claim["changed"] and not claim["continued"],
            close_on=closing_outcome(policies, request.get("repo") or claim.get("repo")),
        )
        outcome = settled(found, bead, request, ended=end.state)
        result: dict[str, Any] = {"changed": False}
        ended, noted = end.state, None
        if end.state != "held":
            try:
                result = _told(self.on_tracker(MODULE, _ending(args, end, outcome.next_action)))
            except ModuleFailure as failure:
                outcome = settled(found, bead, request, failure=failure)
                if self.telling is not None:
                    self.telling.ended(outcome)
                return {"changed": False, **self.failed(outcome)}
            noted = result.get("noted")
            ended = ended if noted is None else "noted"
            self._emit(EventKind.CLAIM_ENDED, bead=bead, ended=ended)
            outcome = settled(found, bead, request, ended=ended, noted=noted)
        if self.telling is not None and EventKind.of(outcome.state) is not None:
            subject = self._subject(self.vm, bead, args["dispatch"], outcome.session)
            self.telling.claim_ended(subject, ended, end.reason, outcome.next_action)
        failed = {} if outcome.state.good else self.failed(outcome)
        return {**result, "ended": ended, "outcome": outcome.as_dict(), **failed}

    def _subject(self, vm: str, bead: str, dispatch: str, session: str | None) -> Subject | None:
        return self.telling and self.telling.about(dispatch, session, vm=vm, bead=bead)

    def _emit(self, kind: EventKind, **fields: Any) -> None:
        self.emit(ProgressEvent(self.vm, kind, fields=fields))


def _ending(args: Mapping[str, Any], end: End, next_action: str | None) -> dict[str, Any]:
    """Options that end a claim. The reason becomes an argument of `bd`, and goes into the bead."""
    reason = f"{end.reason}. Next: {next_action}" if next_action and end.state != "closed" else end.reason
    options = {**args, "state": end.state, "reason": redact(reason)}
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


def _told(result: dict[str, Any]) -> dict[str, Any]:
    """What the module told, without what Ansible adds."""
    return {
        name: value for name, value in result.items() if name != "invocation" and not name.startswith("_")
    }
