# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's endpoints file and inventory, as a user of the product would have them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from .binaries import pinned_version
from .plan import VMState, password_variable

__all__ = ["write_endpoints", "write_inventory"]

_ALIASES = {"homedesktop": ["homedesktop-wsl"]}
_DEFAULT_VM = "epyc6"
_SLACK_AUDIT_CHANNEL = "C09MQGMFKDE"


def write_endpoints(root: Path, vms: Sequence[VMState]) -> Path:
    """``vm-endpoints.json``; a VM without an sshd of its own is local, as all of them are this machine."""
    names = [vm.name for vm in vms]
    document = {
        "vms": {vm.name: _endpoint(vm) for vm in vms},
        "default_vm": next(iter([name for name in names if name == _DEFAULT_VM] or names), _DEFAULT_VM),
        "slack_audit_channel": _SLACK_AUDIT_CHANNEL,
    }
    path = root / "vm-endpoints.json"
    path.write_text(json.dumps(document, indent=2) + "\n")
    return path


def write_inventory(root: Path, endpoints: Path) -> Path:
    """``inventory/fleet.yml``, the plugin's source, with group variables beside it."""
    directory = root / "inventory"
    (directory / "group_vars").mkdir(parents=True, exist_ok=True)
    (directory / "group_vars" / "all.yml").write_text(f'---\nopencode_version: "{pinned_version()}"\n')
    source = directory / "fleet.yml"
    source.write_text(f"---\nplugin: dx.fleet.vm_endpoints\nendpoints: {json.dumps(str(endpoints))}\n")
    return source


def _endpoint(vm: VMState) -> dict[str, object]:
    entry: dict[str, object] = {"opencode": vm.url, "ssh": vm.ssh, "tailscale": None, "local": vm.ssh is None}
    if vm.name in _ALIASES:
        entry["aliases"] = _ALIASES[vm.name]
    if vm.password is not None:
        entry["password_env"] = password_variable(vm.name)
    return entry
