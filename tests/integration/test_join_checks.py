# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who joins a dispatch by its id alone gets its work checked as who dispatched it would have."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.lab import Lab

from .fleet import Fleet, fresh_id

WORK = "@bash echo more >> README.md && git commit -qam more\n@say It is done"


@pytest.mark.parametrize("where", ["here", "on another machine"])
@pytest.mark.parametrize("words", [(), ("--branch",)], ids=["in the clone", "in a worktree"])
def test_the_policy_of_the_repo_decides(
    lab: Lab, fleet: Fleet, tmp_path: Path, where: str, words: tuple[str, ...]
) -> None:
    checked = fleet.with_policy(tmp_path, verify="make test")
    options = [*words, f"fix/{fresh_id()}"] if words else []
    task = WORK if words else "@say It is done"
    sent = checked.dispatch("--no-wait", "epyc6", "affordabot", task, *options).result()
    assert sent["state"] == "running"
    if where != "here":
        checked = replace(checked, env={**checked.env, "XDG_STATE_HOME": str(tmp_path / "state")})
    joined = checked.dispatch("--id", sent["dispatch"])
    assert (joined.code, joined.result()["state"]) == (0, "verified"), joined
    assert joined.result()["repo"] == "affordabot"
    assert joined.result()["evidence"]["directory"] == sent["evidence"]["directory"]


def test_the_command_that_was_given_then_decides_here(lab: Lab, fleet: Fleet) -> None:
    sent = fleet.dispatch("--no-wait", "epyc6", "affordabot", "@say done", "--verify", "false").result()
    assert fleet.dispatch("--id", sent["dispatch"]).result()["state"] == "failed"
    assert fleet.dispatch("--id", sent["dispatch"], "--no-verify").result()["state"] == "completed"
