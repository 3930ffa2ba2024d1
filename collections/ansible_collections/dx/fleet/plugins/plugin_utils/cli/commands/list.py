# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``dx-fleet list``: the VMs and what they answer to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ...domain.fleet import VM, Fleet
from ...domain.outcome import ExitCode
from ..command import Command
from ..fleet_source import find_fleet
from ..options import Options
from ..report import Report

__all__ = ["COMMAND", "ListOptions", "list_vms"]


@dataclass(frozen=True)
class ListOptions(Options):
    """List the VMs and what they answer to."""


def list_vms(options: ListOptions) -> Report:
    """The VMs of the endpoints file; none of them is asked.

    Raises:
        ConfigError: There is no such file, or it is wrong.
    """
    fleet, _ = find_fleet(options.inventory)
    vms = [_vm_as_dict(fleet, vm) for vm in fleet.vms]
    return Report(ExitCode.DONE, lines=list(_lines(fleet, vms)), sections={"vms": vms})


def _lines(fleet: Fleet, vms: list[dict[str, Any]]) -> Iterator[str]:
    yield f"{fleet.source}:"
    width = max(len(vm.name) for vm in fleet.vms)
    for vm in vms:
        notes = [note for note, true in (("default", vm["default"]), ("disabled", not vm["enabled"])) if true]
        names = f"  also {', '.join(vm['aliases'])}" if vm["aliases"] else ""
        yield f"  {vm['vm']:<{width}}  {vm['url']}{''.join(f'  ({note})' for note in notes)}{names}"


def _vm_as_dict(fleet: Fleet, vm: VM) -> dict[str, Any]:
    return {
        "vm": vm.name,
        "aliases": list(fleet.unambiguous_aliases(vm)),
        "url": vm.url,
        "enabled": vm.enabled,
        "default": fleet.default_vm is not None and fleet.default() is vm,
        "description": vm.description,
    }


COMMAND = Command(ListOptions, list_vms)
