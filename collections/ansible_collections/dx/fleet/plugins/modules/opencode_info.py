#!/usr/bin/python
# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: opencode_info
short_description: What the OpenCode server of a VM is doing
version_added: 0.1.0
author: dx.fleet contributors (@dx-fleet)
description:
  - Asks the OpenCode server of each host for its version, its sessions and what they do, and for the permissions
    and questions that wait for a person.
extends_documentation_fragment:
  - dx.fleet.connection
  - dx.fleet.connection.patience
  - dx.fleet.attributes
  - dx.fleet.action_group
attributes:
  check_mode:
    support: full
    details:
      - It changes nothing.
  idempotent:
    support: full
seealso:
  - module: dx.fleet.opencode_dispatch
  - module: dx.fleet.opencode_wait
"""

EXAMPLES = r"""
- name: Look at the whole fleet
  hosts: opencode
  gather_facts: false
  tasks:
    - name: Ask each server what it is doing
      dx.fleet.opencode_info:
      register: server

    - name: Show what waits for a person
      ansible.builtin.debug:
        msg: "{{ server.permissions + server.questions }}"
      when: server.session_counts.needs_input > 0
"""

RETURN = r"""
url:
  description: Base URL of the server.
  returned: success
  type: str
  sample: http://epyc6.tail76761.ts.net:4105
version:
  description: Version of OpenCode that the server runs.
  returned: success
  type: str
  sample: 1.18.33
transport:
  description: The way on which the server was reached, V(http) (its port directly) or V(ssh).
  returned: success
  type: str
  sample: http
home:
  description: Home directory of the user that the server runs as.
  returned: success
  type: str
  sample: /home/feng
sessions:
  description:
    - The newest hundred sessions of all directories, and all that took a step within a day of these, newest first.
      Those of subagents are left out.
  returned: success
  type: list
  elements: dict
  sample:
    - session: ses_dx-01J9ZK3V4N8Q5W2X7Y6T1R0PMA-5d1f0b2c9a34
      state: busy
      title: Run make test
      directory: /home/feng/affordabot
      dispatch: 01J9ZK3V4N8Q5W2X7Y6T1R0PMA
      created: 1795336213821.0
      cost: 0.0006
      why: null
  contains:
    session:
      description: Id of the session.
      type: str
    state:
      description: >-
        V(busy), V(retry) (the model failed and will be tried again), V(needs_input), V(idle), or V(unreadable)
        where OpenCode can't open its directory. A session is busy while one of its subagents is.
      type: str
    title:
      description: Its title.
      type: str
    directory:
      description: The directory in which it works.
      type: str
    dispatch:
      description: Id of the dispatch that made it, or null.
      type: str
    created:
      description: When it was made, in milliseconds since the epoch.
      type: float
    cost:
      description: What it and its subagents cost so far, in US dollars.
      type: float
    why:
      description: What is wrong with its directory where it is V(unreadable), else null.
      type: str
session_counts:
  description: How many of RV(sessions) are in each state.
  returned: success
  type: dict
  sample: {busy: 1, retry: 0, needs_input: 0, idle: 12, unreadable: 0}
permissions:
  description: The permissions that busy sessions wait for, as OpenCode tells them, with their directory.
  returned: success
  type: list
  elements: dict
  sample:
    - directory: /home/feng/affordabot
      id: per_20260104
      session: ses_dx-01J9ZK3V4N8Q5W2X7Y6T1R0PMA-5d1f0b2c9a34
      permission: external_directory
      patterns: [/etc/*]
      metadata: {}
questions:
  description: The questions that busy sessions wait to have answered, with their directory.
  returned: success
  type: list
  elements: dict
  sample:
    - directory: /home/feng/affordabot
      id: que_20260104
      session: ses_dx-01J9ZK3V4N8Q5W2X7Y6T1R0PMA-5d1f0b2c9a34
      questions:
        - question: Which environment?
          options: [{label: staging}, {label: production}]
reason_code:
  description: Why the server can't be asked, as a stable name.
  returned: failure
  type: str
  sample: connection_refused
next_action:
  description: What to do, or the command to run, next.
  returned: failure
  type: str
  sample: "start the server on epyc6: opencode serve --hostname ADDRESS --port 4105"
outcome:
  description: The failure as an outcome, as of M(dx.fleet.opencode_wait).
  returned: failure
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dx.fleet.plugins.module_utils.specs import INFO


def main() -> None:
    """Say where the work is done; the action plugin of the same name does it."""
    module = AnsibleModule(argument_spec=INFO, supports_check_mode=True)
    module.fail_json(msg="dx.fleet.opencode_info: this runs on the controller, as an action plugin")


if __name__ == "__main__":
    main()
