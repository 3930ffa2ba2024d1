# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: request
short_description: What a run of the playbook dx.fleet.dispatch is asked for
version_added: 0.1.0
author: dx.fleet contributors (@dx-fleet)
description:
  - Returns a dictionary with those of the variables below that are set for the host, and nothing for the others. The
    modules of the collection take it as their option C(request), and have the defaults.
  - It fails where a task was given as C(-e task=...) and Ansible has split it at its spaces. Give it as JSON.
  - C(task) - What the agent shall do. Without it, the text of the bead.
  - C(repo), C(directory) - Where to work. C(session) - The session to continue.
  - C(target) - The VM, or the group of VMs. Without it, the VM that works on the bead, else the default one.
  - C(any_vm) - Whether the VM that works on the bead will do although C(target) names another.
  - C(id) - What the dispatch is called.
  - C(bead) - The bead to work on. C(retry) - Work once more on a blocked one, with
    C(same_session) in the session of the try before. C(force) - Although it is
    not ready. C(takeover) - Although another orchestrator is at work. C(orchestrator) - Who dispatches. C(branch) -
    The git branch of the work.
  - C(worktree) - V(always) works in a worktree also without a bead or a branch, V(never) in none. C(verify) - The
    command that decides whether the work is good, instead of the repo's; C(no_verify) - None. C(expect_changes) - Work
    without a change is no work. C(push) - Push the branch once it is verified.
  - C(agent), C(model), C(title), C(permission) - As of M(dx.fleet.opencode_dispatch).
  - C(dx_timeout), or C(timeout); C(stall_timeout), C(max_cost), C(max_steps), C(server_grace) - As of
    M(dx.fleet.opencode_wait). C(preflight_timeout) - As of M(dx.fleet.opencode_dispatch).
  - C(dx_slack), C(dx_inventory) - What C(dx-dispatch) was given as C(--slack) and C(--inventory), for the command that
    a person should run next.
  - C(no_wait) - Return as soon as the task is sent.
"""

EXAMPLES = r"""
- name: Send what the run is asked for
  hosts: epyc6
  gather_facts: false
  tasks:
    - name: Send it
      dx.fleet.opencode_dispatch:
        request: "{{ lookup('dx.fleet.request') }}"
"""

RETURN = r"""
_raw:
  description: One dictionary.
  type: list
  elements: dict
"""

from typing import Any

from ansible import context
from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase
from ansible_collections.dx.fleet.plugins.plugin_utils.ansible_edge.extra_vars import check_whole
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.errors import FleetError
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.precedence import (
    REQUEST_NAMES,
    with_branch_found,
)

# Ansible warns of a variable that is called timeout. The others are names that a person may use for more.
_OTHER_NAMES = {
    "timeout": ("dx_timeout", "timeout"),
    "slack": ("dx_slack",),
    "inventory": ("dx_inventory",),
}


class LookupModule(LookupBase):  # type: ignore[misc]
    def run(
        self, terms: list[Any], variables: dict[str, Any] | None = None, **_: Any
    ) -> list[dict[str, Any]]:
        try:
            check_whole(context.CLIARGS.get("extra_vars") or ())
        except FleetError as error:
            raise AnsibleError(f"{error.message}. Next: {error.next_action}") from error
        known = variables or {}
        request = {}
        for name in REQUEST_NAMES:
            given = next((known[each] for each in _OTHER_NAMES.get(name, (name,)) if each in known), None)
            value = self._templar.template(given)
            if value is not None:
                request[name] = value
        hosts = known.get("hostvars") or {}
        found = (hosts.raw_get(host).get("dx_found") for host in hosts)
        located = next((each for each in found if each), {})
        return [dict(with_branch_found(request, located))]
