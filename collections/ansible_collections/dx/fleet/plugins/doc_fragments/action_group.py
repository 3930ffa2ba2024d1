# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action group that gives options to all actions of the collection at once."""

from __future__ import annotations


class ModuleDocFragment:
    """``dx.fleet.action_group``."""

    DOCUMENTATION = r"""
options: {}
attributes:
  action_group:
    description: Use C(group/dx.fleet.opencode) in C(module_defaults) to set defaults for this module.
    support: full
    membership:
      - dx.fleet.opencode
"""
