# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where Beads is, and what every module on beads says of itself."""

from __future__ import annotations


class ModuleDocFragment:
    """``dx.fleet.beads`` and ``dx.fleet.beads.group``."""

    DOCUMENTATION = r"""
options:
  beads_dir:
    description:
      - The folder on the tracker host that holds C(.beads), or one below it.
      - Default is the host variable C(dx_beads_dir), else E(BEADS_DIR), else the folder that the module runs in; on
        the controller itself, the folder of whoever runs the playbook. There a relative one begins at the playbook.
    type: path
  beads_executable:
    description:
      - Path of C(bd) on the tracker host, or its name on PATH.
      - Default is the host variable C(dx_beads_executable).
    type: str
    default: bd
  timeout:
    description: Longest time of one call of C(bd), in seconds.
    type: float
    default: 60.0
notes:
  - Run it on the tracker host, the one machine on which every C(bd) call of the fleet runs (C(delegate_to)).
  - C(bd) 0.57 or later is needed there. 1.0.5, 1.1.1, 1.2.0 and 1.2.1 were withdrawn and are refused.
attributes:
  action:
    description: Indicates this has a corresponding action plugin so some parts of the options can be executed on
      the controller.
    support: full
    details:
      - The action asks the OpenCode servers from the controller; C(bd) runs where the connection leads.
  async:
    description: Supports being used with the C(async) keyword.
    support: none
    details:
      - Parts of it run on the controller.
  diff_mode:
    description: Will return details on what has changed (or possibly needs changing in C(check_mode)), when in
      diff mode.
  check_mode:
    description: Can run in C(check_mode) and return changed status prediction without modifying target.
  idempotent:
    description: When run twice in a row outside check mode, with the same arguments, the second invocation
      indicates no change.
"""

    GROUP = r"""
options: {}
attributes:
  action_group:
    description: Use C(group/dx.fleet.beads) in C(module_defaults) to set defaults for this module.
    support: full
    membership:
      - dx.fleet.beads
"""
