# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: summary
short_description: What became of a dispatch in one line, from what its steps returned
version_added: 0.1.0
author: dx.fleet contributors (@dx-fleet)
description:
  - Takes what the steps of a dispatch returned, in their order, and returns the outcome of the last one that has one, as its
    state and its message.
options:
  _input:
    description: What M(dx.fleet.opencode_dispatch), M(dx.fleet.beads_claim) and M(dx.fleet.opencode_wait) returned.
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
- name: Follow a dispatch
  hosts: epyc6
  gather_facts: false
  tasks:
    - name: Send the task
      dx.fleet.opencode_dispatch:
        repo: affordabot
        task: Run make test
      register: sent

    - name: Follow it
      dx.fleet.opencode_wait:
        sent: "{{ sent }}"
      register: followed
      ignore_errors: true

    - name: Report what became of it
      ansible.builtin.debug:
        msg: "{{ [sent, followed] | dx.fleet.summary }}"
"""

RETURN = r"""
_value:
  description: The state and the message of RV(dx.fleet.opencode_wait#module:outcome); without any, that nothing came of it.
  type: str
  sample: "verified: 42 passed, 3 commits"
"""

from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.dx.fleet.plugins.plugin_utils.domain.outcome import shown_state
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.precedence import last_outcome


class FilterModule:
    """``dx.fleet.summary``."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"summary": summary}


def summary(steps: list[Mapping[str, Any]]) -> str:
    """The state and the message of the last outcome."""
    outcome = last_outcome(*steps)
    return (
        f"{shown_state(outcome['state'])}: {outcome['message_to_human']}"
        if outcome
        else "no step has an outcome"
    )
