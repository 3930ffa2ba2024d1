# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The examples of the documentation run as they stand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.command import run_ansible
from tests.lab import Lab

ACTIONS = ["opencode_info", "opencode_dispatch", "opencode_wait"]


@pytest.fixture(scope="module")
def documented(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The documentation of each action, as ansible-doc prints it."""
    names = [f"dx.fleet.{name}" for name in ACTIONS]
    done = run_ansible("ansible-doc", "--json", *names, env={"HOME": str(tmp_path_factory.mktemp("home"))})
    assert done.code == 0, done.err
    found = json.loads(done.out)
    return {action: found[f"dx.fleet.{action}"] for action in ACTIONS}


@pytest.mark.parametrize("name", ACTIONS)
def test_the_examples_of_an_action_are_a_playbook_that_runs(
    name: str, documented: dict[str, Any], lab: Lab, tmp_path: Path
) -> None:
    playbook = tmp_path / "examples.yml"
    playbook.write_text(documented[name]["examples"])
    done = run_ansible("ansible-playbook", "-i", str(lab.inventory), str(playbook), env=lab.env)
    assert done.code == 0, done.out + done.err
    assert "[ERROR]" not in done.err
    assert "[DEPRECATION WARNING]" not in done.err


def test_the_returned_values_are_the_documented_ones(documented: dict[str, Any], lab: Lab) -> None:
    """No key of an answer is undocumented, and none that is promised is missing."""
    for action, options in {
        "opencode_info": "",
        "opencode_dispatch": "repo=affordabot task='Run make test' id=documented-1",
        "opencode_wait": "session=ses_none directory=/tmp timeout=1",
    }.items():
        found = _answer(action, options, lab)
        returned = documented[action]["return"]
        own = set(found) - {"changed", "failed", "msg", "exception", "invocation"}
        assert own <= set(returned), action
        if not found.get("failed"):
            assert own >= {name for name, value in returned.items() if value["returned"] == "success"}


def _answer(action: str, options: str, lab: Lab) -> dict[str, Any]:
    words = ("-i", str(lab.inventory), "epyc6", "-m", f"dx.fleet.{action}", "-a", options)
    done = run_ansible("ansible", *words, env=lab.env)
    found = json.loads(done.out.partition("=> ")[2])
    assert isinstance(found, dict)
    return found
