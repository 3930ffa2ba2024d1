#!/usr/bin/python
# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: git_worktree
short_description: Make, push and remove the git worktree of one branch
version_added: 0.1.0
author: dx.fleet contributors (@dx-fleet)
description:
  - Gives a piece of work a directory and a branch of its own beside the clone of a repository, so that any number
    of agents can work on it at once, and takes the directory away without losing anything.
  - All that is done to a repository is done under one lock per repository, and the result is read back, whatever
    the exit code of C(git) was. What an earlier run left behind that was killed or failed (a branch, a
    registration, half of the files) is put right first.
  - No hook of the repository runs in it. The branch has no upstream. Nothing is ever forced.
  - It runs on the host that has the clone, as the user who owns it, and needs nothing but Python and C(git) there.
attributes:
  check_mode:
    description: Can run in C(check_mode) and return changed status prediction without modifying target.
    support: full
    details:
      - Nothing is fetched, so what the remote has meanwhile is not known.
  diff_mode:
    description: Will return details on what has changed (or possibly needs changing in C(check_mode)), when in diff mode.
    support: full
  idempotent:
    description: When run twice in a row outside check mode, with the same arguments, the second invocation indicates no change.
    support: full
  async:
    description: Supports being used with the C(async) keyword.
    support: full
options:
  repo:
    description: The clone, or any directory in it, on the host.
    type: path
    required: true
  state:
    description:
      - V(present) makes the worktree, or finds it.
      - V(absent) removes it. What is only in it is kept under a rescue ref before; see RV(rescue_refs). Its branch
        stays, unless this module made it and no commit was made on it.
      - V(pushed) brings its commit to the branch of the same name at the remote. A branch there that has other
        commits is never overwritten.
    type: str
    choices: [present, absent, pushed]
    default: present
  branch:
    description:
      - The branch. A new one begins at O(base); one that is there, here or at the remote, is used as it is.
      - Needed with O(state=present), and elsewhere where there is no O(path).
    type: str
  path:
    description:
      - The directory of the worktree, below O(worktrees_root). A relative one begins there.
      - Default is one folder per clone, and in it one per branch.
    type: path
  base:
    description:
      - What a new branch begins at; a branch of the remote, a tag or a full commit id.
      - Default is the default branch of the remote, else C(HEAD) of the clone.
    type: str
  remote:
    description: Default is C(origin), else the only one there is.
    type: str
  worktrees_root:
    description:
      - The folder that holds worktrees. It must not be in a clone.
      - Default is C(dx-fleet/worktrees) in the user's data folder, E(XDG_DATA_HOME), else C(~/.local/share).
    type: path
  dispatch:
    description:
      - The dispatch that works there. While it does, the worktree is locked with its id; a worktree that is locked
        by another dispatch or by a person is refused.
    type: str
  ended_dispatches:
    description: Dispatches that are known to have ended. What one of them has locked is taken over.
    type: list
    elements: str
    default: []
  locked:
    description:
      - With O(state=present), whether the worktree is locked with O(dispatch). V(false) unlocks it, for a worktree
        that stays after its dispatch.
    type: bool
    default: true
  fetch:
    description:
      - Whether a new worktree begins with what the remote has now. A remote that does not answer is then an error.
      - Nothing is fetched for a worktree that is there, nor for a O(base) that is a full commit id and is here.
    type: bool
    default: true
  submodules:
    description: Whether submodules are fetched. Else RV(empty_submodules) names them.
    type: bool
    default: false
  delete_branch:
    description:
      - With O(state=absent), whether the branch is deleted too, if its commits are on a remote or under the rescue
        ref.
    type: bool
    default: false
  commit:
    description:
      - With O(state=pushed), the full id of the commit that was verified. Nothing is pushed if the worktree is at
        another one.
    type: str
  rescue_limit:
    description:
      - How many MiB of files that are in no commit a rescue ref takes at most. Beyond that a removal is refused.
      - Folders that bear the mark of a tool that makes them again do not count and are not kept; C(node_modules),
        virtual environments, C(__pycache__) and whatever has a C(CACHEDIR.TAG).
    type: int
    default: 512
  fetch_timeout:
    description: How long the remote may take for one fetch or push, in seconds.
    type: float
    default: 120.0
  lock_timeout:
    description: Longest wait for another process that works on the same repository, in seconds.
    type: float
    default: 300.0
  timeout:
    description: Longest time of any other call of C(git), in seconds.
    type: float
    default: 600.0
