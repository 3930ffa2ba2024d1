# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An endpoints file as Ansible sees it: hosts, groups, variables, errors. It needs no server."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.command import Completed, run_ansible
from tests.lab.binaries import pinned_version
from tests.unit.endpoints_files import PLAIN, file_text


class Inventory:
    """An inventory source in a directory of its own, for a person with a home of their own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.home = root / "home"
        self.source = root / "inventory" / "fleet.yml"
        self.env = {"HOME": str(self.home)}
        self.home.mkdir()
        self.plugin()

    def plugin(self, **options: Any) -> None:
        """Have the source name the plugin, with these options."""
        self.source.parent.mkdir(exist_ok=True)
        self.source.write_text(yaml.safe_dump({"plugin": "dx.fleet.vm_endpoints", **options}))

    def write(self, path: str, data: Any) -> Path:
        """Write an endpoints file; text is written as it stands."""
        where = self.root / path
        where.parent.mkdir(parents=True, exist_ok=True)
        where.write_text(data if isinstance(data, str) else file_text(data))
        return where

    def run(
        self, *arguments: str, source: Path | None = None, env: Mapping[str, str] | None = None
    ) -> Completed:
        """Run ansible-inventory on it."""
        words = ("-i", str(source or self.source), *arguments)
        return run_ansible("ansible-inventory", *words, env={**self.env, **(env or {})})

    def listed(self, *arguments: str, **options: Any) -> dict[str, Any]:
        """What ``--list`` gives."""
        done = self.run("--list", *arguments, **options)
        assert done.code == 0, done.err
        assert "[WARNING]" not in done.err, done.err
        return done.document()

    def hosts(self, **options: Any) -> dict[str, dict[str, Any]]:
        """The hosts' variables."""
        found: dict[str, dict[str, Any]] = self.listed(**options)["_meta"]["hostvars"]
        return found


@pytest.fixture
def inventory(tmp_path: Path) -> Inventory:
    return Inventory(tmp_path)


def members(listed: dict[str, Any], group: str) -> list[str]:
    return sorted(listed.get(group, {}).get("hosts", []))


def test_the_file_that_users_have_makes_its_three_hosts(inventory: Inventory) -> None:
    inventory.write("home/.agent-skills/vm-endpoints.json", PLAIN)
    listed = inventory.listed()
    hosts = listed["_meta"]["hostvars"]
    assert set(hosts) == {"homedesktop", "macmini", "epyc6"}
    assert members(listed, "opencode") == ["epyc6", "homedesktop", "macmini"]
    assert members(listed, "local") == ["homedesktop"]
    assert members(listed, "remote") == ["epyc6", "macmini"]
    assert members(listed, "default_vm") == ["epyc6"]
    assert members(listed, "disabled") == []
    assert hosts["homedesktop"]["ansible_connection"] == "local"
    assert hosts["homedesktop"]["opencode_url"] == "http://localhost:4105"
    assert (hosts["macmini"]["ansible_user"], hosts["macmini"]["ansible_host"]) == ("fengning", "macmini")
    assert "ansible_connection" not in hosts["epyc6"]
    assert hosts["epyc6"]["opencode_url"] == "http://epyc6.tail76761.ts.net:4105"


def test_the_shipped_inventory_is_shown_as_a_graph_without_a_warning(tmp_path: Path) -> None:
    done = run_ansible("ansible-inventory", "--graph", env={"HOME": str(tmp_path)})
    assert (done.code, done.err) == (0, "")
    assert "@homedesktop-wsl:" in done.out
    assert {line.strip(" |-") for line in done.out.splitlines()} >= {
        "@opencode:",
        "@default_vm:",
        "homedesktop",
        "macmini",
        "epyc6",
    }


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Completed:
    """The shipped inventory, listed."""
    return run_ansible("ansible-inventory", "--list", env={"HOME": str(tmp_path_factory.mktemp("home"))})


def test_the_strings_are_plain_strings_to_other_readers(shipped: Completed) -> None:
    """Untrusted ones would be wrapped, and testinfra would take its slow way."""
    assert "__ansible_unsafe" not in shipped.out
    assert shipped.document()["_meta"]["hostvars"]["homedesktop"]["ansible_connection"] == "local"


def test_the_shipped_inventory_pins_the_version_that_the_lab_runs(shipped: Completed) -> None:
    assert shipped.document()["_meta"]["hostvars"]["epyc6"]["opencode_version"] == pinned_version()


@pytest.mark.parametrize(
    ("limit", "host"),
    [("homedesktop-wsl", "homedesktop"), ("default_vm", "epyc6"), ("macmini.tail76761.ts.net", "macmini")],
)
def test_a_limit_takes_a_name_an_alias_or_a_group(limit: str, host: str, tmp_path: Path) -> None:
    done = run_ansible("ansible", "all", "--list-hosts", "--limit", limit, env={"HOME": str(tmp_path)})
    assert done.code == 0, done.err
    assert done.out.split() == ["hosts", "(1):", host]
    assert "[WARNING]" not in done.err


