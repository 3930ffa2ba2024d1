# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the `bd` of the fleet runs: on the controller, or on a tracker host that is reached by SSH.

There is no SSH server here. A program in the place of `ssh` runs on this host what Ansible's own plugin would have
run on the other, and notes that it did.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests.lab.tracker import Tracker

from .fleet import Fleet

SSH = """#!/bin/sh
for last in "$@"; do :; done
echo "$last" >>"$DX_TEST_SSH_LOG"
[ -e "$DX_TEST_SSH_LOG.down" ] && { echo "ssh: connect to host tracker: No route to host" >&2; exit 255; }
exec /bin/sh -c "$last"
"""


class Ssh:
    """The stand-in for `ssh`, and the person who uses it."""

    def __init__(self, fleet: Fleet, folder: Path) -> None:
        self._log = folder / "ssh.log"
        program = folder / "ssh"
        program.write_text(SSH)
        program.chmod(0o755)
        document = json.loads(Path(fleet.env["DX_VM_ENDPOINTS"]).read_text())
        document["tracker"] = "macmini"
        document["beads_dir"] = str(Path(fleet.env["BEADS_DIR"]).parent)
        document["vms"]["macmini"] |= {"ssh": "fengning@tracker", "local": False}
        endpoints = folder / "vm-endpoints.json"
        endpoints.write_text(json.dumps(document))
        own = {
            "DX_VM_ENDPOINTS": str(endpoints),
            "DX_TEST_SSH_LOG": str(self._log),
            "ANSIBLE_SSH_EXECUTABLE": str(program),
            "ANSIBLE_SSH_TRANSFER_METHOD": "piped",
            "ANSIBLE_REMOTE_TMP": str(folder / "tmp"),
            "ANSIBLE_SSH_RETRIES": "0",
            "ANSIBLE_PYTHON_INTERPRETER": sys.executable,
        }
        self.fleet = replace(fleet, env={**fleet.env, **own}, inventory=endpoints)

    def ran(self) -> Sequence[str]:
        """What was run on the tracker host."""
        return self._log.read_text().splitlines() if self._log.exists() else []

    def go_down(self) -> None:
        """The host is not reached any more."""
        Path(f"{self._log}.down").touch()


@pytest.fixture
def ssh(bead_fleet: Fleet, tmp_path: Path) -> Ssh:
    return Ssh(bead_fleet, tmp_path)


def test_bd_runs_on_the_tracker_host_and_the_bead_is_closed(ssh: Ssh, tracker: Tracker) -> None:
    bead = tracker.create("@say done over there")
    done = ssh.fleet.dispatch("epyc6", "affordabot", "--bead", bead)
    assert (done.code, done.result()["evidence"]["text"]) == (0, "done over there"), (done, ssh.ran())
    assert tracker.status(bead) == "closed"
    assert sum("AnsiballZ_beads_claim" in line and "python" in line for line in ssh.ran()) >= 2


def test_a_claim_is_refused_by_the_tracker_host_in_the_same_words(ssh: Ssh, tracker: Tracker) -> None:
    bead = tracker.create("@say never")
    tracker.bd("close", bead)
    over_there = ssh.fleet.dispatch("epyc6", "affordabot", "--bead", bead).result()
    here = replace(ssh.fleet, env={**ssh.fleet.env, "DX_VM_ENDPOINTS": str(_without_tracker(ssh.fleet))})
    assert ssh.ran()
    before = len(ssh.ran())
    same = here.dispatch("epyc6", "affordabot", "--bead", bead).result()
    assert len(ssh.ran()) == before, "on the controller nothing goes over the connection"
    for name in ("state", "reason_code", "message_to_human", "next_action"):
        assert over_there[name] == same[name]
    assert same["reason_code"] == "not_claimable"


def test_the_claims_of_the_tracker_host_are_shown(ssh: Ssh, tracker: Tracker) -> None:
    bead = tracker.create("@say seen from afar")
    assert ssh.fleet.dispatch("epyc6", "affordabot", "--bead", bead, "--no-wait").code == 0
    status = ssh.fleet.look("status")
    assert status.code == 0, (status, ssh.ran())
    (claim,) = (each for each in status.document()["claims"] if each["bead"] == bead)
    assert (claim["vm"], claim["dispatch"]) == ("epyc6", f"{bead}@1")
    assert any("AnsiballZ_beads_info" in line for line in ssh.ran())


def test_without_the_tracker_host_nothing_is_sent(ssh: Ssh, tracker: Tracker) -> None:
    bead = tracker.create("@say never")
    ssh.go_down()
    sessions = ssh.fleet["epyc6"].sessions()
    result = ssh.fleet.dispatch("epyc6", "affordabot", "--bead", bead)
    assert (result.code, result.result()["reason_code"]) == (5, "tracker_unreachable"), result
    assert ssh.fleet["epyc6"].sessions() == sessions
    assert tracker.status(bead) == "open"


def test_a_tracker_host_whose_python_fails_is_told_with_its_words(ssh: Ssh, tracker: Tracker) -> None:
    bead = tracker.create("@say never")
    broken = replace(ssh.fleet, env={**ssh.fleet.env, "ANSIBLE_PYTHON_INTERPRETER": "/no/such/python"})
    result = broken.dispatch("epyc6", "affordabot", "--bead", bead).result()
    assert result["state"] == "failed"
    assert "/no/such/python" in result["message_to_human"], result
    assert tracker.status(bead) == "open"


def _without_tracker(fleet: Fleet) -> Path:
    path = Path(fleet.env["DX_VM_ENDPOINTS"])
    document = json.loads(path.read_text())
    del document["tracker"]
    other = path.with_name("here.json")
    other.write_text(json.dumps(document))
    return other
