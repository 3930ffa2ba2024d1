# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The worktrees of a host, as a real clone has them."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import Any

from ansible_collections.dx.fleet.plugins.module_utils.git.listing import listed

from tests.git_clone import Clone


def all_of(*roots: Path | str) -> list[dict[str, Any]]:
    found = listed({"worktrees_roots": [str(root) for root in roots], "timeout": 60.0}, False)
    assert not found["changed"]
    trees: list[dict[str, Any]] = found["worktrees"]
    return trees


def test_whose_they_are(clone: Clone) -> None:
    assert all_of() == []
    held = clone.do(dispatch="d1", branch="dx/a")
    ended = clone.do(dispatch="d2", branch="dx/b", locked=False)
    detached = Path(clone.do(branch="dx/c")["path"])
    clone.git("checkout", "--quiet", "--detach", at=detached)
    clone.git("worktree", "lock", "--reason", "mine", str(detached))
    before = clone.refs()
    found = {each["path"]: each for each in all_of()}
    assert [(each["branch"], each["dispatch"], each["locked"]) for each in found.values()] == [
        ("dx/a", "d1", "dx-fleet dispatch d1"),
        ("dx/b", None, None),
        (None, None, "mine"),
    ]
    assert {each["repo"] for each in found.values()} == {str(clone.path)}
    assert found[ended["path"]]["head"] == clone.git("rev-parse", "main")
    assert {each["worktrees_root"] for each in found.values()} == {str(clone.root)}
    assert list(found) == sorted(found)
    assert held["path"] in found
    assert clone.refs() == before


def test_when_they_were_last_used(clone: Clone) -> None:
    path = Path(clone.do(dispatch="d1", branch="dx/a")["path"])
    admin = Path(clone.git("rev-parse", "--git-dir", at=path))
    for place in (path, admin, *admin.rglob("*")):
        os.utime(place, (0, time.time() - 5000))
    (old,) = all_of()
    assert 4990 < old["unused_s"] < 5100
    clone.do(dispatch="d1", branch="dx/a", locked=False)
    (released,) = all_of()
    assert released["unused_s"] < 60, "its dispatch has just let go of it"


def test_what_works_in_one_is_named(clone: Clone) -> None:
    path = clone.do(dispatch="d1", branch="dx/a")["path"]
    with subprocess.Popen(["sleep", "60"], cwd=path) as process:
        try:
            (found,) = all_of()
        finally:
            process.kill()
    assert found["processes"] == [f"{process.pid} (sleep 60)"]


def test_other_roots_and_what_is_no_worktree(clone: Clone) -> None:
    other = clone.home / "other disk"
    made = clone.do(branch="dx/a", worktrees_root=str(other))
    stray = clone.root / "x" / "stray"
    stray.mkdir(parents=True)
    assert all_of() == []
    (stray / ".git").write_text("gitdir: /nowhere\n")
    assert [each["path"] for each in all_of(other)] == sorted([made["path"], str(stray)])
    (problem,) = all_of()
    assert "is no git repository" in problem["problem"]
    clone.git("worktree", "lock", "--reason", "initializing", made["path"])
    assert [each["half_made"] for each in all_of(other) if each["branch"]] == [True]
    clone.git("worktree", "unlock", made["path"])
    (Path(made["path"]) / ".git").rename(clone.home / "gone")
    assert [each["path"] for each in all_of(other)] == [str(stray)], (
        "of a clone that no folder there leads to"
    )