def test_a_command_really_runs_on_the_local_vm_that_an_alias_means(tmp_path: Path) -> None:
    words = ("-m", "ansible.builtin.command", "-a", "echo here {{ opencode_url }}")
    done = run_ansible("ansible", "all", *words, "--limit", "homedesktop-wsl", env={"HOME": str(tmp_path)})
    assert done.code == 0, done.out + done.err
    assert done.out.startswith("homedesktop | CHANGED")
    assert done.out.endswith("here http://localhost:4105\n")


# -- the entries of a file --

VARIOUS = {
    "off": {"opencode": "http://off:1", "ssh": "off", "enabled": False},
    "a": {"opencode": "http://a:1", "ssh": None, "aliases": ["desk", "a2"]},
    "b": {"opencode": "http://b:1", "aliases": ["desk", "b2"]},
    "here": {"opencode": "http://here:1", "ssh": "me@here", "local": True},
    "there": {"opencode": "http://there:1", "ssh": "there"},
    "named": {"opencode": "http://named:1", "ssh": "me@named:2222", "worktrees_root": "~/work"},
    "full": {
        "opencode": "http://full:4105",
        "max_concurrent": 2,
        "repos": {"a": "/srv/a"},
        "repos_root": "~/r",
        "password_env": "PW",
        "description": "big",
    },
}


