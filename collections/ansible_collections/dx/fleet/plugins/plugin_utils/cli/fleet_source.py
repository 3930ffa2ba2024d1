# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which fleet a command is about."""

from __future__ import annotations

import os
from pathlib import Path

from ..config.endpoints import endpoints_of, find_endpoints, load_fleet
from ..domain.fleet import Fleet

__all__ = ["beads_found", "find_fleet", "vm_names"]


def find_fleet(inventory: Path | None) -> tuple[Fleet, Path]:
    """The fleet, and the inventory source from which Ansible makes the same one.

    Args:
        inventory: What was named; else the endpoints file is looked for.

    Raises:
        ConfigError: There is none, or it is wrong.
    """
    if inventory is not None:
        endpoints = endpoints_of(inventory, os.environ)
        return load_fleet(endpoints), inventory
    checkout = Path(__file__).parents[7] / "inventory" / "vm-endpoints.json"
    endpoints = find_endpoints(os.environ, checkout)
    return load_fleet(endpoints), endpoints


def vm_names(**_typed: object) -> tuple[str, ...]:
    """The names that a shell offers where a VM can stand."""
    return find_fleet(None)[0].names()


def beads_found(fleet: Fleet) -> dict[str, str]:
    """The variable that names the workspace here, where the fleet has none of its own and there is one."""
    if fleet.tracker is not None or fleet.beads_dir is not None:
        return {}
    from ...module_utils.beads.errors import NoWorkspace
    from ...module_utils.beads.workspace import find_workspace

    try:
        return {"dx_beads_dir": find_workspace()}
    except NoWorkspace:
        return {}
