# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Directories of a real server that are broken, gone, or two of one name: each is its own trouble alone."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import Lab, ScriptedModel

from .fleet import Fleet, fresh_id
from .test_schema import VALIDATOR


@pytest.fixture
def made(lab: Lab) -> Iterator[Path]:
    """A folder in epyc6's home; nothing in it outlives the test."""
    folder = lab.vms["epyc6"].home / f"work-{fresh_id()}"
    folder.mkdir()
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def _project(fleet: Fleet, directory: Path) -> None:
    """A git repository that the server has been in."""
    directory.mkdir(parents=True)
    words = ("-c", "user.name=t", "-c", "user.email=t@example.com")
    subprocess.run(["git", "init", "-q"], cwd=directory, check=True)
    subprocess.run(
        ["git", *words, "commit", "-q", "--allow-empty", "-m", f"Begin {directory}"],
        cwd=directory,
        check=True,
    )
    fleet["epyc6"].get("/agent", directory=str(directory))
    assert str(directory) in [project["worktree"] for project in fleet["epyc6"].get("/project")]


def test_a_broken_project_is_refused_with_its_file_and_spoils_nothing_else(
    fleet: Fleet, made: Path, model: ScriptedModel
) -> None:
    file = made / "opencode.json"
    file.write_text('{"provider": 7}')
    # A session of it, as a person's editor makes one.
    session = f"ses_{fresh_id()}"
    body = {"id": session, "location": {"directory": str(made)}}
    fleet["epyc6"].ask("POST", "/api/session", body).raise_for_status()
    refused = fleet.dispatch("epyc6", str(made), "@say never")
    result = refused.result()
    assert (refused.code, result["state"], result["reason_code"]) == (4, "refused", "config_invalid")
    assert f"{file} is broken: provider: " in result["message_to_human"]
    assert result["next_action"] == f"mend {file} on epyc6"
    assert model.prompts("never") == []
    status = fleet.look("status")
    assert status.code == 0, status
    (vm,) = [each for each in status.document()["vms"] if each["vm"] == "epyc6"]
    (ours,) = [each for each in vm["sessions"] if each["session"] == session]
    assert ours["state"] == "unreadable"
    assert str(file) in ours["why"]
    well = fleet.described_as(made, epyc6={"max_concurrent": 50}).dispatch("epyc6", "affordabot", "@say well")
    assert well.code == 0, well
    asking = fleet.dispatch("epyc6", "affordabot", "@question Colour? | red | blue\n@bash sleep 615")
    VALIDATOR.validate(asking.document())
    assert asking.result()["state"] == "needs_input"
    answered = fleet.look("answer", "epyc6", "red")
    assert (answered.code, [each["state"] for each in answered.document()["requests"]]) == (0, ["answered"])
    stopped = fleet.look("stop", "epyc6")
    stops = {each["session"]: each["state"] for each in stopped.document()["stops"]}
    assert (stopped.code, stops[asking.result()["session"]]) == (0, "stopped")


def test_a_session_whose_directory_is_gone_is_refused_and_the_directory_is_not_made_anew(
    fleet: Fleet, made: Path
) -> None:
    first = fleet.dispatch("epyc6", str(made), "@say one")
    assert first.code == 0, first
    shutil.rmtree(made)
    refused = fleet.dispatch("epyc6", "@say two", "--session", first.result()["session"])
    assert (refused.code, refused.result()["reason_code"]) == (4, "directory_gone")
    assert str(made) in refused.result()["message_to_human"]
    assert not made.exists()


def test_two_projects_of_one_name_are_refused_with_the_list_and_a_path_is_taken(
    fleet: Fleet, made: Path
) -> None:
    name = f"api-{fresh_id()}"
    places = [made / "work" / name, made / "clients" / name]
    for place in places:
        _project(fleet, place)
    refused = fleet.dispatch("epyc6", name, "@say which")
    assert (refused.code, refused.result()["reason_code"]) == (4, "repo_ambiguous")
    assert all(str(place) in refused.result()["message_to_human"] for place in places)
    taken = fleet.dispatch("epyc6", str(places[1]), "@say this one")
    assert (taken.code, taken.result()["evidence"]["directory"]) == (0, str(places[1]))
