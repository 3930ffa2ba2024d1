# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server that dies takes its tasks with it: they are lost, and nobody calls that a success."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import Lab, LabVM, ScriptedModel

from .fleet import Fleet, fresh_id

TASK = "@bash echo begun >> begun.txt\n@silent\n@say never"


@pytest.fixture
def mortal(lab: Lab) -> Iterator[LabVM]:
    """The VM whose server the test kills; it lives again afterwards."""
    yield lab.vms["macmini"]
    lab.vms["macmini"].start()


@pytest.fixture
def impatient_fleet(fleet: Fleet, lab: Lab, tmp_path: Path) -> Fleet:
    """The fleet with an inventory that gives a server that is gone two seconds to come back."""
    folder = tmp_path / "inventory"
    shutil.copytree(lab.inventory.parent, folder)
    with (folder / "group_vars" / "all.yml").open("a") as variables:
        variables.write("server_grace: 2\n")
    return Fleet(
        fleet.servers,
        fleet.default,
        fleet.env,
        folder / lab.inventory.name,
        arguments=("--inventory", str(folder / lab.inventory.name)),
    )


def test_a_server_that_dies_for_good_is_lost(
    impatient_fleet: Fleet, model: ScriptedModel, mortal: LabVM
) -> None:
    running = impatient_fleet.start("macmini", "affordabot", TASK, "--json")
    model.wait_for_call(TASK, count=2)
    mortal.kill()
    completed = running.finish()
    result = completed.result()
    assert (completed.code, result["state"], result["reason_code"]) == (3, "lost", "server_gone")
    assert result["session"] in result["next_action"]


def test_a_server_that_dies_and_comes_back_has_lost_its_task(
    fleet: Fleet, model: ScriptedModel, mortal: LabVM
) -> None:
    dispatch = fresh_id()
    running = fleet.start("macmini", "affordabot", TASK, "--json", "--id", dispatch)
    model.wait_for_call(TASK, count=2)
    mortal.kill()
    mortal.start()
    completed = running.finish()
    result = completed.result()
    assert (completed.code, result["state"], result["reason_code"]) == (3, "lost", "server_restarted")
    assert [tool["exit"] for tool in result["evidence"]["tools"]] == [0]
    # Asked for again it is still lost, and still not begun anew.
    again = fleet.dispatch("macmini", "affordabot", TASK, "--id", dispatch)
    assert (again.code, again.result()["reason_code"]) == (3, "server_restarted")
    assert len(model.prompts(TASK)) == 1
    # What its next_action says is possible.
    continued = fleet.dispatch("macmini", "affordabot", "@say continued", "--session", result["session"])
    assert (continued.code, continued.result()["evidence"]["text"]) == (0, "continued")


def test_a_server_that_ends_cleanly_in_the_middle_of_a_task(
    fleet: Fleet, model: ScriptedModel, mortal: LabVM
) -> None:
    running = fleet.start("macmini", "affordabot", TASK, "--json")
    model.wait_for_call(TASK, count=2)
    mortal.restart()
    completed = running.finish()
    result = completed.result()
    assert (completed.code, result["state"], result["reason_code"]) == (8, "aborted", "aborted")
    assert len(model.prompts(TASK)) == 1


def test_a_server_that_died_after_the_end_does_not_matter(
    fleet: Fleet, model: ScriptedModel, mortal: LabVM
) -> None:
    words = ("macmini", "affordabot", "@say over before", "--id", fresh_id())
    fleet.dispatch(*words)
    mortal.kill()
    mortal.start()
    again = fleet.dispatch(*words)
    assert (again.code, again.result()["state"]) == (0, "completed")
    assert len(model.prompts("over before")) == 1


def test_a_server_that_is_silent_for_a_while_is_waited_for(
    fleet: Fleet, model: ScriptedModel, mortal: LabVM
) -> None:
    running = fleet.start("macmini", "affordabot", "@silent 2\n@say woken", "--json")
    model.wait_for_prompt("woken")
    mortal.pause()
    try:
        model.wait_for_call("woken", count=2, timeout_s=3)
    except TimeoutError:
        pass
    finally:
        mortal.resume()
    completed = running.finish()
    assert (completed.code, completed.result()["evidence"]["text"]) == (0, "woken")