notes:
  - C(git) 2.31 or later is needed on the host.
  - Ended with an error, it says what stands in the way in RV(reason_code).
seealso:
  - module: dx.fleet.verify_work
"""

EXAMPLES = r"""
- name: Let an agent work on a branch of its own
  hosts: epyc6
  gather_facts: false
  tasks:
    - name: Make the worktree
      dx.fleet.git_worktree:
        repo: ~/affordabot
        branch: dx/bd-a1b2
        dispatch: bd-a1b2@1-k3v9
      register: worktree

    - name: Push what was verified
      dx.fleet.git_worktree:
        repo: ~/affordabot
        path: "{{ worktree.path }}"
        commit: "{{ worktree.head }}"
        state: pushed

    - name: Keep it for a while, and let others have it
      dx.fleet.git_worktree:
        repo: ~/affordabot
        branch: dx/bd-a1b2
        dispatch: bd-a1b2@1-k3v9
        locked: false

    - name: Remove it; what is only in it is kept under a rescue ref
      dx.fleet.git_worktree:
        repo: ~/affordabot
        path: "{{ worktree.path }}"
        state: absent
"""

RETURN = r"""
path:
  description: The directory of the worktree, links resolved.
  returned: success
  type: str
  sample: /home/feng/.local/share/dx-fleet/worktrees/affordabot-5f2c11d0/dx-bd-a1b2-91c4e0aa
branch:
  description: The branch that is checked out there, or null for a detached HEAD.
  returned: success
  type: str
  sample: dx/bd-a1b2
base:
  description: The commit that the work of the branch counts from, or null where it is not known.
  returned: success
  type: str
  sample: 8f14e45fceea167a5a36dedd4bea2543f3d8b1c2
head:
  description: The commit that is checked out there.
  returned: success
  type: str
  sample: 8f14e45fceea167a5a36dedd4bea2543f3d8b1c2
pushed:
  description:
    - Whether a remote has RV(head). With O(state=pushed) the remote was asked; else it is as last fetched.
  returned: success
  type: bool
  sample: false
rescue_refs:
  description:
    - The refs under which work was kept that a removal would have lost; commits that no remote has, and files in no
      commit, byte by byte. C(git checkout REF -- .) brings the files back.
  returned: success
  type: list
  elements: str
  sample: [refs/dx-fleet/rescue/dx-bd-a1b2-91c4e0aa-1f0c2d3e4b5a]
repaired:
  description: What an earlier run had left behind, and was put right.
  returned: success
  type: list
  elements: str
  sample: [half made]
empty_submodules:
  description: Submodules that are not checked out.
  returned: success
  type: list
  elements: str
  sample: []
notes:
  description: What else a person should know, each in a sentence.
  returned: success
  type: list
  elements: str
  sample: []
processes:
  description: The processes that work there.
  returned: where they are why a removal is refused
  type: list
  elements: int
  sample: [4711]
reason_code:
  description:
    - Why it failed. Among others V(branch_in_use), V(branch_collides), V(branch_name_invalid), V(base_unknown),
      V(path_in_use), V(path_in_clone), V(path_outside_root), V(worktree_locked), V(worktree_busy),
      V(repository_of_other_owner), V(repository_not_writable), V(repository_busy), V(lfs_missing), V(disk_full),
      V(fetch_failed), V(nested_repository), V(rescue_too_large), V(push_refused), V(push_not_fast_forward),
      V(remote_unreachable) and V(git_failed).
  returned: failure
  type: str
  sample: branch_in_use
next_action:
  description: What to do next.
  returned: failure
  type: str
  sample: name another branch, or end the work there
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dx.fleet.plugins.module_utils.git.commands import worktree
from ansible_collections.dx.fleet.plugins.module_utils.git.errors import GitError
from ansible_collections.dx.fleet.plugins.module_utils.specs import (
    GIT_WORKTREE,
    GIT_WORKTREE_REQUIRED_IF,
    GIT_WORKTREE_REQUIRED_ONE_OF,
)


def main() -> None:
    """Bring the worktree into the state that the options ask for, and return what it is."""
    module = AnsibleModule(
        argument_spec=GIT_WORKTREE,
        required_if=GIT_WORKTREE_REQUIRED_IF,
        required_one_of=GIT_WORKTREE_REQUIRED_ONE_OF,
        supports_check_mode=True,
    )
    try:
        result = worktree(module.params, module.check_mode)
    except GitError as error:
        module.fail_json(**error.as_result())
    module.exit_json(**result)


if __name__ == "__main__":
    main()
