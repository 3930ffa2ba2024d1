# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: targets
short_description: The hosts on which a run of the playbook dx.fleet.dispatch works
version_added: 0.1.0
author: dx.fleet contributors (@dx-fleet)
description:
  - Returns the names of the hosts that the variable C(target) names; without it, the VM on which an earlier play found
    the bead to be worked on (C(dx_found), what M(dx.fleet.beads_claim) with C(state=located) returned).
  - A run that names no host and has no bead works on the group that the term names; its default is C(default_vm).
  - With C(id), without C(target), it is the VM on which an earlier play found the dispatch (C(dx_located), what
    M(dx.fleet.opencode_locate) returned). An id that another VM than C(target) has is refused.
  - It fails where there would be none, so that no run ends well without having done anything.
options:
  _terms:
    description: The host pattern of a run that names no host.
    type: list
    elements: str
    default: [default_vm]
"""

EXAMPLES = r"""
- name: Say where it would work
  hosts: "{{ query('dx.fleet.targets') }}"
  gather_facts: false
  tasks:
    - name: Say it
      ansible.builtin.debug:
        var: inventory_hostname
"""

RETURN = r"""
_list:
  description: Names of hosts.
  type: list
  elements: str
"""

from typing import Any

from ansible import context
from ansible.errors import AnsibleError
from ansible.inventory.manager import InventoryManager
from ansible.plugins.lookup import LookupBase
from ansible_collections.dx.fleet.plugins.plugin_utils.ansible_edge.extra_vars import check_whole
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.errors import FleetError
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.targets import DEFAULT, hosts_of


class LookupModule(LookupBase):  # type: ignore[misc]
    def run(self, terms: list[Any], variables: dict[str, Any] | None = None, **_: Any) -> list[str]:
        if context.CLIARGS.get("syntax"):  # no host is worked on, and there may be no inventory
            return terms or [DEFAULT]
        known = variables or {}
        request = {
            name: self._templar.template(known[name]) for name in ("target", "any_vm", "id") if name in known
        }
        try:
            check_whole(context.CLIARGS.get("extra_vars") or ())
            inventory = _Inventory(self._loader, known.get("groups") or {}, known.get("ansible_limit"))
            hostvars = known.get("hostvars") or {}
            return hosts_of(
                request,
                _found(hostvars, "dx_found", "elsewhere"),
                inventory,
                *terms[:1],
                has_dispatch=next(iter(_found(hostvars, "dx_located", "vm")), None),
            )
        except FleetError as error:
            raise AnsibleError(f"{error.message}. Next: {error.next_action}") from error


class _Inventory:
    """The hosts of a run's inventory, from its groups."""

    def __init__(self, loader: Any, groups: dict[str, list[str]], limit: str | None) -> None:
        self._manager = InventoryManager(loader, parse=False)
        self._all = list(groups.get("all", ()))
        for group, hosts in groups.items():
            self._manager.add_group(group)
            for host in hosts:
                self._manager.add_host(host, group=group)
        self._manager.subset(limit)

    def all(self) -> list[str]:
        return self._all

    def matching(self, pattern: str) -> list[str]:
        return [host.name for host in self._manager.get_hosts(pattern, ignore_limits=True)]

    def limited(self, pattern: str) -> list[str]:
        return [host.name for host in self._manager.get_hosts(pattern)]


def _found(hostvars: Any, variable: str, name: str) -> list[str]:
    """The VMs that an earlier play found, and registered in this variable under this name."""
    found = (hostvars.raw_get(host).get(variable) for host in hostvars)
    return [str(each[name]) for each in found if isinstance(each, dict) and each.get(name)]
