# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``dx-fleet reap`` ends worktrees of dispatches that ended, and loses nothing that was in them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab import Lab, ScriptedModel

from .clone import Clone, git
from .fleet import Fleet, fresh_id
from .test_schema import VALIDATOR

pytestmark = pytest.mark.usefixtures("idle_before")

WORK = "@bash echo kept > kept.txt && git add kept.txt && git commit -qm Kept && echo loose > loose.txt\n@say done"


def test_by_policy_and_never_one_in_use(
    bead_fleet: Fleet, lab: Lab, model: ScriptedModel, tmp_path: Path
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    keeps = bead_fleet.with_policy(tmp_path / "a", keep_worktrees=7)
    keeps_none = bead_fleet.with_policy(tmp_path / "b", keep_worktrees=0)
    clone = Clone(lab.vms["epyc6"])
    ended, working, own = (f"try/{fresh_id()}" for _ in range(3))
    keeps.dispatch("epyc6", "affordabot", WORK, "--branch", ended)
    git(
        clone.path,
        "worktree",
        "add",
        "-q",
        "-b",
        own,
        str(Path(clone.worktrees()[ended]["worktree"]).parent / "own"),
    )
    git(clone.path, "worktree", "lock", "--reason", "mine", clone.worktrees()[own]["worktree"])
    busy = keeps.start("epyc6", "affordabot", f"@silent\n@say {working}", "--branch", working)
    model.wait_for_call(working)

    path = Path(clone.worktrees()[ended]["worktree"])
    commit = clone.worktrees()[ended]["HEAD"]
    for fleet, words in ((keeps, ()), (keeps_none, ("--dry-run",))):
        done = fleet.look("reap", *words)
        assert done.code == 0, done
        assert (path / "loose.txt").exists()
    document = fleet.look("reap").document()
    VALIDATOR.validate(document)
    became = {each["branch"]: each for each in document["worktrees"] if each["vm"] == "epyc6"}
    assert {branch: became[branch]["became"] for branch in (ended, working, own)} == {
        ended: "ended",
        working: "kept",
        own: "kept",
    }
    assert "works in it" in became[working]["found"]
    assert "a person has locked it (mine)" in became[own]["found"]

    there = clone.worktrees()
    assert ended not in there
    assert not path.exists()
    assert {working, own} <= set(there)
    assert git(clone.path, "rev-parse", ended) == commit
    (rescue,) = became[ended]["rescue_refs"]
    assert git(clone.path, "show", f"{rescue}:loose.txt") == "loose"
    git(clone.path, "fsck", "--no-dangling")
    assert busy.alive
