# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""OpenCode answers where the inventory says, at its pinned version, on the machine that the inventory means.

Against a live fleet: ``pytest tests/infra --fleet inventory/fleet.yml``.
"""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from testinfra.backend.local import LocalBackend
from testinfra.host import Host

Hosts = dict[str, Host]


def variables(host: Host) -> dict[str, Any]:
    found: dict[str, Any] = host.ansible.get_variables()
    return found


def ask(host: Host, route: str, /, **params: str) -> Any:
    """The JSON that the host's OpenCode server answers with."""
    of_host = variables(host)
    password = os.environ.get(of_host.get("opencode_password_env", ""))
    answer = httpx.get(
        of_host["opencode_url"] + route,
        params=params,
        auth=httpx.BasicAuth(of_host.get("opencode_username", "opencode"), password) if password else None,
        timeout=30,
        trust_env=False,
    )
    return answer.raise_for_status().json()


def test_the_fleet_has_machines(hosts: Hosts) -> None:
    assert hosts


def test_opencode_answers_at_its_pinned_version(hosts: Hosts) -> None:
    found = {name: ask(host, "/global/health") for name, host in hosts.items()}
    pinned = {
        name: {"healthy": True, "version": variables(host)["opencode_version"]}
        for name, host in hosts.items()
    }
    assert found == pinned


def test_opencode_is_reachable_from_its_own_machine(hosts: Hosts) -> None:
    for host in hosts.values():
        url = urlsplit(variables(host)["opencode_url"])
        assert host.addr(url.hostname).port(url.port or 80).is_reachable


def test_opencode_runs_on_the_machine_that_the_inventory_means(hosts: Hosts) -> None:
    """Its home, as it lists it, is a directory there with the same names in it."""
    for host in hosts.values():
        home = ask(host, "/path")["home"]
        told = {entry["name"] for entry in ask(host, "/file", path=".", directory=home)}
        assert host.file(home).is_directory
        assert told
        assert all(host.file(f"{home}/{name}").exists for name in told)


def test_git_is_there(hosts: Hosts) -> None:
    for host in hosts.values():
        assert host.run("git --version").succeeded


@pytest.mark.usefixtures("no_detour")
def test_a_command_takes_the_direct_way(hosts: Hosts) -> None:
    for host in hosts.values():
        assert host.run("echo %s", "here").stdout == "here\n"


def test_a_local_machine_has_a_local_connection(hosts: Hosts) -> None:
    local = [host for host in hosts.values() if "local" in variables(host)["group_names"]]
    for host in local:
        name = host.backend.host
        assert isinstance(host.backend.ansible_runner.get_host(name).backend, LocalBackend)
