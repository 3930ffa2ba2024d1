#!/usr/bin/python
# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: worktree_reap
short_description: Remove the worktrees of dispatches that ended
version_added: 0.1.0
author: dx.fleet contributors (@dx-fleet)
description:
  - Looks at every worktree on the host, and removes those that nobody has used for longer than C(keep_worktrees) days of
    their repo in the endpoints file (14 where it says nothing).
  - A worktree is left alone while a session or a process works in it, while a bead is worked on in it, while a person
    has locked it, and while the OpenCode server of the host can't be asked.
  - Its branch stays. What is in no commit, and commits that are nowhere else, are kept under a rescue ref, as
    M(dx.fleet.git_worktree) does it.
  - What a run of C(dx-fleet test) left that was interrupted, and what was only half made, goes after O(ttl).
extends_documentation_fragment:
  - dx.fleet.connection
  - dx.fleet.action_group
attributes:
  action:
    description: Indicates this has a corresponding action plugin so some parts of the options can be executed on
      the controller.
    support: full
    details:
      - The action decides on the controller what is done; modules do it on the host, over its own connection.
  async:
    description: Supports being used with the C(async) keyword.
    support: none
    details:
      - Parts of it run on the controller.
  check_mode:
    description: Can run in C(check_mode) and return changed status prediction without modifying target.
    support: full
    details:
      - Says what would become of each.
  diff_mode:
    description: Will return details on what has changed (or possibly needs changing in C(check_mode)), when in
      diff mode.
    support: none
  idempotent:
    description: When run twice in a row outside check mode, with the same arguments, the second invocation
      indicates no change.
    support: full
options:
  claims:
    description:
      - What M(dx.fleet.beads_reap) returned. Without it, a worktree that the dispatch of a bead has locked is left alone.
    type: list
    elements: dict
  ttl:
    description: How many seconds a worktree stays that an interrupted run left, after its last use.
    type: float
    default: 3600.0
  preflight_timeout:
    description: How many seconds a silent OpenCode server is waited for; its worktrees are then left alone.
    type: float
    default: 5.0
  policies:
    description:
      - What holds for each repo, by name. Default is the host variable C(dx_repos), which the inventory plugin
        P(dx.fleet.vm_endpoints#inventory) sets.
    type: dict
    default: {}
  repos:
    description:
      - The directory of each repo on the host, by name. Default is the host variable C(opencode_repos).
    type: dict
    default: {}
  worktrees_root:
    description:
      - The folder of worktrees on the host. Default is the host variable C(dx_worktrees_root).
    type: str
seealso:
  - module: dx.fleet.beads_reap
  - module: dx.fleet.git_worktree
  - module: dx.fleet.git_worktree_info
"""

EXAMPLES = r"""
- name: Tidy up once a day
  hosts: opencode
  gather_facts: false
  tasks:
    - name: End the claims that nobody works on
      dx.fleet.beads_reap:
      delegate_to: localhost
      run_once: true
      register: reaped

    - name: Remove the worktrees that nobody needs any more
      dx.fleet.worktree_reap:
        claims: "{{ reaped.claims }}"
"""

RETURN = r"""
worktrees:
  description: Every worktree, with what became of it.
  returned: always
  type: list
  elements: dict
  contains:
    vm:
      description: The host.
      type: str
      sample: epyc6
    path:
      description: Its directory.
      type: str
    repo:
      description: The main checkout of its clone.
      type: str
    branch:
      description: Its branch.
      type: str
    dispatch:
      description: The dispatch that had it locked.
      type: str
    unused_s:
      description: Seconds since its last use.
      type: float
    became:
      description: V(kept) or V(ended).
      type: str
      sample: ended
    found:
      description: Why, or where what was in it is now.
      type: str
      sample: its branch dx/bd-a1b2 keeps its commits
    rescue_refs:
      description: The refs that keep what was only in it.
      type: list
      elements: str
    summary:
      description: All that in one line.
      type: str
not_looked_at:
  description: Why the host's worktrees were all left alone; else null.
  returned: always
  type: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dx.fleet.plugins.module_utils.specs import WORKTREE_REAP


def main() -> None:
    """Say where the work is done; the action plugin of the same name does it."""
    module = AnsibleModule(argument_spec=WORKTREE_REAP, supports_check_mode=True)
    module.fail_json(msg="dx.fleet.worktree_reap: this runs on the controller, as an action plugin")


if __name__ == "__main__":
    main()
