# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The run of a playbook that looks at, stops or answers what works on some VMs."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..domain.fleet import Fleet
from ..launch.playbook_run import PlaybookRun
from .fleet_source import beads_found

__all__ = ["playbook_for"]


def playbook_for(
    name: str,
    fleet: Fleet,
    inventory: Path,
    vms: Sequence[str],
    given: Mapping[str, Any] | None = None,
    verbosity: int = 0,
) -> PlaybookRun:
    """The run, on these VMs, and in the Beads workspace that there is.

    Args:
        name: The playbook: ``status``, ``stop`` or ``answer``.
        fleet: The fleet.
        inventory: Its source.
        vms: The VMs to ask.
        given: Variables of the playbook; what is None is not given.
        verbosity: As of ``-v``.
    """
    variables = {"target": ":".join(vms), **(given or {}), **beads_found(fleet)}
    return PlaybookRun(
        name,
        inventory,
        variables={key: value for key, value in variables.items() if value is not None},
        hosts=len(vms),
        verbosity=verbosity,
        claims_of=_workspace_here(fleet, variables),
    )


def _workspace_here(fleet: Fleet, variables: Mapping[str, Any]) -> str | None:
    """The absolute path of the workspace, where `bd` runs on the controller and it is known."""
    if fleet.tracker is not None:
        return None
    directory = os.path.expanduser(variables.get("dx_beads_dir") or fleet.beads_dir or "")
    return directory if os.path.isabs(directory) else None
