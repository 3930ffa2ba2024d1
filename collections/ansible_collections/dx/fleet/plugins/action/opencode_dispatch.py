# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from ansible_collections.dx.fleet.plugins.module_utils.specs import DISPATCH
from ansible_collections.dx.fleet.plugins.plugin_utils.ansible_edge.action import FleetAction
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.errors import (
    DispatchError,
    PreflightError,
    UsageError,
)
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.identity import new_dispatch_id
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.outcome import Evidence, Outcome, State
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.precedence import (
    dispatch_options,
    has_place,
    is_on,
    of_request_for_dispatch,
    returned,
)
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.work import Place, Work, work_of

with suppress(ImportError):  # FleetAction.run says what is missing
    from ansible_collections.dx.fleet.plugins.plugin_utils.dispatch.place import place
    from ansible_collections.dx.fleet.plugins.plugin_utils.dispatch.preflight import Plan, look
    from ansible_collections.dx.fleet.plugins.plugin_utils.domain.next_action import join_later
    from ansible_collections.dx.fleet.plugins.plugin_utils.domain.request import Request
    from ansible_collections.dx.fleet.plugins.plugin_utils.opencode.client import OpenCode
    from ansible_collections.dx.fleet.plugins.plugin_utils.opencode.reach import check_server, check_version


