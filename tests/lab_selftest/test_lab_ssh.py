# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's VMs by SSH: real servers with keys of their own, in homes of their own."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.command import Completed, run_ansible
from tests.lab import Lab, LabVM
from tests.lab.ssh_server import new_key


def ssh(lab: Lab, vm: LabVM, *words: str) -> Completed:
    """What `ssh` does for the person of the lab."""
    assert vm.ssh is not None
    options = ("-F", str(lab.ssh_files.config), "-o", "BatchMode=yes")
    done = subprocess.run(
        ["ssh", *options, *words[:-1], f"ssh://{vm.ssh}", words[-1]],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return Completed(done.returncode, done.stdout, done.stderr)


def test_every_vm_but_the_person_s_own_is_reached_by_ssh_in_its_home(ssh_lab: Lab) -> None:
    assert ssh_lab.vms["homedesktop"].ssh is None
    for name in ("macmini", "epyc6"):
        vm = ssh_lab.vms[name]
        done = ssh(ssh_lab, vm, "cd && pwd && echo $DX_LAB_VM")
        assert (done.code, done.out.split()) == (0, [str(vm.home), name]), done


def test_a_vm_is_not_entered_with_another_key(ssh_lab: Lab, tmp_path: Path) -> None:
    new_key(tmp_path / "other")
    done = ssh(
        ssh_lab, ssh_lab.vms["epyc6"], "-o", f"IdentityFile={tmp_path / 'other'}", "-F", "none",
        "-o", f"UserKnownHostsFile={ssh_lab.ssh_files.known_hosts}", "-o", "IdentitiesOnly=yes", "true",
    )  # fmt: skip
    assert done.code == 255
    assert "Permission denied" in done.err


def test_a_module_costs_one_session_on_a_connection_that_is_open(ssh_lab: Lab) -> None:
    log = ssh_lab.ssh_files.folder / "epyc6" / "sshd.log"

    def sessions() -> int:
        return log.read_text().count("Starting session")

    words = ("epyc6", "-i", str(ssh_lab.inventory), "-m", "ansible.builtin.ping")
    assert run_ansible("ansible", *words, env=ssh_lab.env).code == 0
    before = sessions()
    done = run_ansible("ansible", *words, env=ssh_lab.env)
    assert done.code == 0, done
    assert sessions() - before == 1


def test_without_an_sshd_every_vm_is_local(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.lab.lab.find_sshd", lambda: None)
    with Lab(vms=("epyc6",)) as lab:
        assert not lab.has_ssh
        assert lab.vms["epyc6"].ssh is None
        assert '"local": true' in lab.endpoints.read_text()
        assert "ANSIBLE_SSH_COMMON_ARGS" not in lab.env
