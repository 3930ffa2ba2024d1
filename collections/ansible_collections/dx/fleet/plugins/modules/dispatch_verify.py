#!/usr/bin/python
# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: dispatch_verify
short_description: Judge the work of a dispatch by our own check, and push what passed
version_added: 0.1.0
author: dx.fleet contributors (@dx-fleet)
description:
  - Once the agent's turn is over, it runs the verify command on the VM with M(dx.fleet.verify_work), also where the agent
    failed or was stopped (what is there is evidence). Without a verify command the task is skipped.
  - The command is C(verify) of O(request), else that of the repo in O(policies); it never comes from the worktree.
  - Where the agent finished, the outcome becomes V(verified), V(failed), V(unverified) or V(no_op). Otherwise it stays what
    it was, with the evidence.
  - A verified branch is pushed where C(push) is asked for or the repo's policy says so, never by force.
  - The task fails unless the outcome is good.
extends_documentation_fragment:
  - dx.fleet.request
  - dx.fleet.attributes.on_host
options:
  claim:
    description: What M(dx.fleet.beads_claim) returned, whole.
    type: dict
    default: {}
  worktree:
    description: What M(dx.fleet.dispatch_worktree) returned, whole. Without it the work is where the session works.
    type: dict
    default: {}
  sent:
    description: What M(dx.fleet.opencode_dispatch) returned, whole.
    type: dict
    default: {}
  followed:
    description: What M(dx.fleet.opencode_wait) returned, whole.
    type: dict
    default: {}
seealso:
  - module: dx.fleet.verify_work
  - module: dx.fleet.dispatch_worktree
"""

EXAMPLES = r"""
- name: Work on a branch of its own, and believe only our own check
  hosts: epyc6
  gather_facts: false
  module_defaults:
    group/dx.fleet.dispatch:
      request: {repo: affordabot, branch: fix/total, verify: make test, id: fix-total-1, task: Add total}
  tasks:
    - name: Look whether it can be done
      dx.fleet.opencode_dispatch:
      check_mode: true
      register: plan

    - name: Make the worktree
      dx.fleet.dispatch_worktree:
        plan: "{{ plan }}"
      register: worktree

    - name: Send the task
      dx.fleet.opencode_dispatch:
        plan: "{{ plan }}"
        worktree: "{{ worktree }}"
      register: sent

    - name: Follow it
      dx.fleet.opencode_wait:
        sent: "{{ sent }}"
      register: followed

    - name: Verify the work
      dx.fleet.dispatch_verify:
        worktree: "{{ worktree }}"
        sent: "{{ sent }}"
        followed: "{{ followed }}"

    - name: Let others have the worktree
      dx.fleet.dispatch_worktree:
        state: released
        worktree: "{{ worktree }}"
        sent: "{{ sent }}"
        followed: "{{ followed }}"
"""

RETURN = r"""
outcome:
  description: What became of the dispatch, as RV(dx.fleet.opencode_wait#module:outcome), graded by the check.
  returned: where the check was due
  type: dict
unlocked:
  description: Whether the worktree was unlocked after the check.
  returned: where the check was due
  type: bool
  sample: true
reason_code:
  description: Why it failed.
  returned: failure
  type: str
  sample: tests_failed
next_action:
  description: What to do next.
  returned: failure
  type: str
  sample: dx-dispatch epyc6 affordabot 'Continue work' --session ses_abc123
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dx.fleet.plugins.module_utils.specs import VERIFY_STEP


def main() -> None:
    """Say where the work is done; the action plugin of the same name does it."""
    module = AnsibleModule(argument_spec=VERIFY_STEP, supports_check_mode=True)
    module.fail_json(msg="dx.fleet.dispatch_verify: this runs on the controller, as an action plugin")


if __name__ == "__main__":
    main()
