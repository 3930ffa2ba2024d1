#!/usr/bin/python
# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: fleet_test_report
short_description: Compare the tests that several VMs ran, and report them
version_added: 0.1.0
author: dx.fleet contributors (@dx-fleet)
description:
  - The last task of the playbook C(dx.fleet.fleet_test). It takes what M(dx.fleet.git_worktree) and
    M(dx.fleet.verify_work) returned on each VM, which the playbook registers as C(dx_made) and C(dx_tested).
  - It writes one JUnit XML of all VMs, one JSON file, and one HTML file that opens by double-click, and records one
    message for Slack, where that is configured.
  - The task fails unless the tests passed on every VM. RV(state) tells failed tests from VMs that could not say.
extends_documentation_fragment:
  - dx.fleet.attributes
attributes:
  action_group:
    description: Use C(group/dx.fleet.fleet_test) in C(module_defaults) to set defaults for this module.
    support: full
    membership:
      - dx.fleet.fleet_test
  check_mode:
    support: full
    details:
      - Skipped in check mode, in which no test is run.
  idempotent:
    support: none
options:
  vms:
    description: The hosts that ran the tests.
    type: list
    elements: str
    required: true
  repo:
    description: The repo.
    type: str
    required: true
  ref:
    description:
      - What was to be tested. With a whole commit id, a VM that is at another commit counts as one that could not run
        the tests; else the commit at which most VMs are.
    type: str
    required: true
  id:
    description: What the run is called.
    type: str
    default: by-hand
  command:
    description: What ran the tests. Default is the C(verify) of the repo in the host variable C(dx_repos).
    type: str
  output:
    description:
      - The folder of the reports, on the controller. Default is one for each run in the user's state folder,
        E(XDG_STATE_HOME), else C(~/.local/state).
    type: path
  started_at:
    description: When the run began, ISO 8601 with a time zone.
    type: str
seealso:
  - module: dx.fleet.git_worktree
  - module: dx.fleet.verify_work
"""

EXAMPLES = r"""
- name: Compare the VMs
  hosts: localhost
  gather_facts: false
  tasks:
    - name: Write the reports and judge
      dx.fleet.fleet_test_report:
        vms: "{{ groups.opencode }}"
        repo: affordabot
        ref: 8f14e45fceea167a5a36dedd4bea2543f3d8b1c2
        command: make test
        output: build/tests
"""

RETURN = r"""
state:
  description: V(passed), V(failed) (on any VM), or V(unknown) (a VM could not run the tests, or proves nothing).
  returned: always
  type: str
  sample: passed
fleet_test:
  description:
    - The result as in the JSON file. C(vms) with every run, C(suites) with the counts of each VM, C(differences)
      (tests that did not end the same on all VMs), C(flaky), C(failing), and C(files), the paths of the reports.
  returned: always
  type: dict
  sample:
    repo: affordabot
    commit: 8f14e45fceea167a5a36dedd4bea2543f3d8b1c2
    state: failed
    differences:
      - id: tests.test_total::test_of_some
        vms: {macmini: failed, epyc6: passed}
lines:
  description: The result for a person.
  returned: always
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dx.fleet.plugins.module_utils.specs import FLEET_TEST_REPORT


def main() -> None:
    """Say where the work is done; the action plugin of the same name does it."""
    module = AnsibleModule(argument_spec=FLEET_TEST_REPORT, supports_check_mode=True)
    module.fail_json(msg="dx.fleet.fleet_test_report: this runs on the controller, as an action plugin")


if __name__ == "__main__":
    main()
