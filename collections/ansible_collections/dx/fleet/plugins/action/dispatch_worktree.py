# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from ansible_collections.dx.fleet.plugins.module_utils.specs import WORKTREE_STEP
from ansible_collections.dx.fleet.plugins.plugin_utils.ansible_edge.vm_action import VMAction, VMModuleFailure
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.precedence import last_outcome, returned
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.settlement import is_over
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.work import Place, Work, work_of

with suppress(ImportError):  # FleetAction.run says what is missing
    from ansible_collections.dx.fleet.plugins.plugin_utils.dispatch.place_of_repo import clone_of
    from ansible_collections.dx.fleet.plugins.plugin_utils.dispatch.preflight import unusable
    from ansible_collections.dx.fleet.plugins.plugin_utils.opencode.errors import OpenCodeError

MODULE = "dx.fleet.git_worktree"

Step = Mapping[str, Any]


class ActionModule(VMAction):
    ARGUMENT_SPEC = WORKTREE_STEP
    TELLS = True

    async def act(self, args: dict[str, Any]) -> dict[str, Any]:
        claim, plan = returned(args["claim"]), returned(args["plan"])
        if self._task.check_mode:
            return _skipped("no worktree is made in check mode")
        if args["state"] == "released":
            return self._released(args)
        joined = (plan.get("outcome") or {}).get("repo")  # by the id alone: the session says which repo it is
        work = work_of({"repo": joined, **args["request"]}, args["policies"], claim)
        if not work.isolated:
            return _skipped("the work is not done in a worktree of its own")
        wanted = await self._wanted(args, work, claim, plan)
        made = self.on_vm(MODULE, wanted)
        return {**made, **{name: wanted[name] for name in ("repo", "dispatch", "worktrees_root")}}

    def named(self, args: Mapping[str, Any]) -> dict[str, Any]:
        request, claim, plan = args["request"], returned(args["claim"]), returned(args["plan"])
        return {
            "repo": request.get("repo") or claim.get("repo"),
            "dispatch": claim.get("dispatch") or plan.get("id"),
            "bead": request.get("bead"),
        }

    def _released(self, args: Mapping[str, Any]) -> dict[str, Any]:
        """Let others have the worktree. One in which somebody may still work stays locked."""
        worktree = returned(args["worktree"])
        if not worktree or not is_over(last_outcome(args["sent"], args["followed"]), args["sent"]):
            return _skipped("the worktree is still in use, or there is none")
        if args["verified"].get("unlocked"):
            return _skipped("it was unlocked after the check")
        given = {name: worktree[name] for name in ("repo", "path", "branch", "dispatch", "worktrees_root")}
        try:
            return self.on_vm(MODULE, {**given, "locked": False, "fetch": False})
        except (
            VMModuleFailure
        ) as failure:  # the bead has to be ended all the same; a new try takes the lock over
            return {"changed": False, "warnings": [f"the worktree stays locked: {failure.message}"]}

    async def _wanted(self, args: Mapping[str, Any], work: Work, claim: Step, plan: Step) -> dict[str, Any]:
        """The worktree that the dispatch works in, as options of the module."""
        dispatch = str(claim.get("dispatch") or plan["id"])
        branch = work.branch_for(dispatch)
        clone, place = await self._place(args, work, plan, branch)
        before = (claim.get("previous_holder") or {}).get("dispatch")
        return {
            "repo": clone,
            "branch": branch,
            "base": work.base,
            "path": _kept(claim, clone, branch) or place.path,
            "worktrees_root": place.root,
            "dispatch": dispatch,
            "ended_dispatches": [before] if before not in (None, dispatch) else [],
        }

    async def _place(self, args: Mapping[str, Any], work: Work, plan: Step, branch: str) -> tuple[str, Place]:
        """The clone, and where its worktree is. Where no look knew the repo, the server is asked."""
        if plan.get("clone") and plan.get("home"):
            return plan["clone"], Place.of(args["worktrees_root"], plan["home"], plan["clone"], branch)
        try:
            async with self.connect(args) as server:
                clone = await clone_of(server, {**args, "repo": work.repo}, self.vm)
                home = (await server.paths()).home
        except OpenCodeError as error:
            raise unusable(server, self.vm, error) from error
        return clone, Place.of(args["worktrees_root"], home, clone, branch)


def _kept(claim: Step, clone: str, branch: str) -> str | None:
    """The worktree of this branch that the claim names; a try before may have worked in the clone itself."""
    path = claim.get("worktree")
    return path if claim.get("branch") == branch and path != clone else None


def _skipped(why: str) -> dict[str, Any]:
    return {"changed": False, "skipped": True, "msg": why}
