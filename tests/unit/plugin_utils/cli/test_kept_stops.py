# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A stop of a VM that is down lies on disk till it is done: one for each target, never lost, never done twice."""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.cli import fleet_playbook, stopping
from ansible_collections.dx.fleet.plugins.plugin_utils.cli.kept_stops import EXPIRES_S, KeptStop, KeptStops
from ansible_collections.dx.fleet.plugins.plugin_utils.cli.stopping import carry_out_kept_stops, keep_stops
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.fleet import VM, Fleet
from ansible_collections.dx.fleet.plugins.plugin_utils.launch.collected import Collected
from ansible_collections.dx.fleet.plugins.plugin_utils.launch.playbook_run import PlaybookRun

STOP = KeptStop("epyc6", "bd-1", "feng", "wrong branch", 1000.0, "http://epyc6:4105")
FLEET = Fleet((VM("epyc6", "http://epyc6:4105"), VM("macmini", "http://macmini:4105")))
STOPPED = {
    "vm": "epyc6",
    "session": "ses_1",
    "dispatch": None,
    "bead": "bd-1",
    "state": "stopped",
    "clauses": [],
}


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> KeptStops:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(fleet_playbook, "beads_found", lambda fleet: {})
    return KeptStops(os.environ)


class Runs:
    """Runs no playbook; answers what a test says, and notes what was asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[PlaybookRun] = []
        self.found = Collected()
        runs = self

        class NoRun:
            def run(self, playbook: PlaybookRun) -> Collected:
                runs.asked.append(playbook)
                return runs.found

        monkeypatch.setattr(stopping, "InChild", NoRun)
        monkeypatch.setattr(stopping, "SYSTEM_CLOCK", self)
        self.now = 1060.0

    def time(self) -> float:
        return self.now


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Runs:
    return Runs(monkeypatch)


def test_it_is_read_back_by_another_process_and_by_nobody_else(kept: KeptStops, tmp_path: Path) -> None:
    kept.keep(STOP)
    assert KeptStops(os.environ).all() == [STOP]
    (file,) = (tmp_path / "dx-fleet" / "stops").glob("*")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_later_one_for_the_same_takes_its_place(kept: KeptStops) -> None:
    later, other = replace(STOP, asked_at=2000.0), replace(STOP, what=None)
    for each in (STOP, later, other):
        kept.keep(each)
    assert kept.all() == [other, later]
    kept.done(STOP)  # that was the one before
    assert later in kept.all()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '{"vm": 5, "what": null, "by": "", "reason": "", "url": "", "asked_at": 1}',
        '{"vm": "a", "what": null, "by": "", "reason": "", "url": "", "asked_at": "x"}',
        '{"vm": "a", "what": null, "by": "", "reason": "", "url": "", "asked_at": NaN}',
    ],
)
def test_what_is_none_is_left_alone(kept: KeptStops, tmp_path: Path, text: str) -> None:
    kept.keep(STOP)
    (tmp_path / "dx-fleet" / "stops" / "other.json").write_text(text)
    assert kept.all() == [STOP]


@pytest.mark.parametrize(
    ("what", "claims", "stops", "wanted"),
    [
        (None, [], {}, ["epyc6", "macmini"]),
        ("bd-1", [], {}, ["epyc6", "macmini"]),  # either may have it
        ("bd-1", [{"vm": "macmini", "bead": "bd-1", "dispatch": "d", "session": "s"}], {}, ["macmini"]),
        ("s", [{"vm": "macmini", "bead": "bd-1", "dispatch": "d", "session": "s"}], {}, ["macmini"]),
        ("bd-1", [], {"homedesktop": [STOPPED]}, []),  # it was found elsewhere
        ("bd-1", [], {"homedesktop": []}, ["epyc6", "macmini"]),
    ],
)
def test_it_is_kept_for_the_vms_that_may_have_it(
    kept: KeptStops,
    what: str | None,
    claims: list[dict[str, str]],
    stops: dict[str, list[dict[str, str]]],
    wanted: list[str],
) -> None:
    collected = Collected(tracker={"claims": claims}, stops=stops)
    found = keep_stops(FLEET, ["epyc6", "macmini"], collected, what, by="feng", reason="", asked_at=5.0)
    assert [each.vm for each in found] == wanted
    assert kept.all() == found


def test_it_is_done_once_as_it_was_asked_for(
    kept: KeptStops, runs: Runs, capsys: pytest.CaptureFixture[str]
) -> None:
    kept.keep(STOP)
    runs.found.stops = {"epyc6": [STOPPED]}
    assert carry_out_kept_stops(FLEET, Path("fleet.yml"), ["macmini"]) == 0
    assert runs.asked == []
    assert carry_out_kept_stops(FLEET, Path("fleet.yml"), ["epyc6"]) == 1
    assert carry_out_kept_stops(FLEET, Path("fleet.yml"), ["epyc6"]) == 0
    (run,) = runs.asked
    assert run.name == "stop"
    assert run.variables == {
        "target": "epyc6",
        "what": "bd-1",
        "by": "feng",
        "reason": "wrong branch",
        "asked_at": 1000.0,
    }
    assert kept.all() == []
    assert (
        "the kept stop of bd-1 on epyc6, asked for by feng 60 s ago: wrong branch is done"
        in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    "stops", [{}, {"epyc6": [{**STOPPED, "state": "still_works"}]}], ids=["down", "goes on"]
)
def test_it_stays_as_long_as_it_is_not_done(
    kept: KeptStops, runs: Runs, stops: dict[str, list[dict[str, object]]]
) -> None:
    kept.keep(STOP)
    runs.found.stops = stops
    assert carry_out_kept_stops(FLEET, Path("fleet.yml"), ["epyc6"]) == 0
    assert kept.all() == [STOP]


def test_one_that_is_too_old_is_dropped_and_does_nothing(
    kept: KeptStops, runs: Runs, capsys: pytest.CaptureFixture[str]
) -> None:
    kept.keep(STOP)
    runs.now = 1001.0 + EXPIRES_S
    assert carry_out_kept_stops(FLEET, Path("fleet.yml"), ["epyc6"]) == 0
    assert (runs.asked, kept.all()) == ([], [])
    assert "is dropped: it is too old" in capsys.readouterr().err


def test_two_commands_at_a_time_do_it_once(kept: KeptStops, runs: Runs) -> None:
    kept.keep(STOP)
    with kept.being_done() as alone:
        assert alone
        assert carry_out_kept_stops(FLEET, Path("fleet.yml"), ["epyc6"]) == 0
    assert runs.asked == []


def test_a_vm_of_another_fleet_is_left_alone(kept: KeptStops, runs: Runs) -> None:
    kept.keep(replace(STOP, url="http://elsewhere:4105"))
    assert carry_out_kept_stops(FLEET, Path("fleet.yml"), ["epyc6"]) == 0
    assert runs.asked == []
