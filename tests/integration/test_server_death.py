# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server that dies takes its tasks with it: they are lost, and nobody calls that a success."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.command import Completed
from tests.lab import Lab, LabVM, ScriptedModel

from .fleet import Fleet, fresh_id

TASK = "@bash echo begun >> begun.txt\n@silent\n@say never"
PATIENT, IMPATIENT, OVER = f"{TASK}, patient", f"{TASK}, impatient", "@say over before"


@pytest.fixture
def mortal(lab: Lab) -> Iterator[LabVM]:
    """The VM whose server the test ends; it lives again afterwards."""
    yield lab.vms["macmini"]
    lab.vms["macmini"].start()


@dataclass(frozen=True)
class Death:
    """The words of three dispatches to a server that died once, and what became of those that it died under.

    ``over`` had ended before; ``impatient`` ended before the server came back, ``patient`` after.
    """

    over: Sequence[str]
    patient: Sequence[str]
    of_patient: Completed
    of_impatient: Completed


@pytest.fixture(scope="module")
def death(lab: Lab, whole_fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Death:
    """The server of macmini is killed, and is started when one of two dispatches has given it up."""
    server = lab.vms["macmini"]
    over, patient = (("macmini", "affordabot", task, "--id", fresh_id()) for task in (OVER, PATIENT))
    assert whole_fleet.dispatch(*over).code == 0
    waits = with_grace(whole_fleet, tmp_path_factory.mktemp("patient"), 120).start(*patient, "--json")
    gives_up = with_grace(whole_fleet, tmp_path_factory.mktemp("impatient"), 2).start(
        "macmini", "affordabot", IMPATIENT, "--json"
    )
    for task in (PATIENT, IMPATIENT):
        lab.model.wait_for_call(task, count=2)
    server.kill()
    try:
        of_impatient = gives_up.finish()
    finally:
        server.start()
    return Death(over, patient, waits.finish(), of_impatient)


def with_grace(fleet: Fleet, folder: Path, seconds: int) -> Fleet:
    """The fleet with an inventory that gives a server that is gone so many seconds to come back."""
    shutil.copytree(fleet.inventory.parent, folder, dirs_exist_ok=True)
    with (folder / "group_vars" / "all.yml").open("a") as variables:
        variables.write(f"server_grace: {seconds}\n")
    inventory = folder / fleet.inventory.name
    return replace(fleet, inventory=inventory, arguments=("--inventory", str(inventory)))


def test_a_server_that_dies_for_good_is_lost(death: Death) -> None:
    result = death.of_impatient.result()
    assert (death.of_impatient.code, result["state"], result["reason_code"]) == (3, "lost", "server_gone")
    assert result["session"] in result["next_action"]


def test_a_server_that_dies_and_comes_back_has_lost_its_task(death: Death, lab: Lab, fleet: Fleet) -> None:
    result = death.of_patient.result()
    assert (death.of_patient.code, result["state"], result["reason_code"]) == (3, "lost", "server_restarted")
    assert [tool["exit"] for tool in result["evidence"]["tools"]] == [0]
    # Asked for again it is still lost, and still not begun anew.
    again = fleet.dispatch(*death.patient)
    assert (again.code, again.result()["reason_code"]) == (3, "server_restarted")
    assert len(lab.model.prompts(PATIENT)) == 1
    # What its next_action says is possible.
    continued = fleet.dispatch("macmini", "affordabot", "@say continued", "--session", result["session"])
    assert (continued.code, continued.result()["evidence"]["text"]) == (0, "continued")


def test_a_server_that_died_after_the_end_does_not_matter(death: Death, lab: Lab, fleet: Fleet) -> None:
    again = fleet.dispatch(*death.over)
    assert (again.code, again.result()["state"]) == (0, "completed")
    assert len(lab.model.prompts(OVER)) == 1


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
