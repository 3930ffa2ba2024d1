# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from ansible_collections.dx.fleet.plugins.module_utils.specs import WORKTREE_REAP
from ansible_collections.dx.fleet.plugins.plugin_utils.ansible_edge.vm_action import VMAction, VMModuleFailure
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.errors import FleetError
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.work import root_of
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.worktree_end import (
    OF_A_TEST,
    keep_s_of,
    why_kept,
)

with suppress(ImportError):  # FleetAction.run says what is missing
    from ansible_collections.dx.fleet.plugins.plugin_utils.opencode.activity import working_in
    from ansible_collections.dx.fleet.plugins.plugin_utils.opencode.client import OpenCode
    from ansible_collections.dx.fleet.plugins.plugin_utils.opencode.errors import OpenCodeError, OwnError
    from ansible_collections.dx.fleet.plugins.plugin_utils.opencode.reach import check_server

INFO = "dx.fleet.git_worktree_info"
WORKTREE = "dx.fleet.git_worktree"

Tree = Mapping[str, Any]


class ActionModule(VMAction):
    ARGUMENT_SPEC = WORKTREE_REAP

    async def act(self, args: dict[str, Any]) -> dict[str, Any]:
        try:
            async with self.connect(args) as server:
                await check_server(server, self.vm, patience_s=args["preflight_timeout"])
                home = (await server.paths()).home
                there = self.on_vm(INFO, {"worktrees_roots": [root_of(args["worktrees_root"], home)]})
                ended = [await self._ended(tree, args, server) for tree in there["worktrees"]]
        except (FleetError, OpenCodeError) as error:
            # A machine that is off is left alone, as its claims are.
            return {"changed": False, "worktrees": [], "not_looked_at": str(error)}
        changed = any(each["became"] == "ended" for each in ended)
        return {"changed": changed, "worktrees": ended, "not_looked_at": None}

    async def _ended(self, tree: Tree, args: Mapping[str, Any], server: OpenCode) -> dict[str, Any]:
        """What became of a worktree."""
        keep_s = keep_s_of(tree, args["policies"], args["repos"], args["ttl"])
        kept = why_kept(tree, args["claims"], keep_s) or await _why_in_use(tree, server)
        if kept is not None:
            return self._told(tree, "kept", kept)
        try:
            done = self.on_vm(WORKTREE, _removal(tree))
        except VMModuleFailure as failure:
            return self._told(tree, "kept", f"it could not be ended: {failure.message}")
        return self._told(tree, "ended", _what_stays(tree, done), done["rescue_refs"])

    def _told(self, tree: Tree, became: str, found: str, rescue_refs: tuple[str, ...] = ()) -> dict[str, Any]:
        words = f"would be {became}" if self._task.check_mode else became
        return {
            "vm": self.vm,
            **{name: tree[name] for name in ("path", "repo", "branch", "dispatch", "unused_s")},
            "became": became,
            "found": found,
            "rescue_refs": list(rescue_refs),
            "summary": f"worktree {tree['path']}: {words}: {found}",
        }


async def _why_in_use(tree: Tree, server: OpenCode) -> str | None:
    """Why the server says that somebody works in a worktree; None: nobody does."""
    try:
        statuses = await server.statuses(tree["path"])
    except OwnError:
        return None  # OpenCode itself can't work there
    working = list(working_in(statuses))
    return f"session {working[0]} works in it" if working else None


def _removal(tree: Tree) -> dict[str, Any]:
    return {
        "state": "absent",
        "repo": tree["repo"],
        "path": tree["path"],
        "worktrees_root": tree["worktrees_root"],
        "ended_dispatches": [tree["dispatch"]] if tree["dispatch"] else [],
        "delete_branch": str(tree["branch"] or "").startswith(OF_A_TEST),
    }


def _what_stays(tree: Tree, done: Mapping[str, Any]) -> str:
    stays = [] if tree["branch"] is None else [f"its branch {tree['branch']} keeps its commits"]
    if done["rescue_refs"]:
        stays.append(f"the rest is under {', '.join(done['rescue_refs'])}")
    return "; ".join([*stays, *done["notes"]]) or "there was nothing in it to keep"
