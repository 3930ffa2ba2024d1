#!/usr/bin/python
# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: beads_claim
short_description: Claim a bead for one dispatch, and end the claim
version_added: 0.1.0
author: dx.fleet contributors (@dx-fleet)
description:
  - A claim is the exclusive right of one dispatch to work on a bead (an issue in Beads). It is the bead's
    assignee, status and metadata, written under a lock of ours per bead, since C(bd) itself lets the same actor
    claim again. What identifies the claim is written before the claim itself, so that a death between C(bd)'s
    writes leaves no bead that is assigned and names no dispatch.
  - A claim decides the ids of the dispatch, its session and its message, and writes them into the bead before
    anything else is done, so that whoever finds the bead finds all the rest.
  - Every change of a claim first looks whether the bead still names its dispatch. A dispatcher that was paused,
    and lost its claim meanwhile, changes nothing.
  - A claim whose dispatcher is gone is taken over. The dispatch stays what it is, so nothing is sent twice. Whether
    it is gone is seen by its process, where that is on this machine, else by its heartbeat, a count in the metadata
    of the session that any controller can read (it is watched for up to 25 seconds). One that has not come so far
    counts as gone when its claim is older than 300 seconds.
extends_documentation_fragment:
  - dx.fleet.request
  - dx.fleet.beads
  - dx.fleet.beads.group
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: partial
    details:
      - With O(dispatch). Without it a claim of a claimed bead fails.
options:
  plan:
    description:
      - With O(state=claimed), what M(dx.fleet.opencode_dispatch) returned in check mode, whole. It gives O(worktree) and
        O(branch).
    type: dict
    default: {}
  claim:
    description: What this module returned for O(state=claimed), whole. It gives O(dispatch). Needed with O(state=settled).
    type: dict
    default: {}
  made:
    description: With O(state=settled), what M(dx.fleet.dispatch_worktree) returned, whole.
    type: dict
    default: {}
  sent:
    description: With O(state=settled), what M(dx.fleet.opencode_dispatch) returned, whole.
    type: dict
    default: {}
  followed:
    description: With O(state=settled), what M(dx.fleet.opencode_wait) returned, whole.
    type: dict
    default: {}
  verified:
    description: With O(state=settled), what M(dx.fleet.dispatch_verify) returned, whole.
    type: dict
    default: {}
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
      - V(noted) writes the O(reason) into the notes of the bead; the claim goes on.
      - V(settled) does whichever of the three the outcome of the last of O(made), O(sent), O(followed) and O(verified) asks for, or nothing, where the
        session works or waits for a person, nobody can tell, or there is no O(claim).
      - V(present) only reads it.
      - V(located) reads it and says RV(elsewhere) it is worked on, unless the run names its VM.
    type: str
    choices: [claimed, released, blocked, closed, noted, settled, present, located]
    default: claimed
  dispatch:
    description:
      - The dispatch that holds the claim. Needed to end one.
      - With O(state=claimed), the dispatch that may already hold it. Without it, a new one is named
        C(BEAD@ATTEMPT-NONCE), which is unique in the world.
    type: str
  vm:
    description: The VM that works on the bead; it becomes the assignee. Default is the host.
    type: str
  orchestrator:
    description:
      - Who dispatches, as C(AGENT@HOST).
      - Default is E(DX_ORCHESTRATOR) of the controller, else C(claude-code) or the user, at its host name.
    type: str
  dispatcher:
    description:
      - The process that dispatches, as C(HOST/SYSTEM/PID/BEGAN). Default is the one that runs the playbook.
    type: str
  gone_dispatcher:
    description: A dispatcher that is known to be gone (empty for none). A claim of just that one is taken over.
    type: str
  session:
    description: OpenCode session in which the work goes on. Default is a new one, named after the dispatch.
    type: str
  repo:
    description: Name of the repository.
    type: str
  branch:
    description: Git branch of the work. Default with O(retry) is that of the try before.
    type: str
  worktree:
    description: Directory of the work on the VM.
    type: str
  begin:
    description: Whether a free bead is claimed. If not, only a claim that is there already is continued.
    type: bool
    default: true
  retry:
    description: Whether a bead that was blocked by a dispatch is claimed anew, with the next attempt.
    type: bool
    default: false
  force:
    description:
      - Whether a bead is claimed that is blocked or deferred, an epic, or waits for another one. Without it such a
        bead is refused (V(bead_not_ready)), with the reason.
    type: bool
    default: false
  single_orchestrator:
    description:
      - Whether the claim is refused (V(orchestrator_active)) while sessions of another orchestrator's claims
        work. A session that can't be asked counts as one that works.
      - Default is the host variable C(dx_single_orchestrator).
    type: bool
    default: false
  takeover:
    description: Go on although O(single_orchestrator) forbids it. The bead keeps a note of it.
    type: bool
    default: false
  idle_beads:
    description: Beads whose claims are known not to be worked on, for O(single_orchestrator).
    type: list
    elements: str
    default: []
  seen_dispatcher:
    description:
      - The dispatcher that was seen in the claim (empty for none). The claim is released or blocked only if it is
        in progress and still names that one.
    type: str
  reason:
    description: Why the claim ends, or the note. Needed with O(state=blocked), O(state=closed) and O(state=noted).
    type: str
  lock_timeout:
    description: Longest wait for another process that works on the same bead, in seconds.
    type: float
    default: 60.0
