# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.dx.fleet.plugins.module_utils.specs import VERIFY_STEP
from ansible_collections.dx.fleet.plugins.plugin_utils.ansible_edge.vm_action import (
    VMAction,
    VMModuleFailure,
)
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.event_kind import EventKind
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.next_action import advise
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.outcome import Outcome, State
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.precedence import (
    last_outcome,
    on_its_branch,
    returned,
)
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.progress import ProgressEvent
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.settlement import end_of, is_over
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.verdict import (
    could_not_check,
    judged,
    not_pushed,
)
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.work import Work, work_of

VERIFY = "dx.fleet.verify_work"
PUSH = "dx.fleet.git_worktree"
PLACE = ("repo", "branch", "worktrees_root")


class ActionModule(VMAction):
    ARGUMENT_SPEC = VERIFY_STEP

    async def act(self, args: dict[str, Any]) -> dict[str, Any]:
        sent, worktree = returned(args["sent"]), returned(args["worktree"])
        found = last_outcome(args["sent"], args["followed"])
        if self._task.check_mode or not sent or not is_over(found, sent):
            return _skipped("nothing is over that could be verified")
        outcome = Outcome.from_dict(found)
        claim = returned(args["claim"])
        work = work_of({**args["request"], "repo": outcome.repo}, args["policies"], claim)
        if work.verify is None:
            return _skipped("nothing verifies the work in this repo")
        outcome, unlocked = self._checked(outcome, work, worktree or {"path": sent["directory"]})
        ended = (
            end_of(outcome.as_dict(), sent=True, begun_now=True, close_on=work.close_on).state
            if outcome.bead is not None
            else None
        )
        outcome = advise(outcome, on_its_branch(args["request"], worktree.get("branch")), ended=ended)
        if self.telling is not None:
            self.telling.ended(outcome)
        failed = {} if outcome.state.good else self.failed(outcome)
        return {"changed": False, "outcome": outcome.as_dict(), "unlocked": unlocked, **failed}

    def _checked(self, outcome: Outcome, work: Work, worktree: Mapping[str, Any]) -> tuple[Outcome, bool]:
        """The outcome by our own run of the check, and whether the worktree was unlocked after it."""
        self.emit(ProgressEvent(self.vm, EventKind.VERIFYING, outcome.session, {"command": work.verify}))
        try:
            check = self.on_vm(VERIFY, _options(work, worktree, outcome.dispatch))
        except VMModuleFailure as failure:
            failed = could_not_check(outcome, failure.reason_code, failure.message, failure.next_action)
            return failed, False
        return self._pushed(outcome, work, worktree, check), bool(check.get("unlocked"))

    def _pushed(
        self, outcome: Outcome, work: Work, worktree: Mapping[str, Any], check: Mapping[str, Any]
    ) -> Outcome:
        """The outcome by the check; what passed is pushed, if it is to be."""
        found = judged(outcome, check)
        if found.state is not State.VERIFIED or not work.push or check.get("pushed"):
            return found
        if found.evidence.dirty_files:
            return not_pushed(
                found,
                "not_committed",
                f"{len(found.evidence.dirty_files)} files are in no commit, so what was checked is not what"
                " would be pushed",
                None,
            )
        place = {name: worktree[name] for name in PLACE}
        try:
            self.on_vm(PUSH, {**place, "path": worktree["path"], "state": "pushed", "commit": check["head"]})
        except VMModuleFailure as failure:
            return not_pushed(found, failure.reason_code, failure.message, failure.next_action)
        return judged(outcome, check, pushed=True)


def _options(work: Work, worktree: Mapping[str, Any], dispatch: str | None) -> dict[str, Any]:
    # What is to be pushed stays ours till then.
    is_to_unlock = "repo" in worktree and not work.push
    return {
        "unlock": {name: worktree[name] for name in PLACE} if is_to_unlock else None,
        "path": worktree["path"],
        "command": work.verify,
        "report": list(work.report),
        "counts": work.counts,
        "timeout": work.verify_timeout_s,
        "expect_changes": work.expect_changes,
        "dispatch": dispatch,
    }


def _skipped(why: str) -> dict[str, Any]:
    return {"changed": False, "skipped": True, "msg": why}
