# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hosts of a run: one row per way to name them, and per way in which there would be none."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.errors import DispatchError, UsageError
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.outcome import State
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.targets import (
    check_session_of_id,
    hosts_of,
    may_be_any_vm,
)


class Hosts:
    """An inventory of three VMs; ``allowed`` are those that --limit leaves."""

    groups = {"opencode": ["home", "macmini", "epyc6"], "default_vm": ["epyc6"]}

    def __init__(self, *names: str, allowed: tuple[str, ...] | None = None) -> None:
        self._names = list(names)
        self._allowed = names if allowed is None else allowed

    def all(self) -> list[str]:
        return self._names

    def matching(self, pattern: str) -> list[str]:
        return [name for name in self._names if name in self.groups.get(pattern, [pattern])]

    def limited(self, pattern: str) -> list[str]:
        return [name for name in self.matching(pattern) if name in self._allowed]


FLEET = ("home", "macmini", "epyc6")


@pytest.mark.parametrize(
    ("request_", "located", "hosts"),
    [
        ({}, [], ["epyc6"]),
        ({}, ["macmini"], ["macmini"]),
        ({"target": "macmini"}, [], ["macmini"]),
        ({"target": "opencode"}, [], ["home", "macmini", "epyc6"]),
        ({"target": "epyc6", "any_vm": True}, ["macmini"], ["macmini"]),
        ({"target": ""}, [], ["epyc6"]),
    ],
)
def test_the_hosts_of_a_run(request_: dict[str, Any], located: list[str], hosts: list[str]) -> None:
    assert hosts_of(request_, located, Hosts(*FLEET)) == hosts


@pytest.mark.parametrize(
    ("request_", "inventory", "reason"),
    [
        ({}, Hosts(), "no_vm"),
        ({"target": "epyc6"}, Hosts(), "no_vm"),
        ({}, Hosts("home"), "no_default_vm"),
        ({"target": "nosuch"}, Hosts(*FLEET), "unknown_vm"),
        ({"target": "macmini"}, Hosts(*FLEET, allowed=("home",)), "limited_away"),
    ],
)
def test_a_run_on_no_host_is_an_error(request_: dict[str, Any], inventory: Hosts, reason: str) -> None:
    with pytest.raises(UsageError) as caught:
        hosts_of(request_, [], inventory)
    assert caught.value.reason_code == reason
    assert caught.value.next_action


@pytest.mark.parametrize(
    ("request_", "has_dispatch", "hosts"),
    [
        ({"id": "d1"}, "macmini", ["macmini"]),
        ({"id": "d1", "target": "epyc6", "any_vm": True}, "macmini", ["macmini"]),
        ({"id": "d1", "target": "macmini"}, "macmini", ["macmini"]),
        ({"id": "d1", "target": "epyc6"}, None, ["epyc6"]),
        ({"id": "d1"}, None, ["epyc6"]),
        ({"id": "d1", "target": "opencode"}, "macmini", ["home", "macmini", "epyc6"]),
    ],
)
def test_an_id_is_found_on_the_vm_that_has_it(
    request_: dict[str, Any], has_dispatch: str | None, hosts: list[str]
) -> None:
    assert hosts_of(request_, [], Hosts(*FLEET), has_dispatch=has_dispatch) == hosts


def test_an_id_belongs_to_one_vm() -> None:
    with pytest.raises(DispatchError, match="the dispatch d1 is on macmini") as caught:
        hosts_of({"id": "d1", "target": "epyc6"}, [], Hosts(*FLEET), has_dispatch="macmini")
    assert (caught.value.reason_code, caught.value.state) == ("id_elsewhere", State.REFUSED)
    assert caught.value.next_action == "dx-dispatch macmini --id d1"


def test_an_id_belongs_to_one_session() -> None:
    check_session_of_id("d1", "macmini", "ses_1", "ses_1")
    with pytest.raises(DispatchError, match="the dispatch d1 is in session ses_1 of macmini") as caught:
        check_session_of_id("d1", "macmini", "ses_2", "ses_1")
    assert (caught.value.reason_code, caught.value.state) == ("id_elsewhere", State.REFUSED)
    assert caught.value.next_action == "dx-dispatch macmini --id d1 --session ses_1"


def test_a_limit_leaves_some_of_a_group() -> None:
    assert hosts_of({"target": "opencode"}, [], Hosts(*FLEET, allowed=("home",))) == ["home"]


@pytest.mark.parametrize(
    ("request_", "any_vm"),
    [
        ({}, True),
        ({"any_vm": True}, True),
        ({"target": "epyc6"}, False),
        ({"target": "epyc6", "any_vm": True}, True),
        ({"target": "epyc6", "any_vm": "yes"}, True),
        ({"target": "epyc6", "any_vm": "false"}, False),
        ({"target": "epyc6", "any_vm": None}, False),
    ],
)
def test_a_run_that_names_no_vm_goes_where_its_bead_is(request_: dict[str, Any], any_vm: bool) -> None:
    assert may_be_any_vm(request_) is any_vm
