# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: fleet_test
short_description: What the playbook dx.fleet.fleet_test does on a host
version_added: 0.1.0
author: dx.fleet contributors (@dx-fleet)
description:
  - Returns a dictionary with the options of the modules that run the tests of a repo on the host, out of these
    variables of the run and of the host.
  - C(repo) - The repo. C(id) - What the run is called. C(command) - What runs the tests; without it, the C(verify) of
    the repo in C(dx_repos). C(report) - Where the command writes JUnit XML; without both, the C(report) of the repo.
    C(dx_timeout) - How long a run may take, in seconds. C(repeat) - How many runs.
  - C(opencode_repos), C(opencode_repos_root) - Where the clone is; else in the home of the user.
"""

EXAMPLES = r"""
- name: Show how the tests of a repo would be run
  hosts: opencode
  gather_facts: false
  vars: {repo: affordabot, id: by-hand}
  tasks:
    - name: Show it
      ansible.builtin.debug:
        msg: "{{ lookup('dx.fleet.fleet_test') }}"
"""

RETURN = r"""
_raw:
  description: One dictionary with C(directory), C(branch), C(command), C(report), C(counts), C(timeout) and C(runs).
  type: list
  elements: dict
"""

from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.errors import UsageError
from ansible_collections.dx.fleet.plugins.plugin_utils.fleet_test.plan import plan_of

_REQUEST = {
    "repo": "repo", "id": "id", "command": "command", "report": "report", "dx_timeout": "timeout",
    "repeat": "repeat",
}  # fmt: skip
_HOST = ("dx_repos", "opencode_repos", "opencode_repos_root")


class LookupModule(LookupBase):  # type: ignore[misc]
    def run(
        self, terms: list[Any], variables: dict[str, Any] | None = None, **_: Any
    ) -> list[dict[str, Any]]:
        known = variables or {}
        request = {
            option: self._templar.template(known[name]) for name, option in _REQUEST.items() if name in known
        }
        host = {name: self._templar.template(known[name]) for name in _HOST if name in known}
        try:
            return [plan_of({"id": "by-hand", **request}, host)]
        except UsageError as error:
            raise AnsibleError(f"{error.message}. Next: {error.next_action}") from error
