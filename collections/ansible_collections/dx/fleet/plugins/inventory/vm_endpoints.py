# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: vm_endpoints
short_description: The machines of a vm-endpoints file
version_added: 0.1.0
author: dx.fleet contributors (@dx-fleet)
description:
  - Turns a C(vm-endpoints.json) file into inventory hosts, one per VM, which is the host's name.
  - Each host has the variables C(ansible_host), C(ansible_user) and C(ansible_port) (from C(ssh)), or
    C(ansible_connection=local) where C(local) is true, or P(dx.fleet.no_files#connection) where there is neither;
    C(opencode_url), C(opencode_transport),
    C(opencode_enabled); and, where they are set, C(opencode_password_env), C(opencode_repos),
    C(opencode_repos_root), C(opencode_max_concurrent), C(opencode_description), C(dx_worktrees_root).
  - All hosts have C(dx_repos), where the file has C(repos) - a dictionary from the name of a repo to its
    C(verify), C(report), C(verify_timeout), C(base), C(worktree), C(push), C(close_on) and C(counts). What is not
    set has its default, or is null. None of its text is a template.
  - All hosts have C(dx_answer_policy), where the file has C(answer_policy) - the rules of
    O(dx.fleet.opencode_wait#module:answer_policy). None of their text is a template.
  - Hosts with an SSH connection are in the group C(remote), whose variables make a module cost one SSH session -
    C(ansible_pipelining), C(ansible_ssh_args) with a connection that stays open and is kept alive,
    C(ansible_control_path_dir) with a short path (C(ansible_control_path) is each host's own), and C(ansible_python_interpreter). Group or host variables of
    your own go before them.
  - All hosts have C(dx_tracker), C(dx_beads_dir), C(dx_single_orchestrator), C(slack_audit_channel) and
    C(slack_users), where the file has C(tracker), C(beads_dir), C(single_orchestrator), C(slack_audit_channel) and
    C(slack_users).
  - Groups are C(opencode) (every enabled VM), C(disabled), C(local), C(remote), C(default_vm), and one of each
    alias's name, so that C(--limit) takes an alias.
  - Group names that are host names have dashes and dots; set C(force_valid_group_names = ignore) in
    C(ansible.cfg) to have no warning of it.
extends_documentation_fragment:
  - ansible.builtin.constructed
options:
  plugin:
    description: Names this plugin. A vm-endpoints file may also be an inventory source itself.
    required: true
    choices: [dx.fleet.vm_endpoints]
  endpoints:
    description:
      - The vm-endpoints file; a relative path starts at the folder of the inventory source.
      - Without it, the file is E(DX_VM_ENDPOINTS), else C(~/.agent-skills/vm-endpoints.json), else
        C(vm-endpoints.json) beside the inventory source.
    type: str
"""

EXAMPLES = r"""
# inventory/fleet.yml
plugin: dx.fleet.vm_endpoints

# Another file, and groups of one's own
# plugin: dx.fleet.vm_endpoints
# endpoints: ../work/vm-endpoints.json
# keyed_groups:
#   - key: ansible_user
#     prefix: user
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleParserError
from ansible.plugins.inventory import BaseInventoryPlugin, Constructable
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.errors import FleetError

try:
    from ansible_collections.dx.fleet.plugins.plugin_utils.config.endpoints import endpoints_of, load_fleet
    from ansible_collections.dx.fleet.plugins.plugin_utils.config.folders import runtime_folder
    from ansible_collections.dx.fleet.plugins.plugin_utils.domain.fleet import GROUPS, VM, Fleet

    MISSING_LIBRARY: ImportError | None = None
except ImportError as error:
    MISSING_LIBRARY = error


# A connection ends five minutes after its last use, however a run ended; the way to a server may lead through
# it, and keeps it open (OpenSSH 9.2). One that died is noticed within a minute.
SSH_ARGS = (
    "-o ControlMaster=auto -o ControlPersist=300 -o ServerAliveInterval=15 -o ServerAliveCountMax=3"
    " -o StreamLocalBindUnlink=yes"
)


class InventoryModule(BaseInventoryPlugin, Constructable):  # type: ignore[misc]
    NAME = "dx.fleet.vm_endpoints"

    # The file is the operator's own. Untrusted strings would reach other readers of the inventory (such as
    # testinfra) wrapped as {"__ansible_unsafe": ...}.
    trusted_by_default = True

    def verify_file(self, path: str) -> bool:
        if not super().verify_file(path):
            return False
        return path.endswith((".yml", ".yaml")) or _is_endpoints_file(Path(path))

    def parse(self, inventory: Any, loader: Any, path: str, cache: bool = True) -> None:
        super().parse(inventory, loader, path, cache)
        if MISSING_LIBRARY is not None:
            raise AnsibleParserError(f"dx.fleet.vm_endpoints needs pydantic: {MISSING_LIBRARY}")
        try:
            fleet = load_fleet(self._endpoints(Path(path)))
        except FleetError as error:
            raise AnsibleParserError(f"{error.message}. Next: {error.next_action}") from error
        self._add_groups()
        for name, value in _fleet_variables(fleet).items():
            self.inventory.set_variable("all", name, value)
        for name, value in _ssh_variables().items():
            self.inventory.set_variable("remote", name, value)
        # Not through the inventory, which would make its text templates: a command may hold {{ }}.
        if fleet.repos:
            self.inventory.groups["all"].set_variable("dx_repos", fleet.policies())
        if fleet.answer_policy.rules:
            self.inventory.groups["all"].set_variable("dx_answer_policy", fleet.answer_policy.as_list())
        for vm in fleet.vms:
            self._add_host(fleet, vm)

    def _endpoints(self, source: Path) -> Path:
        if _is_endpoints_file(source):
            self.set_options(direct={"plugin": self.NAME})
            return source
        self._read_config_data(str(source))
        return endpoints_of(source, os.environ)

    def _add_groups(self) -> None:
        for group in GROUPS:
            self.inventory.add_group(group)

    def _add_host(self, fleet: Fleet, vm: VM) -> None:
        self.inventory.add_host(vm.name, group="opencode" if vm.enabled else "disabled")
        if vm.local or vm.ssh_host is not None:
            self.inventory.add_child("local" if vm.local else "remote", vm.name)
        if fleet.default_vm is not None and fleet.default() is vm:
            self.inventory.add_child("default_vm", vm.name)
        for alias in fleet.unambiguous_aliases(vm):
            self.inventory.add_child(self.inventory.add_group(alias), vm.name)
        for name, value in _variables(vm).items():
            self.inventory.set_variable(vm.name, name, value)
        self._construct(vm.name)

    def _construct(self, host: str) -> None:
        strict = self.get_option("strict")
        variables = self.inventory.get_host(host).get_vars()
        self._set_composite_vars(self.get_option("compose"), variables, host, strict=strict)
        self._add_host_to_composed_groups(self.get_option("groups"), variables, host, strict=strict)
        self._add_host_to_keyed_groups(self.get_option("keyed_groups"), variables, host, strict=strict)


def _fleet_variables(fleet: Fleet) -> dict[str, Any]:
    variables = {
        "dx_tracker": fleet.find(fleet.tracker).name if fleet.tracker is not None else None,
        "dx_beads_dir": fleet.beads_dir,
        "dx_single_orchestrator": fleet.single_orchestrator or None,
        "slack_audit_channel": fleet.slack_audit_channel,
        "slack_users": {user: list(verbs) for user, verbs in fleet.slack_users.items()} or None,
    }
    return {name: value for name, value in variables.items() if value is not None}


def _ssh_variables() -> dict[str, Any]:
    return {
        "ansible_pipelining": True,
        "ansible_ssh_args": SSH_ARGS,
        "ansible_control_path_dir": str(runtime_folder(os.environ)),
        # By the PATH of the VM. To look for the best one would cost a session of its own in each run.
        "ansible_python_interpreter": "python3",
    }


def _connection(vm: VM) -> dict[str, Any]:
    if vm.local:
        return {"ansible_connection": "local", "ansible_python_interpreter": "{{ ansible_playbook_python }}"}
    if vm.ssh_host is None:  # never local: its files are not those of this machine
        return {"ansible_connection": "dx.fleet.no_files", "ansible_python_interpreter": "python3"}
    return {
        "ansible_host": vm.ssh_host,
        "ansible_user": vm.ssh_user,
        "ansible_port": vm.ssh_port,
        "ansible_control_path": f"%(directory)s/{_name_of_connection(vm)}",
    }


def _variables(vm: VM) -> dict[str, Any]:
    variables = _connection(vm) | {
        "opencode_url": vm.url,
        "opencode_transport": vm.transport,
        "opencode_aliases": list(vm.aliases),
        "opencode_enabled": vm.enabled,
        "opencode_max_concurrent": vm.max_concurrent,
        "opencode_repos": dict(vm.repos),
        "opencode_repos_root": vm.repos_root,
        "opencode_password_env": vm.password_env,
        "opencode_description": vm.description,
        "dx_worktrees_root": vm.worktrees_root,
    }
    return {name: value for name, value in variables.items() if value not in (None, {})}


def _name_of_connection(vm: VM) -> str:
    """The file name of the SSH connection's socket: short, and one for each destination."""
    return hashlib.sha256(f"{vm.ssh_user}@{vm.ssh_host}:{vm.ssh_port}".encode()).hexdigest()[:16]


def _is_endpoints_file(path: Path) -> bool:
    """By its name, so that a broken one is reported and not passed over; else by its top-level key."""
    if path.suffix != ".json":
        return False
    if path.name == "vm-endpoints.json":
        return True
    try:
        data = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(data, dict) and "vms" in data
