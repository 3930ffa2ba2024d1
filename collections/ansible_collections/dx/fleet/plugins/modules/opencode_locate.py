#!/usr/bin/python
# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: opencode_locate
short_description: Find the VM that has a dispatch
version_added: 0.1.0
author: dx.fleet contributors (@dx-fleet)
description:
  - Asks the OpenCode servers of all hosts in the inventory's groups C(opencode) and C(disabled), at once, whether they have
    the session of a dispatch. One run of it, on whatever host, is enough.
  - The playbook C(dx.fleet.dispatch) uses it where a run is given an id, as an id belongs to one VM.
extends_documentation_fragment:
  - dx.fleet.attributes
  - dx.fleet.action_group
options:
  dispatch:
    description: Id of the dispatch.
    type: str
    required: true
  session:
    description: The session that it continues, where it began none of its own.
    type: str
  preflight_timeout:
    description: How many seconds a server that is silent is waited for.
    type: float
    default: 5.0
attributes:
  check_mode:
    support: full
    details:
      - It changes nothing.
  idempotent:
    support: full
seealso:
  - module: dx.fleet.opencode_dispatch
"""

EXAMPLES = r"""
- name: Find a dispatch
  hosts: default_vm
  gather_facts: false
  tasks:
    - name: Ask every server for it
      dx.fleet.opencode_locate:
        dispatch: 01J9ZK3V4N8Q5W2X7Y6T1R0PMA
      run_once: true
      register: found

    - name: Show where it is
      ansible.builtin.debug:
        var: found.vm
"""

RETURN = r"""
vm:
  description: The inventory host whose server has it; null where none of those that could be asked has.
  returned: success
  type: str
  sample: epyc6
elsewhere:
  description: The same, where that is not the host on which the task ran.
  returned: where it is on another host
  type: str
  sample: epyc6
silent:
  description: The hosts that could not be asked. There is a warning for each where the dispatch was not found.
  returned: success
  type: list
  elements: str
  sample: [macmini]
reason_code:
  description: Stable name of what went wrong.
  returned: failure
  type: str
  sample: bad_dispatch_id
next_action:
  description: What to do, or the command to run, next.
  returned: failure
  type: str
  sample: leave --id out to get a new one
outcome:
  description: The failure as an outcome, as of M(dx.fleet.opencode_wait).
  returned: failure
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dx.fleet.plugins.module_utils.specs import LOCATE


def main() -> None:
    """Say where the work is done; the action plugin of the same name does it."""
    module = AnsibleModule(argument_spec=LOCATE, supports_check_mode=True)
    module.fail_json(msg="dx.fleet.opencode_locate: this runs on the controller, as an action plugin")


if __name__ == "__main__":
    main()
