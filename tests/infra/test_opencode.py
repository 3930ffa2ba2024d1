# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""OpenCode answers where the inventory says, at its pinned version, on the machine that the inventory means.

Against a live fleet: ``pytest tests/infra --fleet inventory/fleet.yml``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

import httpx
import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.opencode.versions import is_supported
from ansible_collections.dx.fleet.plugins.plugin_utils.text.urls import is_loopback
from testinfra.backend.local import LocalBackend
from testinfra.host import Host

from .machine import Listener, is_exposed, listeners

Hosts = dict[str, Host]


def variables(host: Host) -> dict[str, Any]:
    found: dict[str, Any] = host.ansible.get_variables()
    return found


def ask(host: Host, route: str, /, **params: str) -> Any:
    """The JSON that the host's OpenCode server answers with; from the host itself where only that reaches it."""
    of_host = variables(host)
    password = os.environ.get(of_host.get("opencode_password_env", ""))
    url = of_host["opencode_url"] + route
    if is_only_its_own(of_host):
        if password:
            pytest.skip("a password would have to go to the host to ask the server from there")
        return json.loads(host.check_output("curl -fsS --max-time 30 %s", f"{url}?{urlencode(params)}"))
    answer = httpx.get(
        url,
        params=params,
        auth=httpx.BasicAuth(of_host.get("opencode_username", "opencode"), password) if password else None,
        timeout=30,
        trust_env=False,
    )
    return answer.raise_for_status().json()


def is_only_its_own(of_host: Mapping[str, Any]) -> bool:
    """Whether the server's URL is the loopback of a host that is another machine."""
    is_remote = "remote" in of_host["group_names"] and not is_loopback(f"ssh://{of_host['ansible_host']}")
    return is_remote and is_loopback(of_host["opencode_url"])


def listening(host: Host) -> list[Listener]:
    """Who listens at the port of the host's server, at any address that its URL can mean there."""
    url = urlsplit(variables(host)["opencode_url"])
    meant = {*host.addr(url.hostname).ip_addresses, "0.0.0.0", "::", "*"}
    return [each for each in listeners(host, url.port or 80) if each.address in meant]


def test_the_fleet_has_machines(hosts: Hosts) -> None:
    assert hosts


def test_opencode_answers_at_its_pinned_version(hosts: Hosts) -> None:
    found = {name: ask(host, "/global/health") for name, host in hosts.items()}
    pinned = {
        name: {"healthy": True, "version": variables(host)["opencode_version"]}
        for name, host in hosts.items()
    }
    assert found == pinned


def test_opencode_is_of_a_supported_version_the_same_on_every_machine(hosts: Hosts) -> None:
    found = {name: ask(host, "/global/health")["version"] for name, host in hosts.items()}
    assert all(is_supported(version) for version in found.values()), found
    assert len(set(found.values())) == 1, found


def test_opencode_listens_where_the_inventory_says_and_is_alone_there(hosts: Hosts) -> None:
    for name, host in hosts.items():
        found = listening(host)
        assert found, f"{name}: nobody listens"
        assert len({each.pid for each in found}) == 1, (name, found)


def test_a_server_that_other_machines_reach_wants_a_password(hosts: Hosts) -> None:
    for name, host in hosts.items():
        if is_exposed(listening(host)):
            answer = httpx.get(variables(host)["opencode_url"] + "/path", timeout=30, trust_env=False)
            assert answer.status_code == 401, name


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
        assert told <= set(host.check_output("ls -A %s", home).splitlines())


@pytest.mark.usefixtures("no_detour")
def test_a_command_takes_the_direct_way(hosts: Hosts) -> None:
    for host in hosts.values():
        assert host.run("echo %s", "here").stdout == "here\n"


def test_a_local_machine_has_a_local_connection(hosts: Hosts) -> None:
    local = [host for host in hosts.values() if "local" in variables(host)["group_names"]]
    for host in local:
        name = host.backend.host
        assert isinstance(host.backend.ansible_runner.get_host(name).backend, LocalBackend)
