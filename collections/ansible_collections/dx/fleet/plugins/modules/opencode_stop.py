#!/usr/bin/python
# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: opencode_stop
short_description: Stop what an OpenCode server works on, and prove it
version_added: 0.1.0
author: dx.fleet contributors (@dx-fleet)
description:
  - Stops sessions with all their subagents, the subagents first, and ends what they began on the VM with
    M(dx.fleet.work_processes), over the connection of the host.
  - A session is marked before it is stopped. Whoever follows its task learns from the mark who stopped it and why. A
    session that is not there yet is made with the mark, which keeps its dispatch from sending the task.
  - Where the server does not abort within O(timeout), its instance of the directory is disposed of.
  - With O(stopped), what an earlier task of this action returned is looked at once more, and every clause of the proof
    is returned.
extends_documentation_fragment:
  - dx.fleet.request.claims
  - dx.fleet.attributes
  - dx.fleet.action_group
  - dx.fleet.connection
attributes:
  check_mode:
    support: full
    details:
      - Says what it would stop.
  idempotent:
    support: full
    details:
      - What has ended is left as it is.
options:
  name:
    description:
      - The session, bead or dispatch to stop. Default is all that dispatches of the fleet work on there.
    type: str
  reason:
    description: Why.
    type: str
  by:
    description: Who wants it. Default is the user who runs it, at this host.
    type: str
  asked_at:
    description: What began after this moment, in seconds since the epoch, is left alone.
    type: float
  timeout:
    description: How many seconds the server is given to abort.
    type: float
    default: 10.0
  stopped:
    description: What an earlier task of this action returned, to prove it.
    type: dict
  blocked:
    description: What the loop of M(dx.fleet.beads_claim) returned that blocked the beads, for the proof.
    type: dict
seealso:
  - module: dx.fleet.work_processes
  - module: dx.fleet.opencode_wait
"""

EXAMPLES = r"""
- name: Stop what a VM does
  hosts: epyc6
  gather_facts: false
  tasks:
    - name: Stop it
      dx.fleet.opencode_stop:
        reason: wrong branch
      register: stopped

    - name: Prove it
      dx.fleet.opencode_stop:
        stopped: "{{ stopped }}"
"""

RETURN = r"""
stops:
  description: What became of each session that was to be stopped.
  returned: success
  type: list
  elements: dict
  contains:
    session:
      description: The session.
      type: str
      sample: ses_dx-bd-a1b2-1-0123456789ab
    dispatch:
      description: Its dispatch, or null.
      type: str
      sample: bd-a1b2@1-5c0f9e1d
    bead:
      description: Its bead, or null.
      type: str
      sample: bd-a1b2
    state:
      description:
        - V(stopped), V(prevented) (its task had not begun, and will not), V(already_ended), V(too_late) (it began
          after O(asked_at)) or V(still_works).
      type: str
      sample: stopped
    clauses:
      description:
        - What must be so for the stop to be proven, each with C(name), C(proven) and C(evidence). V(no_session_works),
          V(nothing_queued), V(no_process_left), V(head_still) and V(bead_blocked); the first two and the last only
          with O(stopped).
      type: list
      elements: dict
      sample: [{"name": "no_session_works", "proven": true, "evidence": "idle: ses_abc"}]
    proven:
      description: Whether all clauses are, or null.
      type: bool
    uncommitted:
      description: Where changes are that are in no commit, or null.
      type: str
beads:
  description: The beads to block, each with C(bead), C(dispatch) and C(words).
  returned: without O(stopped)
  type: list
  elements: dict
  sample: []
reason_code:
  description: Why it failed.
  returned: failure
  type: str
  sample: connection_refused
next_action:
  description: What to do next.
  returned: failure
  type: str
  sample: dx-fleet stop epyc6, once it answers
outcome:
  description: The failure as an outcome, as of M(dx.fleet.opencode_wait).
  returned: failure
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dx.fleet.plugins.module_utils.specs import STOP


def main() -> None:
    """Say where the work is done; the action plugin of the same name does it."""
    module = AnsibleModule(argument_spec=STOP, supports_check_mode=True)
    module.fail_json(msg="dx.fleet.opencode_stop: this runs on the controller, as an action plugin")


if __name__ == "__main__":
    main()
