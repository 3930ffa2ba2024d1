# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: no_files
short_description: The connection of a VM that is neither this machine nor reached by SSH
version_added: 0.1.0
author: dx.fleet contributors (@dx-fleet)
description:
  - Its OpenCode server is reached by its port; its files and processes are not. What needs them fails as
    unreachable, with what to do, and never runs on this machine in their place.
  - The inventory P(dx.fleet.vm_endpoints#inventory) gives it to VMs that have no C(ssh) and are not C(local).
options: {}
"""

from typing import Any, NoReturn

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.connection import ConnectionBase


class Connection(ConnectionBase):
    """Leads nowhere."""

    transport = "dx.fleet.no_files"
    has_pipelining = True

    def _connect(self) -> NoReturn:
        raise AnsibleConnectionFailure(
            "the VM has no ssh in vm-endpoints.json, and is not this machine (local: true)"
        )

    def exec_command(self, *_: Any, **__: Any) -> NoReturn:
        """Run nothing."""
        self._connect()

    def put_file(self, *_: Any) -> NoReturn:
        """Send nothing."""
        self._connect()

    def fetch_file(self, *_: Any) -> NoReturn:
        """Fetch nothing."""
        self._connect()

    def close(self) -> None:
        """There is nothing to close."""
