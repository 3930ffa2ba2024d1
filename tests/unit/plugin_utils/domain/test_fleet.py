# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A VM is found by each name that it answers to, and by no other."""

from __future__ import annotations

import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.errors import UsageError
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.fleet import VM, Fleet

HOME = VM("homedesktop", "http://localhost:4105", aliases=("homedesktop-wsl", "desk"))
MAC = VM("macmini", "http://macmini:4105", aliases=("desk", "epyc6", "mac"))
EPYC = VM("epyc6", "http://epyc6:4105")
FLEET = Fleet((HOME, MAC, EPYC), default_vm="homedesktop-wsl", source="fleet.json")


@pytest.mark.parametrize(
    ("name", "vm"),
    [
        ("homedesktop", HOME),
        ("homedesktop-wsl", HOME),
        ("HomeDesktop-WSL", HOME),
        ("mac", MAC),
        ("MACMINI", MAC),
    ],
)
def test_a_vm_is_found_by_its_name_and_by_an_alias_in_any_case(name: str, vm: VM) -> None:
    assert FLEET.find(name) is vm


def test_a_vms_own_name_goes_before_anothers_alias() -> None:
    assert FLEET.find("epyc6") is EPYC


def test_an_unknown_name_is_answered_with_the_valid_ones() -> None:
    with pytest.raises(UsageError) as caught:
        FLEET.find("epyc7")
    assert caught.value.reason_code == "unknown_vm"
    for valid in ("homedesktop", "homedesktop-wsl", "macmini", "epyc6", "fleet.json"):
        assert valid in caught.value.message


def test_an_alias_of_two_vms_is_ambiguous_and_both_are_named() -> None:
    with pytest.raises(UsageError) as caught:
        FLEET.find("desk")
    assert caught.value.reason_code == "ambiguous_vm"
    assert "homedesktop" in caught.value.message
    assert "macmini" in caught.value.message
    assert caught.value.next_action == "use one of: homedesktop, macmini"


def test_only_the_aliases_that_lead_to_one_vm_are_unambiguous() -> None:
    assert FLEET.unambiguous_aliases(HOME) == ("homedesktop-wsl",)
    assert FLEET.unambiguous_aliases(MAC) == ("mac",)


def test_the_default_vm_may_be_given_by_an_alias() -> None:
    assert FLEET.default() is HOME


def test_a_fleet_without_a_default_says_which_vms_it_has() -> None:
    with pytest.raises(UsageError) as caught:
        Fleet((EPYC,)).default()
    assert caught.value.reason_code == "no_default_vm"
    assert "epyc6" in caught.value.message
