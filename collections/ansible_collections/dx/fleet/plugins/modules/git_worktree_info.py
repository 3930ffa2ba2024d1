#!/usr/bin/python
# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: git_worktree_info
short_description: The worktrees on a host, whose they are, and when they were last used
version_added: 0.1.0
author: dx.fleet contributors (@dx-fleet)
description:
  - Lists the worktrees that M(dx.fleet.git_worktree) has made on the host, of whichever clones.
attributes:
  check_mode:
    description: Can run in C(check_mode) and return changed status prediction without modifying target.
    support: full
    details:
      - It changes nothing.
  diff_mode:
    description: Will return details on what has changed (or possibly needs changing in C(check_mode)), when in diff mode.
    support: none
  idempotent:
    description: When run twice in a row outside check mode, with the same arguments, the second invocation indicates no change.
    support: full
  async:
    description: Supports being used with the C(async) keyword.
    support: full
options:
  worktrees_roots:
    description:
      - Folders that hold worktrees. C(dx-fleet/worktrees) in the user's data folder, E(XDG_DATA_HOME), else
        C(~/.local/share), is looked at in any case.
    type: list
    elements: path
    default: []
  timeout:
    description: Longest time of one call of C(git), in seconds.
    type: float
    default: 60.0
notes:
  - C(git) 2.31 or later is needed on the host.
seealso:
  - module: dx.fleet.git_worktree
  - module: dx.fleet.worktree_reap
"""

EXAMPLES = r"""
- name: Look at what agents have left
  hosts: opencode
  gather_facts: false
  tasks:
    - name: List the worktrees
      dx.fleet.git_worktree_info:
      register: there

    - name: Show which nobody has used for a week
      ansible.builtin.debug:
        msg: "{{ there.worktrees | selectattr('unused_s', 'gt', 604800) | map(attribute='path') }}"
"""

RETURN = r"""
worktrees:
  description: The worktrees, by path.
  returned: always
  type: list
  elements: dict
  sample:
    - path: /home/feng/.local/share/dx-fleet/worktrees/affordabot-5f2c11d0/dx-bd-a1b2-91c4e0aa
      worktrees_root: /home/feng/.local/share/dx-fleet/worktrees
      repo: /home/feng/affordabot
      branch: dx/bd-a1b2
      head: 45c48cce2e2d7fbdea1afc51c7c6ad26d1f8a3b4
      locked: dx-fleet dispatch bd-a1b2@1-k3v9
      dispatch: bd-a1b2@1-k3v9
      half_made: false
      unused_s: 7261.3
      processes: []
      problem: null
  contains:
    path:
      description: Its directory, links resolved.
      type: str
    worktrees_root:
      description: The folder of worktrees that it is in.
      type: str
    repo:
      description: The main checkout of its clone.
      type: str
    branch:
      description: Its branch; null where HEAD is detached.
      type: str
    head:
      description: Its commit.
      type: str
    locked:
      description: The reason of its lock, C("") for none given; null where it is not locked.
      type: str
    dispatch:
      description: The dispatch that has it locked.
      type: str
    half_made:
      description: Whether making or removing it was begun and did not end.
      type: bool
    unused_s:
      description: Seconds since C(git) or a lock of a dispatch changed anything of it.
      type: float
    processes:
      description: The processes whose working directory is in it.
      type: list
      elements: str
    problem:
      description: Why nothing more is known of a folder that looks like a worktree; else null.
      type: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dx.fleet.plugins.module_utils.git.errors import GitError
from ansible_collections.dx.fleet.plugins.module_utils.git.listing import listed
from ansible_collections.dx.fleet.plugins.module_utils.specs import GIT_WORKTREE_INFO


def main() -> None:
    """List them."""
    module = AnsibleModule(argument_spec=GIT_WORKTREE_INFO, supports_check_mode=True)
    try:
        result = listed(module.params, module.check_mode)
    except GitError as error:
        module.fail_json(**error.as_result())
    module.exit_json(**result)


if __name__ == "__main__":
    main()
