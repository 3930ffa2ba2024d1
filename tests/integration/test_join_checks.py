# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who joins a dispatch by its id alone gets its work checked as who dispatched it would have."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.lab import Lab

from .fleet import Fleet, fresh_id

WORK = "@bash echo more >> README.md && git commit -qam more\n@say It is done"
CASES: dict[str, tuple[str, tuple[str, ...]]] = {
    "in the clone": ("@say It is done", ()),
    "in a worktree": (WORK, ("--branch", f"fix/{fresh_id()}")),
}


@dataclass(frozen=True)
class Sent:
    """A dispatch whose work a policy checks, and that nobody waited for."""

    person: Fleet
    dispatch: str
    directory: str


@pytest.fixture(scope="module", params=CASES)
def sent(
    request: pytest.FixtureRequest, lab: Lab, whole_fleet: Fleet, tmp_path_factory: pytest.TempPathFactory
) -> Sent:
    person = whole_fleet.with_policy(tmp_path_factory.mktemp("policy"), verify="make test")
    task, options = CASES[request.param]
    result = person.dispatch("--no-wait", "epyc6", "affordabot", task, *options).result()
    assert result["state"] == "running"
    return Sent(person, result["dispatch"], result["evidence"]["directory"])


@pytest.mark.parametrize("where", ["here", "on another machine"])
def test_the_policy_of_the_repo_decides(sent: Sent, tmp_path: Path, where: str) -> None:
    own = {} if where == "here" else {"XDG_STATE_HOME": str(tmp_path / "state")}
    joining = replace(sent.person, env={**sent.person.env, **own})
    joined = joining.dispatch("--id", sent.dispatch)
    assert (joined.code, joined.result()["state"]) == (0, "verified"), joined
    assert joined.result()["repo"] == "affordabot"
    assert joined.result()["evidence"]["directory"] == sent.directory


def test_the_command_that_was_given_then_decides_here(lab: Lab, fleet: Fleet) -> None:
    sent = fleet.dispatch("--no-wait", "epyc6", "affordabot", "@say done", "--verify", "false").result()
    assert fleet.dispatch("--id", sent["dispatch"]).result()["state"] == "failed"
    assert fleet.dispatch("--id", sent["dispatch"], "--no-verify").result()["state"] == "completed"
