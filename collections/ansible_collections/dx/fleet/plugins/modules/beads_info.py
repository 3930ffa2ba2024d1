#!/usr/bin/python
# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: beads_info
short_description: Which beads are claimed, and what their sessions do
version_added: 0.1.0
author: dx.fleet contributors (@dx-fleet)
description:
  - Lists every claim of a dispatch (see M(dx.fleet.beads_claim)) that is in progress or blocked, from Beads, and asks
    the OpenCode server of each one's VM what its session is doing.
extends_documentation_fragment:
  - dx.fleet.beads
  - dx.fleet.beads.group
attributes:
  check_mode:
    support: full
    details:
      - It changes nothing.
  diff_mode:
    support: none
  idempotent:
    support: full
options:
  preflight_timeout:
    description: How many seconds a silent OpenCode server is waited for; it then counts as V(unknown).
    type: float
    default: 5.0
  sessions:
    description: Whether the servers are asked what the sessions of the claims do. If not, RV(claims) have nothing of it.
    type: bool
    default: true
seealso:
  - module: dx.fleet.beads_claim
  - module: dx.fleet.beads_reap
"""

EXAMPLES = r"""
- name: See who works on what
  hosts: opencode
  gather_facts: false
  tasks:
    - name: List the claims
      dx.fleet.beads_info:
        beads_dir: ~/tracker
      delegate_to: localhost
      run_once: true
      register: claimed

    - name: Show them
      ansible.builtin.debug:
        msg: "{{ claimed.claims | map(attribute='summary') }}"
      run_once: true
"""

RETURN = r"""
claims:
  description: The claims, oldest first.
  returned: success
  type: list
  elements: dict
  contains:
    bead:
      description: Id of the bead.
      type: str
      sample: bd-a1b2
    title:
      description: Its title.
      type: str
      sample: Fix linting
    status:
      description: V(in_progress) or V(blocked).
      type: str
      sample: in_progress
    vm:
      description: The VM that works on it.
      type: str
      sample: epyc6
    claimed_at:
      description: When it was claimed, in ISO 8601.
      type: str
      sample: "2026-01-04T10:00:00.000+00:00"
    age_s:
      description: How many seconds ago that was, or null.
      type: float
      sample: 12.5
    held_s:
      description: How many seconds ago its dispatcher made it or went on with it, or null.
      type: float
      sample: 12.5
    dispatch:
      description: The dispatch that holds it.
      type: str
      sample: bd-a1b2@1
    attempt:
      description: How often the bead was claimed.
      type: int
      sample: 1
    orchestrator:
      description: Who dispatched.
      type: str
      sample: claude-code@macmini
    dispatcher:
      description: The process that dispatched.
      type: str
      sample: macmini/4f2a90c1d3e5/4711/123456
    session:
      description: Its OpenCode session.
      type: str
      sample: ses_dx-bd-a1b2-1-0123456789ab
    message:
      description: The message that carries the task.
      type: str
      sample: msg_dx-bd-a1b2-1-0123456789ab
    repo:
      description: Name of the repo of the work, or null.
      type: str
      sample: affordabot
    branch:
      description: Git branch of the work, or null.
      type: str
    worktree:
      description: Directory of the work on the VM, or null.
      type: str
      sample: /home/feng/affordabot
    session_state:
      description:
        - V(busy), V(retry), V(needs_input), V(idle), V(gone) (the server has no such session) or V(unknown) (it
          can't be asked).
      type: str
      sample: busy
    session_outcome:
      description: The state of an outcome, for an idle session, else null.
      type: str
      sample: completed
    session_why:
      description: More about it, or null.
      type: str
    summary:
      description: All that in one line.
      type: str
state:
  description: The outcome state of a dispatch that ends with this failure (V(failed), V(refused), V(unreachable)).
  returned: failure
  type: str
  sample: refused
reason_code:
  description: Why it failed.
  returned: failure
  type: str
  sample: no_workspace
next_action:
  description: What to do next.
  returned: failure
  type: str
  sample: "run bd init there, or name the folder that has .beads: beads_dir"
outcome:
  description: The failure as an outcome, as of M(dx.fleet.opencode_wait).
  returned: failure
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dx.fleet.plugins.module_utils.beads.commands import failure, info
from ansible_collections.dx.fleet.plugins.module_utils.beads.errors import BeadsError
from ansible_collections.dx.fleet.plugins.module_utils.specs import BEADS_INFO


def main() -> None:
    """List the claims as Beads has them; the action plugin of the same name asks the servers."""
    module = AnsibleModule(argument_spec=BEADS_INFO, supports_check_mode=True)
    try:
        result = info(module.params, module.check_mode)
    except BeadsError as error:
        module.fail_json(**failure(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
