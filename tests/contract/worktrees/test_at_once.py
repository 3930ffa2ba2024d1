# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Many worktrees of one repository at the same moment. ``make soak`` has a hundred rounds of it."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from tests.git_clone import Clone

ROUNDS = int(os.environ.get("DX_SOAK_WORKTREES", "1"))


def all_at_once(clone: Clone, options: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What each of the runs returned; each is a process of its own."""
    processes = [clone.start(**each) for each in options]
    ended = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0] * len(options), [err for _, err in ended]
    return [json.loads(out) for out, _ in ended]


@pytest.mark.parametrize("round", range(ROUNDS))
def test_twenty_of_one_repository(clone: Clone, round: int) -> None:
    before = clone.refs()
    names = [f"dx/{number}" for number in range(20)]
    made = all_at_once(clone, [{"branch": name, "dispatch": name} for name in names])
    assert [each.get("msg") for each in made] == [None] * 20
    assert sorted(clone.registered()) == sorted({each["path"] for each in made})
    assert len(clone.registered()) == 20
    for name, each in zip(names, made, strict=True):
        assert clone.git("symbolic-ref", "--short", "HEAD", at=each["path"]) == name
        assert clone.git("status", "--porcelain", at=each["path"]) == ""
    gone = all_at_once(clone, [{"branch": name, "dispatch": name, "state": "absent"} for name in names])
    assert all(each["changed"] for each in gone)
    assert (clone.registered(), clone.refs()) == ([], before)
    assert not list(clone.root.glob("*/*"))
    clone.check()


def test_one_place_for_eight(clone: Clone) -> None:
    made = all_at_once(clone, [{"branch": f"dx/{number}", "path": "same"} for number in range(8)])
    assert sorted(each.get("reason_code") or "made" for each in made) == ["branch_mismatch"] * 7 + ["made"]
    assert len(clone.registered()) == 1
    assert len([ref for ref in clone.refs() if "dx/" in ref and "heads" in ref]) == 1


def test_one_branch_for_eight_dispatches(clone: Clone) -> None:
    made = all_at_once(clone, [{"branch": "dx/a", "dispatch": f"d{number}"} for number in range(8)])
    assert sorted(each.get("reason_code") or "made" for each in made) == ["made"] + ["worktree_locked"] * 7


def test_made_and_removed_at_once(clone: Clone) -> None:
    for _ in range(3):
        clone.do(dispatch="d1")
        both = [{"dispatch": "d1", "state": state} for state in ("absent", "present", "absent", "present")]
        assert all("msg" not in each for each in all_at_once(clone, both))
        assert len(clone.registered()) in (0, 1)
        clone.do(dispatch="d1", state="absent")
        assert clone.registered() == []
        clone.check()
