#!/usr/bin/python
# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: beads_reap
short_description: End the claims that nobody works on any more
version_added: 0.1.0
author: dx.fleet contributors (@dx-fleet)
description:
  - Looks at every claim in progress, asks the OpenCode server of its VM, and ends those that are older than O(ttl) and
    whose session does not work. A claim whose session does not exist, or never got its task, is released; one whose
    session is idle is blocked. The bead gets a note of what was found.
  - A claim is left alone while its session works or waits for a person, however old it is, while its VM can't be
    asked, and while its dispatcher is known to live.
  - What changed between the look and the end is left as it is.
extends_documentation_fragment:
  - dx.fleet.beads
  - dx.fleet.beads.group
attributes:
  check_mode:
    support: full
    details:
      - Says what would become of each claim.
  diff_mode:
    support: none
  idempotent:
    support: full
options:
  ttl:
    description: How many seconds a claim is left alone, whatever its session does.
    type: float
    default: 3600.0
  preflight_timeout:
    description: How many seconds a silent OpenCode server is waited for; its claims are then left alone.
    type: float
    default: 5.0
seealso:
  - module: dx.fleet.beads_claim
  - module: dx.fleet.beads_info
"""

EXAMPLES = r"""
- name: Tidy up once a day
  hosts: opencode
  gather_facts: false
  tasks:
    - name: End what nobody works on
      dx.fleet.beads_reap:
        ttl: 7200
        beads_dir: ~/tracker
      delegate_to: localhost
      run_once: true
"""

RETURN = r"""
claims:
  description: Every claim, as of M(dx.fleet.beads_info), with what became of it.
  returned: always
  type: list
  elements: dict
  contains:
    bead:
      description: Id of the bead.
      type: str
      sample: bd-a1b2
    became:
      description: V(kept), V(released) or V(blocked).
      type: str
      sample: blocked
    found:
      description: Why.
      type: str
      sample: "session ses_dx-bd-a1b2-1-0123456789ab on epyc6 does not exist"
    summary:
      description: All that in one line.
      type: str
reason_code:
  description: Why a claim could not be ended.
  returned: failure
  type: str
  sample: bd_timeout
next_action:
  description: What to do next.
  returned: failure
  type: str
outcome:
  description: The failure as an outcome, as of M(dx.fleet.opencode_wait).
  returned: failure
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dx.fleet.plugins.module_utils.specs import REAP


def main() -> None:
    """Say where the work is done; the action plugin of the same name does it."""
    module = AnsibleModule(argument_spec=REAP, supports_check_mode=True)
    module.fail_json(msg="dx.fleet.beads_reap: this runs on the controller, as an action plugin")


if __name__ == "__main__":
    main()
