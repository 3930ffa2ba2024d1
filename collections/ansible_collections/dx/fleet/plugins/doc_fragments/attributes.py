# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every action of the collection says of itself."""

from __future__ import annotations


class ModuleDocFragment:
    """``dx.fleet.attributes`` and ``dx.fleet.attributes.on_host``."""

    DOCUMENTATION = r"""
options: {}
attributes:
  action:
    description: Indicates this has a corresponding action plugin so some parts of the options can be executed on
      the controller.
    support: full
    details:
      - All of it runs on the controller. Nothing is copied to the host or run there, and its connection is not
        used.
  async:
    description: Supports being used with the C(async) keyword.
    support: none
    details:
      - It runs on the controller.
  diff_mode:
    description: Will return details on what has changed (or possibly needs changing in C(check_mode)), when in
      diff mode.
    support: none
  check_mode:
    description: Can run in C(check_mode) and return changed status prediction without modifying target.
  idempotent:
    description: When run twice in a row outside check mode, with the same arguments, the second invocation
      indicates no change.
"""

    ON_HOST = r"""
options: {}
attributes:
  action:
    description: Indicates this has a corresponding action plugin so some parts of the options can be executed on
      the controller.
    support: full
    details:
      - The action decides on the controller what is done; a module does it on the host, over its own connection.
  async:
    description: Supports being used with the C(async) keyword.
    support: none
    details:
      - Parts of it run on the controller.
  action_group:
    description: Use C(group/dx.fleet.opencode) or C(group/dx.fleet.dispatch) in C(module_defaults) to set defaults for
      this module.
    support: full
    membership:
      - dx.fleet.opencode
      - dx.fleet.dispatch
  check_mode:
    description: Can run in C(check_mode) and return changed status prediction without modifying target.
    support: full
    details:
      - The task is skipped.
  diff_mode:
    description: Will return details on what has changed (or possibly needs changing in C(check_mode)), when in
      diff mode.
    support: none
  idempotent:
    description: When run twice in a row outside check mode, with the same arguments, the second invocation
      indicates no change.
    support: full
"""
