# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the `bd` of the fleet runs: on the controller, or on a tracker host that is reached by SSH."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.lab import Lab
from tests.lab.tracker import Tracker

from .fleet import Fleet


class TrackerHost:
    """macmini as the tracker host, and the fleet of a person who uses it."""

    def __init__(self, lab: Lab, fleet: Fleet, folder: Path) -> None:
        self._log = lab.ssh_files.folder / "macmini" / "sshd.log"
        document = json.loads(Path(fleet.env["DX_VM_ENDPOINTS"]).read_text())
        document["tracker"] = "macmini"
        document["beads_dir"] = str(Path(fleet.env["BEADS_DIR"]).parent)
        endpoints = folder / "vm-endpoints.json"
        endpoints.write_text(json.dumps(document))
        env = {**fleet.env, "DX_VM_ENDPOINTS": str(endpoints)}
        del env["BEADS_DIR"]
        self.fleet = replace(fleet, env=env, inventory=endpoints)

    def sessions(self) -> int:
        """How many SSH sessions it has had."""
        return self._log.read_text().count("Starting session")

    def changed(self, folder: Path, **vm: object) -> Fleet:
        """The fleet of a person whose endpoints file says something else of the tracker host."""
        return self.fleet.described_as(folder, macmini=vm)


@pytest.fixture
def ssh(ssh_lab: Lab, bead_fleet: Fleet, tracker: Tracker, tmp_path: Path) -> Iterator[TrackerHost]:
    """The tracker host has the same `bd`."""
    bd = ssh_lab.root / "bin" / "bd"
    bd.symlink_to(tracker.folder / "bin" / "bd")
    yield TrackerHost(ssh_lab, bead_fleet, tmp_path)
    bd.unlink()


def test_bd_runs_on_the_tracker_host_and_the_bead_is_closed(ssh: TrackerHost, tracker: Tracker) -> None:
    bead = tracker.create("@say done over there")
    before = ssh.sessions()
    done = ssh.fleet.dispatch("epyc6", "affordabot", "--bead", bead)
    assert (done.code, done.result()["evidence"]["text"]) == (0, "done over there"), done
    assert tracker.status(bead) == "closed"
    assert ssh.sessions() - before == 2, "one each to claim the bead and to end the claim"


def test_a_claim_is_refused_by_the_tracker_host_in_the_same_words(ssh: TrackerHost, tracker: Tracker) -> None:
    bead = tracker.create("@say never")
    tracker.bd("close", bead)
    over_there = ssh.fleet.dispatch("epyc6", "affordabot", "--bead", bead).result()
    here = replace(ssh.fleet, env={**ssh.fleet.env, "DX_VM_ENDPOINTS": str(_without_tracker(ssh.fleet))})
    before = ssh.sessions()
    assert before
    same = here.dispatch("epyc6", "affordabot", "--bead", bead).result()
    assert ssh.sessions() == before, "on the controller nothing goes over the connection"
    for name in ("state", "reason_code", "message_to_human", "next_action"):
        assert over_there[name] == same[name]
    assert same["reason_code"] == "not_claimable"


def test_the_claims_of_the_tracker_host_are_shown(ssh: TrackerHost, tracker: Tracker) -> None:
    bead = tracker.create("@say seen from afar")
    assert ssh.fleet.dispatch("epyc6", "affordabot", "--bead", bead, "--no-wait").code == 0
    before = ssh.sessions()
    status = ssh.fleet.look("status")
    assert status.code == 0, status
    (claim,) = (each for each in status.document()["claims"] if each["bead"] == bead)
    assert claim["vm"] == "epyc6"
    assert claim["dispatch"].startswith(f"{bead}@1")
    assert ssh.sessions() - before == 1


def test_without_the_tracker_host_nothing_is_sent(ssh: TrackerHost, tracker: Tracker, tmp_path: Path) -> None:
    bead = tracker.create("@say never")
    down = ssh.changed(tmp_path, ssh="127.0.0.1:1")
    sessions = ssh.fleet["epyc6"].sessions()
    result = down.dispatch("epyc6", "affordabot", "--bead", bead)
    assert (result.code, result.result()["reason_code"]) == (5, "tracker_unreachable"), result
    assert ssh.fleet["epyc6"].sessions() == sessions
    assert tracker.status(bead) == "open"


def test_a_tracker_host_whose_python_fails_is_told_with_its_words(
    ssh: TrackerHost, tracker: Tracker, tmp_path: Path
) -> None:
    bead = tracker.create("@say never")
    variables = tmp_path / "group_vars" / "remote.yml"
    variables.parent.mkdir()
    variables.write_text("ansible_python_interpreter: /no/such/python\n")
    result = ssh.fleet.dispatch("epyc6", "affordabot", "--bead", bead).result()
    assert result["state"] == "refused"
    assert "/no/such/python" in result["message_to_human"], result
    assert tracker.status(bead) == "open"


def _without_tracker(fleet: Fleet) -> Path:
    path = Path(fleet.env["DX_VM_ENDPOINTS"])
    document = json.loads(path.read_text())
    del document["tracker"]
    other = path.with_name("here.json")
    other.write_text(json.dumps(document))
    return other