class ActionModule(FleetAction):
    ARGUMENT_SPEC = DISPATCH
    TELLS = True

    def requested(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        return of_request_for_dispatch(request)

    def named(self, args: Mapping[str, Any]) -> dict[str, Any]:
        claimed = returned(args.get("claim")).get("dispatch")
        return {**super().named(args), "dispatch": args.get("id") or self._task.args.get("id") or claimed}

    async def act(self, args: dict[str, Any]) -> dict[str, Any]:
        looking = bool(self._task.check_mode)
        args = dispatch_options(args, self.vm, looking=looking)
        if looking and args["bead"] is not None and not (returned(args["claim"]) or has_place(args)):
            return await self._look_at_server(args)
        claim, worktree = returned(args["claim"]), returned(args["worktree"])
        work = work_of(args["request"], args["policies"], claim)
        if is_on(args["request"].get("same_session")) and args["session"] is None:
            raise UsageError(
                f"{args['bead']} names no session of a try before",
                reason_code="session_missing",
                next_action="leave out --same-session: the try then has a session of its own",
            )
        if worktree and args["session"] is None:  # one that is continued has them already
            args["permission"] = [*_only_in(worktree["path"]), *args["permission"]]
        request = Request.from_options({**args, "id": self._id(args)}, self.vm)
        request = replace(request, isolated=work.isolated and not worktree)
        started_at = datetime.now(UTC).isoformat(timespec="milliseconds")
        async with self.connect(args) as server:
            plan = await look(server, request, patience_s=args["preflight_timeout"])
            if looking:
                outcome = _planned(request, plan)
                changed = not plan.replay
            else:
                _check_new(args, request, plan)
                self._tell(args, request, plan)
                changed = await place(server, request, plan, emit=self.emit)
                outcome = _running(request, plan, sent=changed)
            evidence = replace(outcome.evidence, transport=server.way)
            isolated = await _isolated(server, args, request, plan, work) if looking else {}
        follow = not looking and not args["no_wait"]
        outcome = outcome.with_(started_at=started_at, bead=args["bead"], evidence=evidence)
        if not follow and not looking:
            outcome = join_later(outcome, args["request"])
        return {
            "changed": changed,
            "id": request.dispatch,
            "session": plan.session,
            "message": plan.message,
            "directory": plan.directory,
            "branch": worktree.get("branch"),
            "version": plan.server_version,
            "replay": plan.replay,
            "follow": follow,
            "outcome": outcome.as_dict(),
            **isolated,
        } | _warned(plan.warning)

    async def _look_at_server(self, args: dict[str, Any]) -> dict[str, Any]:
        """All that can be looked at before the claim of a bead, which alone knows where its work is."""
        async with self.connect(args) as server:
            version = await check_server(server, self.vm, patience_s=args["preflight_timeout"])
            warning = check_version(server, self.vm, version)
        words = f"{self.vm}: would work on {args['bead']} where its claim says"
        outcome = Outcome(State.PLANNED, "check_mode", words, vm=self.vm, bead=args["bead"])
        result = {"changed": False, "version": version, "follow": False, "outcome": outcome.as_dict()}
        return result | _warned(warning)

    def _id(self, args: Mapping[str, Any]) -> str | None:
        """The id of the dispatch; a drawn one stays that of the task over its tries (C(until)).

        Ansible makes a new action for each try, of the same task.
        """
        if args["id"] is None and args["task"]:
            self._task.args["id"] = new_dispatch_id()
        return args["id"] or self._task.args.get("id")

    def _tell(self, args: dict[str, Any], request: Request, plan: Plan) -> None:
        """Say in Slack what is about to be sent; it is on disk before the request leaves."""
        if self.telling is None:
            return
        known = {"vm": request.vm, "repo": request.repo, "bead": args["bead"]}
        subject = self.telling.about(request.dispatch, plan.session, **known)
        if not plan.replay:
            self.telling.dispatching(subject, request.task)


async def _isolated(
    server: OpenCode, args: Mapping[str, Any], request: Request, plan: Plan, work: Work
) -> dict[str, Any]:
    """Where the worktree will be, known before anything is made, so that the claim can name it."""
    if not request.isolated or plan.replay:
        return {}
    home = (await server.paths()).home
    branch = work.branch_for(request.dispatch)
    place = Place.of(args["worktrees_root"], home, plan.directory, branch)
    if request.resume is not None:
        await _check_works_in(server, request, place.path, branch)
    return {"directory": place.path, "clone": plan.directory, "home": home, "branch": branch}


async def _check_works_in(server: OpenCode, request: Request, path: str, branch: str) -> None:
    """Raises PreflightError where the session that goes on is not in the worktree of the branch."""
    directory = (await server.session(request.session)).directory
    if directory.rstrip("/") != path.rstrip("/"):
        raise PreflightError(
            f"session {request.session} on {request.vm} works in {directory}, not on the branch {branch},"
            f" whose worktree is {path}",
            reason_code="session_elsewhere",
            next_action="leave --branch and the repo out to continue where the session is, or --session to"
            " begin a new one on that branch",
            state=State.REFUSED,
        )


def _only_in(worktree: str) -> list[dict[str, str]]:
    """Rules by which the agent works in its worktree and in no other folder; the user's own come after."""
    rule = {"permission": "external_directory"}
    return [
        {**rule, "pattern": "*", "action": "deny"},
        {**rule, "pattern": f"{worktree}/*", "action": "allow"},
    ]


def _check_new(args: Mapping[str, Any], request: Request, plan: Plan) -> None:
    """Raises DispatchError where a new claim would be a replay: an id given by hand that was used before."""
    claim = returned(args["claim"])
    if plan.replay and claim and not claim.get("continued"):
        raise DispatchError(
            f"{request.vm}: {request.dispatch} was sent before, and the claim of {args['bead']} is new",
            reason_code="id_taken",
            next_action="leave --id out: the claim then names the dispatch",
            state=State.REFUSED,
        )


def _warned(warning: str | None) -> dict[str, Any]:
    """What makes Ansible print a warning, once for all tasks that return the same."""
    return {"warnings": [warning]} if warning else {}


def _planned(request: Request, plan: Plan) -> Outcome:
    would = "would report the task sent before" if plan.replay else "would send the task"
    words = f"{would} to session {plan.session} in {plan.directory}"
    return _outcome(request, plan, State.PLANNED, "check_mode", words)


def _running(request: Request, plan: Plan, *, sent: bool) -> Outcome:
    words = "the task was sent" if sent else "the task had been sent before; nothing was sent now"
    reason = "sent" if sent else "already_sent"
    return _outcome(request, plan, State.RUNNING, reason, words)


def _outcome(request: Request, plan: Plan, state: State, reason: str, words: str) -> Outcome:
    return Outcome(
        state=state,
        reason_code=reason,
        message_to_human=words,
        vm=request.vm,
        repo=plan.repo,
        dispatch=request.dispatch,
        session=plan.session,
        message=plan.message,
        evidence=Evidence(session=plan.session, directory=plan.directory, server_version=plan.server_version),
    )
