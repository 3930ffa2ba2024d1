#!/usr/bin/python
# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: opencode_dispatch
short_description: Hand a coding task to the OpenCode server of a VM
version_added: 0.1.0
author: dx.fleet contributors (@dx-fleet)
description:
  - Looks whether the task can be done (server, version, directory, agent, model, capacity), then makes a session, or
    resumes one, and sends the task to it. Nothing is sent if any look says no.
  - It does not wait for the agent; M(dx.fleet.opencode_wait) does.
  - The dispatch id O(id) names the attempt. A repeat with the same id, on the same host, finds the session and the
    task of the first try, whatever answers got lost meanwhile, and sends nothing again.
extends_documentation_fragment:
  - dx.fleet.request
  - dx.fleet.connection
  - dx.fleet.connection.patience
  - dx.fleet.attributes
  - dx.fleet.action_group
attributes:
  check_mode:
    support: full
    details:
      - Everything is looked at and nothing is made or sent.
  idempotent:
    support: partial
    details:
      - With O(id). Without it every run is a new dispatch.
options:
  plan:
    description:
      - What the same task returned in check mode, whole. It gives O(id) and O(directory), before the task's own.
    type: dict
    default: {}
  claim:
    description:
      - What M(dx.fleet.beads_claim) returned for the bead, whole. It gives O(id), O(directory), O(session) and O(join),
        before O(plan) and the task's own; its text is the task where O(task) is left out.
    type: dict
    default: {}
  worktree:
    description:
      - What M(dx.fleet.dispatch_worktree) returned, whole. The session works there, before every other directory, and
        may touch no other folder unless O(permission) says so.
    type: dict
    default: {}
  worktrees_root:
    description:
      - The folder on the VM that holds worktrees. By default, it is in the data folder of the server's user.
      - Default is the host variable C(dx_worktrees_root).
    type: str
  task:
    description:
      - What the agent shall do, in words. At most 256 KiB.
      - May be left out only with the O(id) of a dispatch that was sent before.
    type: str
  id:
    description:
      - Dispatch id, up to 128 letters, digits and V(._@:-). A new one is made if it is left out.
    type: str
  target:
    description:
      - The host pattern that the run was given. If it names neither this host nor one of O(aliases), it is a group, and
        the dispatch is called C(ID.HOST) on each of its hosts.
    type: str
  aliases:
    description:
      - Other names of the host, for O(target).
      - Default is the host variable C(opencode_aliases).
    type: list
    elements: str
    default: []
  bead:
    description: The bead that the task is about, for the outcome and for Slack.
    type: str
  repo:
    description:
      - Repository to work in, by its name on the VM.
      - Its directory is what O(repos) says, else the folder of that name in O(repos_root), else the project of that
        name that the server knows, else the folder of that name in the home of the server's user. The server
        must confirm that it exists.
    type: str
  directory:
    description:
      - Directory on the VM to work in, absolute or beginning with V(~/). It goes before O(repo).
    type: str
  session:
    description:
      - Id of a session to continue, instead of a new one. It must be idle, and work in the directory that is asked
        for if one is.
    type: str
  agent:
    description: OpenCode agent that does the task, such as V(build) or V(plan). Default is the server's.
    type: str
  model:
    description: Model that does the task, as V(provider/model). Default is the server's.
    type: str
  title:
    description: Title of a new session. Default is the task, shortened.
    type: str
  permission:
    description:
      - Permission rules of a new session. They are added to those of the server's configuration, and the last match
        wins.
    type: list
    elements: dict
    default: []
    suboptions:
      permission:
        description: What it is about, such as V(bash), V(edit), V(external_directory), V(question) or V(*).
        type: str
        required: true
      pattern:
        description: Which commands, paths and so on; V(*) stands for any text.
        type: str
        default: "*"
      action:
        description: What happens on a match.
        type: str
        required: true
        choices: [allow, ask, deny]
  join:
    description:
      - Whether what was sent before under O(id) is followed whatever its text, directory, agent or model was. If not,
        another request under the same id fails with V(dispatch_id_in_use).
    type: bool
    default: false
  no_wait:
    description: Whether RV(follow) says that nothing is waited for.
    type: bool
    default: false
  enabled:
    description:
      - Whether the VM takes tasks at all; if not, the task fails with V(vm_disabled).
      - Default is the host variable C(opencode_enabled).
    type: bool
    default: true
  max_concurrent:
    description:
      - How many sessions may work on the VM at the same time; with so many, the task fails with V(at_capacity). Of
        dispatches that come at the same moment, only as many send their task as there is room for.
      - A session counts together with its subagents. One that took no step for a day is no load.
      - Default is the host variable C(opencode_max_concurrent), else there is no limit.
    type: int
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
  - module: dx.fleet.opencode_wait
  - module: dx.fleet.opencode_info
