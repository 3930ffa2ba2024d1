# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A playbook that would work on no host fails, and says why: by ansible-playbook itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.command import Completed, run_ansible

TWO = {
    "default_vm": "epyc6",
    "vms": {
        "epyc6": {"opencode": "http://127.0.0.1:9", "ssh": "me@127.0.0.1"},
        "macmini": {"opencode": "http://127.0.0.2:9", "ssh": "me@127.0.0.1"},
    },
}
NO_DEFAULT = {"vms": TWO["vms"]}


def run(tmp_path: Path, playbook: str, inventory: object, *arguments: str) -> Completed:
    source = tmp_path / "vm-endpoints.json"
    if isinstance(inventory, str):
        source = tmp_path / "hosts.ini"
        source.write_text(inventory)
    else:
        source.write_text(json.dumps(inventory))
    env = {"HOME": str(tmp_path), "ANSIBLE_INVENTORY_ENABLED": "dx.fleet.vm_endpoints,ini"}
    words = ("-i", str(source), f"dx.fleet.{playbook}", "-e", "repo=a", "-e", "task=t")
    return run_ansible("ansible-playbook", *words, *arguments, env=env)


@pytest.mark.parametrize(
    ("playbook", "inventory", "arguments", "words"),
    [
        (
            "dispatch",
            TWO,
            ("-e", "target=nosuch"),
            "has no host 'nosuch'; it has epyc6, macmini. Next: name one",
        ),
        ("dispatch", NO_DEFAULT, (), "no VM is named, and the inventory has none in default_vm"),
        ("dispatch", "", (), "the inventory has no host. Next: name an inventory"),
        ("dispatch", TWO, ("--limit", "macmini"), "--limit leaves none of epyc6"),
        ("status", TWO, ("-e", "target=nosuch"), "has no host 'nosuch'"),
        ("status", "", (), "the inventory has no host"),
        ("reap", "", (), "the inventory has no host"),
    ],
)
def test_it_fails_and_names_what_there_is(
    tmp_path: Path, playbook: str, inventory: object, arguments: tuple[str, ...], words: str
) -> None:
    done = run(tmp_path, playbook, inventory, *arguments)
    assert done.code != 0
    assert words in " ".join(done.err.split())
    assert "PLAY [" not in done.out


def test_the_syntax_can_be_checked_without_an_inventory(tmp_path: Path) -> None:
    assert run(tmp_path, "dispatch", "", "--syntax-check").code == 0


def test_a_limit_chooses_among_the_hosts(tmp_path: Path) -> None:
    done = run(tmp_path, "dispatch", TWO, "-e", "target=opencode", "--limit", "macmini", "--list-hosts")
    assert done.code == 0, done
    assert "epyc6" not in done.out
    assert "macmini" in done.out
