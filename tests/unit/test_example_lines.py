# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every command line that is shown anywhere is one that the programs understand."""

from __future__ import annotations

import json

import pytest
from ansible.parsing.splitter import parse_kv
from ansible_collections.dx.fleet.plugins.plugin_utils.ansible_edge.extra_vars import check_whole
from ansible_collections.dx.fleet.plugins.plugin_utils.cli.command_names import command_called, command_names
from ansible_collections.dx.fleet.plugins.plugin_utils.cli.dispatch_options import DispatchOptions
from ansible_collections.dx.fleet.plugins.plugin_utils.cli.parser import parse
from ansible_collections.dx.fleet.plugins.plugin_utils.cli.targets import targets_of
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.fleet import VM, Fleet

from tests.command import words_of
from tests.example_lines import COLLECTION, lines

FLEET = Fleet(
    tuple(VM(name, f"http://{name}:4105") for name in ("homedesktop", "macmini", "epyc6")), default_vm="epyc6"
)
SHOWN = lines()


def of(program: str) -> list[str]:
    return [line for line in SHOWN if line.startswith(f"{program} ")]


def test_there_are_examples_of_all_programs() -> None:
    assert all(len(of(program)) >= 5 for program in ("dx-dispatch", "dx-fleet", "ansible-playbook"))


@pytest.mark.parametrize("line", of("dx-dispatch"))
def test_a_dispatch_that_is_shown_can_be_meant(line: str) -> None:
    _, *words = words_of(line.partition(" <")[0])  # without the file that is its standard input
    options = parse(DispatchOptions, "dx-dispatch", words, "")
    targets = targets_of(options, FLEET)
    assert targets.task or options.any_bead or options.id


@pytest.mark.parametrize("line", of("dx-fleet"))
def test_a_command_that_is_shown_can_be_meant(line: str) -> None:
    _, name, *words = words_of(line)
    assert name in command_names()
    parse(command_called(name).options, f"dx-fleet {name}", words, "")


@pytest.mark.parametrize("line", of("ansible-playbook"))
def test_a_playbook_that_is_shown_gets_its_variables_whole(line: str) -> None:
    _, playbook, *words = words_of(line)
    assert (COLLECTION / "playbooks" / f"{playbook.removeprefix('dx.fleet.')}.yml").is_file()
    given = [words[at + 1] for at, word in enumerate(words) if word == "-e"]
    check_whole(given)
    for each in given:
        assert json.loads(each) if each.startswith("{") else "_raw_params" not in parse_kv(each)
