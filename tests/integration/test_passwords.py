# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server with a password: who has it may dispatch, who has not is told so, and nobody else ever sees it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.command import Completed
from tests.lab import Lab

from .fleet import Fleet, read_fleet

PASSWORD = "correct-horse-7f3a"
VARIABLE = "DX_LAB_PASSWORD_EPYC6"


@pytest.fixture(scope="module")
def locked(lab: Lab) -> Iterator[Lab]:
    """A lab of one server that has a password, beside the other one (so that there may be labs)."""
    with Lab(vms=("epyc6",), password=PASSWORD) as running:
        yield running


@pytest.fixture
def locked_fleet(locked: Lab) -> Iterator[Fleet]:
    """That server's fleet."""
    fleet = read_fleet(locked.inventory, locked.env)
    yield fleet
    fleet.kill_started()


def _without(fleet: Fleet, **changes: str) -> Fleet:
    env = {name: value for name, value in fleet.env.items() if name != VARIABLE}
    return Fleet(fleet.servers, fleet.default, env | changes, fleet.inventory)


def _assert_untold(*places: Completed | Path) -> None:
    for place in places:
        if isinstance(place, Path):
            texts = [
                path.read_bytes().decode(errors="replace") for path in place.rglob("*") if path.is_file()
            ]
        else:
            texts = [place.out, place.err]
        for text in texts:
            assert PASSWORD not in text
            assert "Basic " not in text


def test_with_its_password_a_server_takes_the_task(locked_fleet: Fleet, locked: Lab) -> None:
    completed = locked_fleet.dispatch("epyc6", "affordabot", "@say let in")
    assert (completed.code, completed.result()["state"]) == (0, "completed")
    assert [call.vm for call in locked.model.prompts("let in")] == ["epyc6"]
    _assert_untold(completed)


@pytest.mark.parametrize("given", ["wr0ng-one", f"{PASSWORD} "])
def test_a_wrong_password_is_said(locked_fleet: Fleet, locked: Lab, given: str) -> None:
    completed = _without(locked_fleet, **{VARIABLE: given}).dispatch("epyc6", "affordabot", "@say wrong one")
    result = completed.result()
    assert (completed.code, result["state"], result["reason_code"]) == (4, "refused", "unauthorized")
    assert "password_env" in result["next_action"]
    assert locked.model.prompts("wrong one") == []
    assert given not in completed.out + completed.err


@pytest.mark.parametrize("environment", [{}, {VARIABLE: ""}])
def test_a_missing_password_names_its_variable(
    locked_fleet: Fleet, locked: Lab, environment: dict[str, str]
) -> None:
    completed = _without(locked_fleet, **environment).dispatch("epyc6", "affordabot", "@say without one")
    result = completed.result()
    assert completed.code == 4
    assert (result["reason_code"], result["next_action"]) == ("password_missing", f"export {VARIABLE}")
    assert locked.model.prompts("without one") == []


def test_a_server_that_wants_a_password_of_which_nobody_was_told(
    locked_fleet: Fleet, locked: Lab, tmp_path: Path
) -> None:
    untold = locked_fleet.described_as(tmp_path, epyc6={"password_env": None})
    completed = untold.dispatch("epyc6", "affordabot", "@say not told")
    assert (completed.code, completed.result()["reason_code"]) == (4, "unauthorized")


def test_the_password_is_nowhere_to_be_seen(locked_fleet: Fleet, locked: Lab) -> None:
    running = locked_fleet.start("epyc6", "affordabot", "@silent 2\n@say seen", "-vvv")
    locked.model.wait_for_prompt("@say seen")
    seen = [" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])]
    assert any("affordabot" in command for command in seen)
    assert not [command for command in seen if PASSWORD in command]
    completed = running.finish()
    assert completed.code == 0, completed
    _assert_untold(completed, Path(locked_fleet.env["HOME"]))


def test_not_even_the_most_verbose_playbook_shows_it(locked_fleet: Fleet) -> None:
    variables = {"repo": "affordabot", "task": "@say verbose"}
    completed = locked_fleet.playbook("dx.fleet.dispatch", "-vvvvv", "--diff", **variables)
    assert completed.code == 0, completed
    assert "@say verbose" in completed.out
    _assert_untold(completed, locked_fleet.playbook("dx.fleet.status", "-vvvvv"))


def test_the_status_of_a_locked_server(locked_fleet: Fleet) -> None:
    completed = locked_fleet.look("status")
    assert (completed.code, completed.document()["vms"][0]["vm"]) == (0, "epyc6")
    _assert_untold(completed)
    refused = _without(locked_fleet, **{VARIABLE: "wrong"}).look("status")
    assert (refused.code, refused.result()["reason_code"]) == (4, "unauthorized")