"""

EXAMPLES = r"""
- name: Send one task and go on
  hosts: default_vm
  gather_facts: false
  tasks:
    - name: Send it; a repeat of this play sends nothing
      dx.fleet.opencode_dispatch:
        id: nightly-2026-01-04
        repo: affordabot
        task: Run make test
      register: sent

    - name: Say where it runs
      ansible.builtin.debug:
        msg: "{{ sent.session }} in {{ sent.directory }}"

- name: Send a task that no question may hold up, and follow it to its end
  hosts: epyc6
  gather_facts: false
  tasks:
    - name: Send it
      dx.fleet.opencode_dispatch:
        repo: affordabot
        task: Run make test
        agent: build
        title: Tests of the day
        permission:
          - permission: question
            action: deny
          - permission: external_directory
            pattern: /tmp/*
            action: allow
      register: sent

    - name: Wait for its outcome
      dx.fleet.opencode_wait:
        sent: "{{ sent }}"

    - name: Ask for more in the same session
      dx.fleet.opencode_dispatch:
        session: "{{ sent.session }}"
        task: Say in one line what you found
"""

RETURN = r"""
id:
  description: The dispatch id.
  returned: success
  type: str
  sample: 01J9ZK3V4N8Q5W2X7Y6T1R0PMA
session:
  description: Id of the session. In check mode the one that would be made.
  returned: success
  type: str
  sample: ses_dx-01J9ZK3V4N8Q5W2X7Y6T1R0PMA-5d1f0b2c9a34
message:
  description: Id of the user message that carries the task.
  returned: success
  type: str
  sample: msg_dx-01J9ZK3V4N8Q5W2X7Y6T1R0PMA-5d1f0b2c9a34
directory:
  description: The directory on the VM in which the session works, as the server confirmed it.
  returned: success
  type: str
  sample: /home/feng/affordabot
clone:
  description: In check mode, the directory of the repo, where the session will work in a worktree of it.
  returned: where there will be a worktree
  type: str
  sample: /home/feng/affordabot
home:
  description: The home of the user that the server runs as.
  returned: where there will be a worktree
  type: str
  sample: /home/feng
branch:
  description: The branch of the worktree; null where the work has none of its own.
  returned: success
  type: str
  sample: dx/bd-a1b2
version:
  description: Version of OpenCode that the server runs.
  returned: success
  type: str
  sample: 1.18.33
replay:
  description: Whether the task had been sent before, so that nothing was sent now.
  returned: success
  type: bool
  sample: false
follow:
  description: Whether the session is to be followed now; not in check mode, nor with O(no_wait).
  returned: success
  type: bool
  sample: true
reason_code:
  description: Why it was not sent, as a stable name.
  returned: failure
  type: str
  sample: repo_not_found
next_action:
  description: What to do, or the command to run, next.
  returned: failure
  type: str
  sample: dx-fleet status epyc6
outcome:
  description:
    - What became of the dispatch so far. The state is V(running), V(planned) in check mode, else why nothing was
      sent (V(refused), V(unreachable) or V(failed)).
    - It has the keys of RV(dx.fleet.opencode_wait#module:outcome). What is not known yet is null.
  returned: always
  type: dict
  sample:
    state: running
    reason_code: sent
    message_to_human: "the task was sent"
    next_action: null
    vm: epyc6
    repo: affordabot
    dispatch: 01J9ZK3V4N8Q5W2X7Y6T1R0PMA
    session: ses_dx-01J9ZK3V4N8Q5W2X7Y6T1R0PMA-5d1f0b2c9a34
    message: msg_dx-01J9ZK3V4N8Q5W2X7Y6T1R0PMA-5d1f0b2c9a34
    started_at: "2026-01-04T09:30:12.417+00:00"
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dx.fleet.plugins.module_utils.specs import DISPATCH


def main() -> None:
    """Say where the work is done; the action plugin of the same name does it."""
    module = AnsibleModule(argument_spec=DISPATCH, supports_check_mode=True)
    module.fail_json(msg="dx.fleet.opencode_dispatch: this runs on the controller, as an action plugin")


if __name__ == "__main__":
    main()
