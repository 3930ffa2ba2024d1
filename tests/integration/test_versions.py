# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A dispatch on the version of OpenCode that runs here: the newest that was tested, or by DX_TEST_OPENCODE another.

`make test-oldest-opencode` runs it on the oldest that gets tasks.
"""

from __future__ import annotations

import os

import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.opencode.versions import NEWEST_TESTED, OLDEST

from tests.lab import Lab, ScriptedModel

from .fleet import Fleet, fresh_id

pytestmark = pytest.mark.usefixtures("idle_before")


def test_a_task_runs_once_and_ends(fleet: Fleet, lab: Lab, model: ScriptedModel) -> None:
    version = fleet["epyc6"].get("/global/health")["version"]
    assert version in ((OLDEST, NEWEST_TESTED) if os.environ.get("DX_TEST_OPENCODE") else (NEWEST_TESTED,))
    name = f"{fresh_id()}.txt"
    task = f"@bash echo run >> {name}\n@say over with {name}"
    completed = fleet.dispatch("epyc6", "affordabot", task)
    result = completed.result()
    assert (completed.code, result["state"], result["evidence"]["steps"]) == (0, "completed", 2)
    assert (lab.vms["epyc6"].repo("affordabot") / name).read_text() == "run\n"
    assert len(model.prompts(name)) == 1
    assert fleet["epyc6"].prompts(result["session"]) == [[task]]
    assert "was tested with" not in completed.err


def test_a_session_goes_on_and_a_dispatch_is_joined(fleet: Fleet, model: ScriptedModel) -> None:
    first = fleet.dispatch("epyc6", "affordabot", "@say one").result()
    on = fleet.dispatch("epyc6", "@say two", "--session", first["session"])
    assert (on.code, on.result()["evidence"]["text"]) == (0, "two")
    again = fleet.dispatch("epyc6", "--id", on.result()["dispatch"], "--session", first["session"])
    assert (again.code, again.result()["evidence"]["text"]) == (0, "two")
    assert len(fleet["epyc6"].prompts(first["session"])) == 2
