#!/usr/bin/python
# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: opencode_reply
short_description: Answer what an agent waits for
version_added: 0.1.0
author: dx.fleet contributors (@dx-fleet)
description:
  - Finds the permissions and questions that sessions and their subagents wait for, and answers one.
  - Where more than one waits, none is answered, and all are returned. What the turn of a session left behind that was
    aborted is not waited for any more.
extends_documentation_fragment:
  - dx.fleet.request.claims
  - dx.fleet.attributes
  - dx.fleet.action_group
  - dx.fleet.connection
attributes:
  check_mode:
    support: full
  idempotent:
    support: full
    details:
      - What was answered before is not waited for any more.
options:
  name:
    description: The session, bead or dispatch that waits. Default is any session there.
    type: str
  request_id:
    description: Id of the permission or question, where more than one waits.
    type: str
  answers:
    description:
      - For a permission C(once), C(always) (all that match, until the server is started again) or C(reject), which ends
        the turn; any other text rejects it, and the agent goes on with that text.
      - For a question its answer, or C(reject). For several questions one answer to each, in their order, or one to all
        of them. Default is to answer nothing.
    type: list
    elements: str
    default: []
  by:
    description: Who answers, for the thread and the bead. Default is the user, at the host name of the controller.
    type: str
seealso:
  - module: dx.fleet.opencode_wait
"""

EXAMPLES = r"""
- name: Let the agent go on
  hosts: epyc6
  gather_facts: false
  tasks:
    - name: Allow it once
      dx.fleet.opencode_reply:
        name: ses_abc
        answers: [once]
"""

RETURN = r"""
requests:
  description:
    - What waits, each with C(id), C(session), C(kind), C(words), C(options) and C(questions). C(state) is V(waits), V(answered) or
      V(stale) (somebody else was faster).
  returned: success
  type: list
  elements: dict
  sample: [{"id": "per_1", "kind": "permission", "words": "permission bash: make", "state": "answered"}]
notes:
  description: The note that the bead of an answered session is to have, with C(bead), C(dispatch) and C(words).
  returned: success, where it was answered
  type: list
  elements: dict
reason_code:
  description: Why it failed.
  returned: failure
  type: str
  sample: connection_refused
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
from ansible_collections.dx.fleet.plugins.module_utils.specs import REPLY


def main() -> None:
    """Say where the work is done; the action plugin of the same name does it."""
    module = AnsibleModule(argument_spec=REPLY, supports_check_mode=True)
    module.fail_json(msg="dx.fleet.opencode_reply: this runs on the controller, as an action plugin")


if __name__ == "__main__":
    main()
