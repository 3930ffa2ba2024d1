#!/usr/bin/python
# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: dispatch_worktree
short_description: Make the worktree of a dispatch, and let go of it
version_added: 0.1.0
author: dx.fleet contributors (@dx-fleet)
description:
  - Decides whether a dispatch works in a worktree of its own (with a bead, a branch, C(expect_changes), C(push), or
    where the repo's policy says V(always)), on which branch and where, and makes it on the VM with
    M(dx.fleet.git_worktree). Otherwise the task is skipped.
  - A VM that Ansible does not reach, or on which the worktree can't be made, is refused before anything is sent.
extends_documentation_fragment:
  - dx.fleet.request
  - dx.fleet.attributes.on_host
  - dx.fleet.connection
options:
  worktrees_root:
    description:
      - The folder on the VM that holds worktrees. By default, it is in the data folder of the server's user.
      - Default is the host variable C(dx_worktrees_root).
    type: str
  plan:
    description: What M(dx.fleet.opencode_dispatch) returned in check mode, whole.
    type: dict
    default: {}
  claim:
    description: What M(dx.fleet.beads_claim) returned, whole.
    type: dict
    default: {}
  worktree:
    description: With O(state=released), what this module returned, whole.
    type: dict
    default: {}
  sent:
    description: With O(state=released), what M(dx.fleet.opencode_dispatch) returned, whole.
    type: dict
    default: {}
  followed:
    description: With O(state=released), what M(dx.fleet.opencode_wait) returned, whole.
    type: dict
    default: {}
  verified:
    description: With O(state=released), what M(dx.fleet.dispatch_verify) returned, whole.
    type: dict
    default: {}
  state:
    description:
      - V(present) makes the worktree, or finds it, and locks it with the id of the dispatch.
      - V(released) unlocks it, once nobody works there any more. It stays for a new try, or till it is removed.
    type: str
    choices: [present, released]
    default: present
  repos:
    description:
      - Directory on the VM of each repository, by its name.
      - Default is the host variable C(opencode_repos).
    type: dict
    default: {}
  repos_root:
    description:
      - Directory on the VM that holds the repositories which O(repos) does not name.
      - Default is the host variable C(opencode_repos_root).
    type: str
seealso:
  - module: dx.fleet.git_worktree
  - module: dx.fleet.dispatch_verify
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
path:
  description: The directory of the worktree, links resolved. The other values are those of M(dx.fleet.git_worktree).
  returned: where the dispatch has a worktree
  type: str
  sample: /home/feng/.local/share/dx-fleet/worktrees/affordabot-5f2c11d0/dx-bd-a1b2-91c4e0aa
repo:
  description: The directory of the clone.
  returned: where the dispatch has a worktree
  type: str
  sample: /home/feng/affordabot
worktrees_root:
  description: The folder that holds it.
  returned: where the dispatch has a worktree
  type: str
  sample: /home/feng/.local/share/dx-fleet/worktrees
dispatch:
  description: The dispatch that works there.
  returned: where the dispatch has a worktree
  type: str
  sample: bd-a1b2@1-k3v9
reason_code:
  description: Why it failed.
  returned: failure
  type: str
  sample: branch_in_use
next_action:
  description: What to do next.
  returned: failure
  type: str
  sample: name another branch, or end the work there
outcome:
  description: The failure as an outcome.
  returned: failure
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dx.fleet.plugins.module_utils.specs import WORKTREE_STEP


def main() -> None:
    """Say where the work is done; the action plugin of the same name does it."""
    module = AnsibleModule(argument_spec=WORKTREE_STEP, supports_check_mode=True)
    module.fail_json(msg="dx.fleet.dispatch_worktree: this runs on the controller, as an action plugin")


if __name__ == "__main__":
    main()
