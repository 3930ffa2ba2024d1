# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run was asked for, and what else the steps of a dispatch take alike."""

from __future__ import annotations


class ModuleDocFragment:
    """``dx.fleet.request`` and ``dx.fleet.request.claims``."""

    DOCUMENTATION = r"""
options:
  request:
    description:
      - What a run was asked for, as the lookup P(dx.fleet.request#lookup) returns it. An option of the task itself
        goes before it.
    type: dict
    default: {}
  policies:
    description:
      - How the work in each repo is isolated, verified, pushed and ended, by the repo's name.
      - Default is the host variable C(dx_repos), which the inventory plugin
        P(dx.fleet.vm_endpoints#inventory) sets from C(repos) of the endpoints file.
    type: dict
    default: {}
"""

    CLAIMS = r"""
options:
  claims:
    description: The claims of the tracker, as of M(dx.fleet.beads_info).
    type: list
    elements: dict
    default: []
"""
