#!/usr/bin/python
# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: work_processes
short_description: Find or end the processes of the work in a directory
version_added: 0.1.0
author: dx.fleet contributors (@dx-fleet)
description:
  - Finds what OpenCode's server began for the work in a directory (shells, their children, however far they went), and
    what works there without a terminal, such as a daemon that left its parents.
  - In a directory that is not the work's own, a process that left its parents may be anybody's. It is not ended, and
    returned in RV(unsure).
  - Ends them with C(state=ended), by TERM and two seconds later by KILL, as long as there are any, and then watches
    that the checked out commit does not move.
  - Processes are listed from C(/proc), else by C(ps) and C(lsof). Where neither can be used, RV(processes) is null, and
    RV(why) says why.
attributes:
  check_mode:
    support: full
    description: Can run in check mode and return changed status without modifying the target.
    details:
      - Nothing is ended.
  idempotent:
    description: When run twice in a row outside check mode, with the same arguments, the second invocation
      indicates no change.
    support: full
  async:
    description: Supports being used with the C(async) keyword.
    support: full
  diff_mode:
    support: none
    description: Returns details on what has changed, or possibly needs changing in check mode, when in diff mode.
options:
  directory:
    description: Where the work is.
    type: path
    required: true
  state:
    description: Whether the processes are only looked for, or ended.
    type: str
    choices: [listed, ended]
    default: listed
  exclusive:
    description: Whether nobody else works in the directory, as in a worktree that was made for the work.
    type: bool
    default: false
  watch:
    description: How many seconds the checked out commit and the processes are watched afterwards.
    type: float
    default: 0.0
  since:
    description:
      - What an earlier run returned. Where nothing had to be ended meanwhile, O(watch) began then, so that other work
        can be done within it.
    type: dict
    suboptions:
      moment:
        description: RV(moment) of that run.
        type: float
        required: true
      head:
        description: RV(head) of that run.
        type: str
      processes:
        description: Of RV(processes) of that run. They belong to the work still, wherever they went.
        type: list
        elements: dict
        suboptions:
          pid:
            description: The process.
            type: int
            required: true
          began:
            description: When it began.
            type: str
            required: true
seealso:
  - module: dx.fleet.opencode_stop
"""

EXAMPLES = r"""
- name: End what an agent left behind
  hosts: epyc6
  gather_facts: false
  tasks:
    - name: End it
      dx.fleet.work_processes:
        directory: /home/feng/affordabot
        state: ended
        watch: 2
"""

RETURN = r"""
directory:
  description: The directory, without symbolic links.
  returned: success
  type: str
  sample: /home/feng/affordabot
processes:
  description: What still runs there, each with C(pid), C(began), C(command) and C(cwd); null where it can't be listed.
  returned: success
  type: list
  elements: dict
  sample: []
unsure:
  description: What works in the directory, and may be anybody's.
  returned: success
  type: list
  elements: dict
  sample: []
ended:
  description: What was ended.
  returned: success
  type: list
  elements: dict
  sample: [{"pid": 4711, "began": "812351", "command": "sleep 600", "cwd": "/home/feng/affordabot"}]
listed_with:
  description: What the processes were listed with.
  returned: success
  type: str
  sample: proc
why:
  description: Why the processes can't be listed, or null.
  returned: success
  type: str
  sample: lsof can't be used
head:
  description: The commit that is checked out, or null.
  returned: success
  type: str
  sample: 3f786850e387550fdab836ed7e6dc881de23001b
head_before:
  description: The commit that was checked out when the watch began, or null.
  returned: success
  type: str
  sample: 3f786850e387550fdab836ed7e6dc881de23001b
unread:
  description: Why the commit can't be read, where there is a repository; else null.
  returned: success
  type: str
  sample: "git can't read the repository there: it is missing, or the repository is another user's or broken"
watched_s:
  description: For how many seconds it was watched.
  returned: success
  type: float
  sample: 2.01
began:
  description: When the look began, in seconds since the start of the machine.
  returned: success
  type: float
  sample: 81235.12
moment:
  description: When RV(head) was first read, in seconds since the start of the machine.
  returned: success
  type: float
  sample: 81235.17
dirty:
  description: How many files have changes that are in no commit, or null.
  returned: success
  type: int
  sample: 0
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dx.fleet.plugins.module_utils.specs import WORK_PROCESSES
from ansible_collections.dx.fleet.plugins.module_utils.work_processes.ending import of_options


def main() -> None:
    """Find the processes, end them if that is wanted, and return what was seen."""
    module = AnsibleModule(argument_spec=WORK_PROCESSES, supports_check_mode=True)
    module.exit_json(**of_options(module.params, module.check_mode))


if __name__ == "__main__":
    main()