seealso:
  - module: dx.fleet.beads_info
  - module: dx.fleet.beads_reap
"""

EXAMPLES = r"""
- name: Work on a bead, if nobody else does
  hosts: epyc6
  gather_facts: false
  tasks:
    - name: Claim it
      dx.fleet.beads_claim:
        bead: bd-a1b2
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
  returned: success, except where O(state=settled) leaves it as it is
  type: dict
  sample: {"id": "bd-a1b2", "title": "Fix linting", "status": "in_progress", "assignee": "epyc6"}
previous_holder:
  description: Assignee, dispatch and orchestrator before the task, or null.
  returned: success
  type: dict
  sample: {"vm": "epyc6", "dispatch": "bd-a1b2@1", "orchestrator": "claude-code@macmini"}
vm:
  description: The VM that the claim names, or null.
  returned: success
  type: str
  sample: epyc6
elsewhere:
  description: The VM on which the bead is worked on, where that is another than the host.
  returned: with O(state=located)
  type: str
  sample: macmini
dispatch:
  description: The dispatch that the bead names, or null.
  returned: success
  type: str
  sample: bd-a1b2@2-5c0f9e1d
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
resumes:
  description: The session that the work goes on in, where that is one that was there before the dispatch.
  returned: where there is one
  type: str
  sample: ses_abc123
message:
  description: The id of the message that carries the task, or null.
  returned: success
  type: str
  sample: msg_dx-bd-a1b2-2-0123456789ab
repo:
  description: The name of the repository that the claim names, or null.
  returned: success
  type: str
  sample: affordabot
branch:
  description: The git branch that the claim names, or null.
  returned: success
  type: str
  sample: dx/bd-a1b2
previous_dispatch:
  description: The dispatch that held the bead before, or null.
  returned: success
  type: str
  sample: bd-a1b2@1-77e09d41
worktree:
  description: The directory on the VM that the claim names.
  returned: where it names one
  type: str
  sample: /home/feng/affordabot
continued:
  description: Whether the claim was there before.
  returned: success
  type: bool
history:
  description: What became of the try before, in words for the agent that tries again, or null.
  returned: success
  type: str
  sample: This is attempt 2 at bd-a1b2. ...
task:
  description: Title and description of the bead, as the words of a task.
  returned: success
  type: str
  sample: Fix linting
others:
  description: Claims of other orchestrators that are under way, as of M(dx.fleet.beads_info).
  returned: with O(state=claimed)
  type: list
  elements: dict
  sample: []
noted:
  description:
    - The status of the bead where a person changed it in the middle of the dispatch. That stays, and the result
      of the dispatch is a note in the bead. Else null.
  returned: success
  type: str
  sample: blocked
ended:
  description: What the claim became; V(held) is one that goes on, V(noted) one that a person ended (RV(noted)).
  returned: with O(state=settled)
  type: str
  sample: closed
lock:
  description:
    - What excludes other dispatches. V(tracker) is our file lock on the tracker host; with V(store), C(bd) (1.3 or
      later) also makes each later change depend on who holds the bead.
  returned: success
  type: str
  sample: tracker
bd_calls:
  description: How many calls of C(bd) it took.
  returned: where there was any
  type: int
  sample: 2
bd_seconds:
  description: How long they took, in seconds.
  returned: where there was any
  type: float
  sample: 0.71
state:
  description: The outcome state of a dispatch that ends with this failure (V(failed), V(refused), V(unreachable)).
  returned: failure
  type: str
  sample: refused
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
outcome:
  description: The failure as an outcome, or the outcome of O(followed) with what became of the bead.
  returned: failure, and with O(state=settled)
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dx.fleet.plugins.module_utils.beads.commands import claim, failure
from ansible_collections.dx.fleet.plugins.module_utils.beads.errors import BeadsError
from ansible_collections.dx.fleet.plugins.module_utils.specs import CLAIM, CLAIM_REQUIRED_IF


def main() -> None:
    """Do what the options ask for, and tell it."""
    module = AnsibleModule(argument_spec=CLAIM, required_if=CLAIM_REQUIRED_IF, supports_check_mode=True)
    try:
        result = claim(module.params, module.check_mode)
    except BeadsError as error:
        module.fail_json(**failure(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
