# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress
from typing import Any

from ansible_collections.dx.fleet.plugins.module_utils.specs import CONNECTION, WAIT
from ansible_collections.dx.fleet.plugins.plugin_utils.ansible_edge.action import FleetAction
from ansible_collections.dx.fleet.plugins.plugin_utils.beads.dispatcher import this_dispatcher
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.answer_policy import AnswerPolicy
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.errors import UsageError
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.outcome import Outcome, State
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.precedence import (
    follow_options,
    of_request_for_wait,
    on_its_branch,
    returned,
)

with suppress(ImportError):  # FleetAction.run says what is missing
    from ansible_collections.dx.fleet.plugins.plugin_utils.beads.heartbeat import beating
    from ansible_collections.dx.fleet.plugins.plugin_utils.domain.next_action import advise
    from ansible_collections.dx.fleet.plugins.plugin_utils.domain.settlement import end_of, is_over
    from ansible_collections.dx.fleet.plugins.plugin_utils.domain.work import (
        closing_outcome,
        verify_command,
    )
    from ansible_collections.dx.fleet.plugins.plugin_utils.opencode.client import OpenCode
    from ansible_collections.dx.fleet.plugins.plugin_utils.opencode.errors import OpenCodeError
    from ansible_collections.dx.fleet.plugins.plugin_utils.sessions.stop import stopped_by
    from ansible_collections.dx.fleet.plugins.plugin_utils.sessions.wait import (
        Answering,
        Limits,
        Target,
        wait_for,
    )

STOPPABLE = (State.ABORTED, State.FAILED, State.LOST, State.STALLED)
CHECKED_WITHIN_S = 1800.0  # what follows a finished turn takes no longer, and beats no more