@pytest.fixture(scope="module")
def various(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A file with all of them, listed."""
    inventory = Inventory(tmp_path_factory.mktemp("inventory"))
    path = inventory.write("fleet.json", {"vms": VARIOUS})
    return inventory.listed(env={"DX_VM_ENDPOINTS": str(path), "XDG_RUNTIME_DIR": "/run/user/1"})


def test_a_disabled_vm_is_in_its_own_group_and_no_target(various: dict[str, Any]) -> None:
    assert members(various, "disabled") == ["off"]
    assert members(various, "opencode") == sorted(set(VARIOUS) - {"off"})
    assert various["_meta"]["hostvars"]["off"]["opencode_enabled"] is False


def test_an_ambiguous_alias_is_no_group(various: dict[str, Any]) -> None:
    assert "desk" not in various
    assert members(various, "a2") == ["a"]


def test_only_local_true_is_a_local_connection_and_without_ssh_there_is_none(various: dict[str, Any]) -> None:
    assert members(various, "local") == ["here"]
    assert members(various, "remote") == ["named", "off", "there"]
    hosts = various["_meta"]["hostvars"]
    assert hosts["a"]["ansible_connection"] == "dx.fleet.no_files"
    assert "ansible_user" not in hosts["there"]


def test_the_optional_keys_are_host_variables_and_absent_ones_are_not(various: dict[str, Any]) -> None:
    full = various["_meta"]["hostvars"]["full"]
    assert {name: value for name, value in full.items() if name.startswith("opencode_")} == {
        "opencode_url": "http://full:4105",
        "opencode_transport": "auto",
        "opencode_aliases": [],
        "opencode_enabled": True,
        "opencode_max_concurrent": 2,
        "opencode_repos": {"a": "/srv/a"},
        "opencode_repos_root": "~/r",
        "opencode_password_env": "PW",
        "opencode_description": "big",
    }


def test_a_host_by_ssh_has_a_connection_that_lasts_and_a_local_one_has_none(various: dict[str, Any]) -> None:
    named, here = (various["_meta"]["hostvars"][name] for name in ("named", "here"))
    assert (named["ansible_user"], named["ansible_host"], named["ansible_port"]) == ("me", "named", 2222)
    assert named["ansible_pipelining"] is True
    assert "ControlPersist=" in named["ansible_ssh_args"]
    assert named["ansible_control_path_dir"] == "/run/user/1/dx"
    assert named["dx_worktrees_root"] == "~/work"
    assert not {"ansible_pipelining", "ansible_ssh_args", "dx_worktrees_root"} & set(here)


def test_what_holds_for_a_repo_is_a_variable_of_every_host_and_its_text_is_no_template(
    inventory: Inventory, tmp_path: Path
) -> None:
    verify = "docker ps --format '{{ 1 + 1 }}'"
    inventory.write(
        "home/.agent-skills/vm-endpoints.json",
        {**PLAIN, "repos": {"affordabot": {"verify": verify, "counts": "none"}}},
    )
    done = run_ansible(
        "ansible",
        "homedesktop",
        "-i",
        str(inventory.source),
        "-m",
        "ansible.builtin.debug",
        "-a",
        "var=dx_repos",
        env=inventory.env,
    )
    assert done.code == 0, done
    assert json.loads(done.out.partition("=>")[2])["dx_repos"] == {
        "affordabot": {
            "verify": verify,
            "report": None,
            "verify_timeout": 1800.0,
            "base": None,
            "worktree": "auto",
            "push": False,
            "close_on": "verified",
            "counts": "none",
            "keep_worktrees": 14.0,
        }
    }


def test_variables_of_ones_own_go_before_those_of_the_connection(inventory: Inventory) -> None:
    path = inventory.write("fleet.json", {"vms": {"there": {"opencode": "http://there:1", "ssh": "there"}}})
    inventory.write("inventory/group_vars/remote.yml", "ansible_ssh_args: -v\n")
    there = inventory.hosts(env={"DX_VM_ENDPOINTS": str(path)})["there"]
    assert there["ansible_ssh_args"] == "-v"


def test_groups_and_variables_of_ones_own_can_be_constructed(inventory: Inventory) -> None:
    inventory.write("home/.agent-skills/vm-endpoints.json", PLAIN)
    inventory.plugin(
        keyed_groups=[{"key": "ansible_user", "prefix": "user"}],
        groups={"tailnet": "'.ts.net' in opencode_url"},
        compose={"opencode_port": "opencode_url | urlsplit('port')"},
    )
    listed = inventory.listed()
    assert members(listed, "user_feng") == ["epyc6"]
    assert members(listed, "tailnet") == ["epyc6", "macmini"]
    assert listed["_meta"]["hostvars"]["homedesktop"]["opencode_port"] == 4105


# -- where the file is --


def only_vm(inventory: Inventory, **options: Any) -> str:
    (name,) = inventory.hosts(**options)
    return name


def vm_called(name: str) -> dict[str, Any]:
    return {"vms": {name: {"opencode": f"http://{name}:1"}}}


def test_the_variable_goes_before_the_home_and_that_before_the_file_beside_the_source(
    inventory: Inventory,
) -> None:
    inventory.write("inventory/vm-endpoints.json", vm_called("beside"))
    assert only_vm(inventory) == "beside"
    inventory.write("home/.agent-skills/vm-endpoints.json", vm_called("home"))
    assert only_vm(inventory) == "home"
    named = inventory.write("named.json", vm_called("named"))
    assert only_vm(inventory, env={"DX_VM_ENDPOINTS": str(named)}) == "named"


def test_what_the_source_names_goes_before_all_and_begins_at_its_folder(inventory: Inventory) -> None:
    inventory.plugin(endpoints="../work/fleet.json")
    inventory.write("work/fleet.json", vm_called("work"))
    named = inventory.write("named.json", vm_called("named"))
    assert only_vm(inventory, env={"DX_VM_ENDPOINTS": str(named)}) == "work"


def test_an_endpoints_file_is_an_inventory_source_itself(inventory: Inventory) -> None:
    for name in ("vm-endpoints.json", "fleet.json"):
        assert only_vm(inventory, source=inventory.write(name, vm_called("itself"))) == "itself"


def test_other_inventories_still_work_beside_it(inventory: Inventory) -> None:
    inventory.write("home/.agent-skills/vm-endpoints.json", PLAIN)
    other = inventory.write("hosts.yml", "all: {hosts: {other: {ansible_connection: local}}}")
    done = inventory.run("--list", "-i", str(other))
    assert done.code == 0, done.err
    assert set(done.document()["_meta"]["hostvars"]) >= {"epyc6", "other"}


# -- errors --


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{\n  "vms": {\n    "a" {}\n  }\n}', "vm-endpoints.json:3:9: not JSON"),
        ('{"vms": {"a": {"opencode": 7}}}', "vm-endpoints.json: $.vms.a.opencode: "),
        ('{"vms": {"all": {"opencode": "http://a:1"}}}', "vm-endpoints.json: $.vms.all: "),
        (None, "no fleet is configured"),
    ],
    ids=["line and column", "JSON path", "name of a group", "no file"],
)
def test_an_error_names_the_place_and_what_to_do(inventory: Inventory, text: str | None, said: str) -> None:
    if text is not None:
        inventory.write("inventory/vm-endpoints.json", text)
    done = inventory.run("--list", env={"ANSIBLE_INVENTORY_UNPARSED_FAILED": "1"})
    assert done.code != 0
    told = " ".join(done.err.split())
    assert said in told
    assert "Next: " in told
    assert "Traceback" not in done.err


def test_a_broken_file_is_an_error_and_not_passed_over_as_another_plugins(inventory: Inventory) -> None:
    source = inventory.write("vm-endpoints.json", "[]")
    done = inventory.run("--list", source=source)
    assert "vm-endpoints.json: $: " in " ".join(done.err.split())
