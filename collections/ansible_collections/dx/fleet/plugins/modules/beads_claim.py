#!/usr/bin/python
# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: beads_claim
short_description: Claim a bead for one dispatch, and end the claim
version_added: 0.1.0
author: dx.fleet contributors
description:
  - A claim is the exclusive right of one dispatch to work on a bead (an issue in Beads). It is the bead's
    assignee, status and metadata, written in one call of C(bd) under a lock of ours per bead, since C(bd) itself
    lets the same actor claim again.
  - Run it on the tracker host, the one machine on which every C(bd) call of the fleet runs
    (C(delegate_to)). It needs C(bd) 1.0.4 or later there, and Python's standard library.
  - Every change of a claim first looks whether the bead still names its dispatch. A dispatcher that was paused,
    and lost its claim meanwhile, changes nothing.
extends_documentation_fragment:
  - ansible.builtin.action_common_attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  platform:
    platforms: posix
options:
  bead:
    description: Full id of the bead. A part of an id, which C(bd) itself would take, is refused.
    type: str
    required: true
  state:
    description:
      - V(claimed) claims an open bead, or finds it claimed by O(dispatch).
      - V(released) makes it open and nobody's again.
      - V(blocked) ends the claim with a O(reason) that needs a person.
      - V(closed) closes the bead with a O(reason).
      - V(present) only reads it.
    type: str
    choices: [claimed, released, blocked, closed, present]
    default: claimed
  dispatch:
    description:
      - The dispatch that holds the claim. Needed to end one.
      - With O(state=claimed), the dispatch that may already hold it. Without it, a new one is named
        C(BEAD@ATTEMPT).
    type: str
  vm:
    description: The VM that works on the bead; it becomes the assignee. Needed with O(state=claimed).
    type: str
  orchestrator:
    description: Who dispatches, as C(AGENT@HOST). Needed with O(state=claimed).
    type: str
  session:
    description: OpenCode session in which the work goes on. Default is a new one, named after the dispatch.
    type: str
  branch:
    description: Git branch of the work.
    type: str
  worktree:
    description: Directory of the work on the VM.
    type: str
  reason:
    description: Why the claim ends. Needed with O(state=blocked) and O(state=closed).
    type: str
  beads_dir:
    description: The folder that holds C(.beads). Default is the folder that the module runs in.
    type: path
  beads_executable:
    description: Path of C(bd), or its name on PATH.
    type: str
    default: bd
  timeout:
    description: Longest time of one call of C(bd), in seconds.
    type: float
    default: 60.0
  lock_timeout:
    description: Longest wait for another process that works on the same bead, in seconds.
    type: float
    default: 60.0
"""

EXAMPLES = r"""
- name: Work on a bead, if nobody else does
  hosts: epyc6
  gather_facts: false
  tasks:
    - name: Claim it
      dx.fleet.beads_claim:
        bead: bd-a1b2
        vm: "{{ inventory_hostname }}"
        orchestrator: claude-code@macmini
        beads_dir: ~/tracker
      delegate_to: localhost
      register: claim

    - name: Give it back
      dx.fleet.beads_claim:
        bead: bd-a1b2
        state: released
        dispatch: "{{ claim.dispatch }}"
        beads_dir: ~/tracker
      delegate_to: localhost
"""

RETURN = r"""
bead:
  description: The bead after the task.
  returned: success
  type: dict
  sample: {"id": "bd-a1b2", "title": "Fix linting", "status": "in_progress", "assignee": "epyc6"}
previous_holder:
  description: Assignee and dispatch before the task, or null.
  returned: success
  type: dict
  sample: {"vm": "epyc6", "dispatch": "bd-a1b2@1"}
dispatch:
  description: The dispatch that the bead names, or null.
  returned: success
  type: str
  sample: bd-a1b2@2
attempt:
  description: How often the bead was claimed.
  returned: success
  type: int
  sample: 2
session:
  description: The OpenCode session that the claim names, or null.
  returned: success
  type: str
  sample: ses_dx-bd-a1b2-2-0123456789ab
message:
  description: The id of the message that carries the task, or null.
  returned: success
  type: str
  sample: msg_dx-bd-a1b2-2-0123456789ab
lock:
  description: What excludes other dispatches; V(tracker) is a file lock on the tracker host.
  returned: success
  type: str
  sample: tracker
bd_calls:
  description: How many calls of C(bd) it took.
  returned: always
  type: int
  sample: 2
reason_code:
  description: Why it failed.
  returned: failure
  type: str
  sample: already_claimed
next_action:
  description: What to do next.
  returned: failure
  type: str
  sample: bd show bd-a1b2
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dx.fleet.plugins.module_utils.beads.bd import Bd
from ansible_collections.dx.fleet.plugins.module_utils.beads.claims import Claimant, Claims
from ansible_collections.dx.fleet.plugins.module_utils.beads.errors import BeadsError
from ansible_collections.dx.fleet.plugins.module_utils.specs import CLAIM, CLAIM_REQUIRED_IF


def main():
    module = AnsibleModule(argument_spec=CLAIM, required_if=CLAIM_REQUIRED_IF, supports_check_mode=True)
    bd = Bd(module.params["beads_executable"], module.params["beads_dir"], module.params["timeout"])
    try:
        result = _run(module, bd)
    except BeadsError as error:
        module.fail_json(
            msg=f"{error.message}. Next: {error.next_action}",
            reason_code=error.reason_code,
            next_action=error.next_action,
            bd_calls=len(bd.calls),
            **error.details,
        )
    before, after = result.before, result.after
    module.exit_json(
        changed=result.changed,
        bead=after.as_dict(),
        previous_holder={"vm": before.assignee, "dispatch": before.metadata.get("dispatch")}
        if before.assignee
        else None,
        lock="tracker",
        bd_calls=len(bd.calls),
        diff={"before": before.as_dict(), "after": after.as_dict()},
        **{key: after.metadata.get(key) for key in ("dispatch", "attempt", "session", "message")},
    )


def _run(module, bd):
    options = module.params
    workspace = os.path.join(options["beads_dir"] or os.getcwd(), ".beads")
    claims = Claims(bd, workspace, options["lock_timeout"])
    bead, state, check = options["bead"], options["state"], module.check_mode
    if state == "present":
        return claims.present(bead)
    if state == "claimed":
        names = ("vm", "orchestrator", "branch", "worktree", "dispatch", "session")
        return claims.claim(bead, Claimant(**{name: options[name] for name in names}), check)
    if state == "released":
        return claims.release(bead, options["dispatch"], check)
    end = claims.block if state == "blocked" else claims.close
    return end(bead, options["dispatch"], options["reason"], check)


if __name__ == "__main__":
    main()