class ActionModule(FleetAction):
    ARGUMENT_SPEC = WAIT
    TELLS = True

    def requested(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        return of_request_for_wait(request)

    async def act(self, args: dict[str, Any]) -> dict[str, Any]:
        if args["sent"].get("follow") is False:
            return {"changed": False, "skipped": True, "msg": "it is not to be followed now"}
        args = follow_options(args)
        wanted = _wanted(args, self.vm)
        if self._task.check_mode:
            return {"changed": False, "skipped": True, "msg": "nothing is waited for in check mode"}
        servers: dict[str, OpenCode] = {}
        targets: dict[str, list[Target]] = {}
        beads: dict[str, list[str | None]] = {}
        for each in wanted:
            url = str(each["url"])
            if url not in servers:
                servers[url] = self.connect(each, each["host"])
            targets.setdefault(url, []).append(_target(each))
            beads.setdefault(url, []).append(each["bead"])
            if self.telling is not None:
                known = {"vm": each["vm"], "repo": each["repo"], "bead": each["bead"]}
                self.telling.about(each["id"], each["session"], **known)
        async with AsyncExitStack() as stack:
            hearts = [
                await stack.enter_async_context(
                    beating(self.connect(each, each["host"]), each["session"], this_dispatcher())
                )
                for each in wanted
                if each["bead"] is not None  # others may want the claim, and can't see this process
            ]
            answering = Answering(args["on_input"], AnswerPolicy.read(args["answer_policy"]))
            found = await wait_for(targets, servers, _limits(args), answering=answering, emit=self.emit)
            if any(outcome.state is State.COMPLETED for members in found.values() for outcome in members):
                await asyncio.gather(*(heart.beat(CHECKED_WITHIN_S) for heart in hearts))
        outcomes = [
            _advised(
                (await self._or_stopped(outcome, wanted)).with_(bead=bead),
                args,
            )
            for url, members in found.items()
            for outcome, bead in zip(members, beads[url], strict=True)
        ]
        if self.telling is not None:
            for outcome in outcomes:
                if not _is_checked_next(outcome, args):
                    self.telling.ended(outcome)
        bad = [outcome for outcome in outcomes if not outcome.state.good]
        result = self.failed(bad[0]) if bad else {"msg": outcomes[0].message_to_human}
        if args["sessions"]:
            result["msg"] = f"{(bad or outcomes)[0].vm}: {result['msg']}"  # the task's host may be another
            return {"changed": False, **result, "outcomes": [outcome.as_dict() for outcome in outcomes]}
        return {"changed": False, **result, "outcome": outcomes[0].as_dict()}

    async def _or_stopped(self, outcome: Outcome, wanted: list[Mapping[str, Any]]) -> Outcome:
        """The outcome; that of a task which somebody stopped says who and why."""
        if outcome.session is None:
            return outcome
        each = next(each for each in wanted if each["session"] == outcome.session)
        # A turn may still end by itself between the note of a stop and the stop: that closes no bead.
        finished = outcome.state in (State.COMPLETED, State.NO_OP) and each["bead"] is not None
        if outcome.state not in STOPPABLE and not finished:
            return outcome
        try:
            async with self.connect(each, each["host"]) as server:
                mark = await stopped_by(server, outcome.session, outcome.dispatch, outcome.message)
        except OpenCodeError:
            return outcome  # who ended it can't be read; that it ended is known
        if mark is None:
            return outcome
        return outcome.with_(state=State.ABORTED, reason_code="stopped", message_to_human=mark.words())


def _advised(outcome: Outcome, args: Mapping[str, Any]) -> Outcome:
    """The outcome with the command to run next, the same that the end of its bead will call for."""
    ended = None
    if outcome.bead is not None:
        close_on = closing_outcome(args["policies"], outcome.repo)
        ended = end_of(outcome.as_dict(), sent=True, begun_now=True, close_on=close_on).state
    asked = on_its_branch(args["request"], returned(args["sent"]).get("branch"))
    return advise(outcome, asked, ended=ended)


def _is_checked_next(outcome: Outcome, args: Mapping[str, Any]) -> bool:
    """Whether a check of ours comes after this task in the flow, so that this is not the end yet."""
    in_flow = bool(args["request"]) and bool(args["sent"])
    if not in_flow or not is_over(outcome.as_dict(), args["sent"]):
        return False
    return verify_command(args["request"], args["policies"], outcome.repo) is not None


def _target(wanted: Mapping[str, Any]) -> Target:
    return Target(
        vm=wanted["vm"],
        session=wanted["session"],
        message=wanted["message_id"],
        dispatch=wanted["id"],
        repo=wanted["repo"],
        directory=wanted["directory"],
    )


def _wanted(args: Mapping[str, Any], vm: str) -> list[Mapping[str, Any]]:
    """The sessions to wait for, each with the inventory host of its server.

    A listed one without a url is on the task's own server.

    Raises:
        UsageError: ``session_missing``.
    """
    if args["sessions"]:
        own = {key: args[key] for key in CONNECTION} | {"host": vm}
        # Never the task's password for another server.
        return [{"host": each["vm"], **each} if each["url"] else {**each, **own} for each in args["sessions"]]
    if not args["session"]:
        raise UsageError(
            "there is no session to wait for",
            reason_code="session_missing",
            next_action="set session, or sent to what opencode_dispatch returned",
        )
    return [{**args, "vm": vm, "host": vm}]


def _limits(args: Mapping[str, Any]) -> Limits:
    """A time or a number of steps of 0 is no limit.

    Raises:
        UsageError: ``bad_limit``.
    """
    for name in ("timeout", "stall_timeout", "max_cost", "max_steps", "server_grace"):
        value = args[name]
        if value is not None and not (math.isfinite(value) and value >= 0):
            raise UsageError(
                f"{name} is {value}", reason_code="bad_limit", next_action=f"set {name} to 0 or more"
            )
    return Limits(
        timeout_s=args["timeout"] or None,
        stall_timeout_s=args["stall_timeout"] or None,
        max_cost=args["max_cost"],
        max_steps=args["max_steps"] or None,
        server_gone_s=args["server_grace"],
        server_silent_s=3 * args["server_grace"],
    )
