# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a lab is made of, as it goes between the keeper and the process that asks for it. Plain data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

__all__ = [
    "DEFAULT_VMS",
    "LAB_ID_VARIABLE",
    "LOCAL_VM",
    "VM_VARIABLE",
    "LabPlan",
    "LabState",
    "SlackState",
    "VMState",
    "password_variable",
]

DEFAULT_VMS = ("homedesktop", "macmini", "epyc6")
"""The fleet, in the order of its addresses: 127.0.0.11, .12, .13."""

LOCAL_VM = "homedesktop"
"""The VM that is the machine of the person who dispatches; the others are reached by SSH."""

LAB_ID_VARIABLE = "DX_LAB_ID"
"""Every process of a lab has this in its environment, so that all of them can be found."""

VM_VARIABLE = "DX_LAB_VM"
"""Every process of a VM has this in its environment as well."""


@dataclass(frozen=True)
class LabPlan:
    """What is asked for.

    ``passwords``: VM -> its server's. ``detached``: it lives on without its parent. ``slack``: with a workspace.
    ``sshd``: OpenSSH's server; without it every VM is local.
    """

    lab_id: str
    root: str
    vms: tuple[str, ...]
    binary: str
    passwords: Mapping[str, str] = field(default_factory=dict)
    detached: bool = False
    slack: bool = False
    sshd: str | None = None

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> LabPlan:
        """The reverse of :meth:`to_json`."""
        data = json.loads(text)
        return cls(**{**data, "vms": tuple(data["vms"])})


@dataclass(frozen=True)
class VMState:
    """Where a VM's server is; ``ssh`` is user@host:port of its sshd, None for a local VM."""

    name: str
    host: str
    port: int
    home: str
    password: str | None = None
    ssh: str | None = None

    @property
    def url(self) -> str:
        """The server's address."""
        return f"http://{self.host}:{self.port}"


@dataclass(frozen=True)
class SlackState:
    """Where the Slack workspace is.

    ``url`` is what a client takes for Slack's; ``control`` is the keeper's. The bot is in ``channel`` and
    ``private_channel``, not in the public ``other_channel``; all three are ids.
    """

    url: str
    control: str
    bot_token: str
    reader_token: str
    other_token: str
    app_token: str
    app: str
    team: str
    channel: str
    private_channel: str
    other_channel: str


@dataclass(frozen=True)
class LabState:
    """Where everything of a running lab is. ``origin`` is the keeper's own address (model and control)."""

    lab_id: str
    pid: int
    root: str
    origin: str
    opencode_version: str
    endpoints: str
    inventory: str
    vms: tuple[VMState, ...]
    slack: SlackState | None = None

    @staticmethod
    def path(root: Path) -> Path:
        """The file that holds the state of the lab in that root."""
        return root / "state.json"

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> LabState:
        """The reverse of :meth:`to_dict`."""
        vms = tuple(VMState(**vm) for vm in data["vms"])
        slack = None if data["slack"] is None else SlackState(**data["slack"])
        return cls(**{**data, "vms": vms, "slack": slack})


def password_variable(vm: str) -> str:
    """The variable that holds a VM's password, as ``password_env`` of the endpoints file names it."""
    return f"DX_LAB_PASSWORD_{vm.upper().replace('-', '_')}"
