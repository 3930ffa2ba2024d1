# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the actions on beads share: the module on the tracker host, and the servers of the claims."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from ansible.errors import AnsibleConnectionFailure

from ..module_utils.beads.errors import NoWorkspace
from ..module_utils.beads.workspace import find_workspace
from .ansible_action import FleetAction
from .errors import ClaimError, FleetError
from .outcome import State

with suppress(ImportError):  # FleetAction.run says what is missing
    from .opencode.client import OpenCode

__all__ = ["BeadsAction", "ModuleFailure"]

_REFUSED = frozenset(
    (
        "already_claimed",
        "already_assigned",
        "not_claimable",
        "not_claimed",
        "claim_lost",
        "lock_busy",
        "orchestrator_active",
    )
)
_UNREACHABLE = frozenset(("store_unreachable", "tracker_unreachable"))


class ModuleFailure(ClaimError):
    """The module failed on the tracker host; ``details`` are what it returned."""

    def __init__(self, details: Mapping[str, Any]) -> None:
        code = str(details.get("reason_code") or "tracker_failed")
        advice = details.get("next_action")
        message = str(details.get("msg") or details.get("module_stderr") or "the tracker host failed")
        super().__init__(
            message.removesuffix(f". Next: {advice}"),
            reason_code=code,
            next_action=str(advice or "run the same with -vvv, and look at the tracker host"),
            state=State.REFUSED
            if code in _REFUSED
            else State.UNREACHABLE
            if code in _UNREACHABLE
            else State.FAILED,
        )
        self.details = details


class BeadsAction(FleetAction):
    """Base of the actions that work with Beads. The connection of the task is that to the tracker host."""

    TRANSFERS_FILES = True

    def on_tracker(self, module: str, args: Mapping[str, Any]) -> dict[str, Any]:
        """The result of a module that ran on the tracker host.

        Args:
            module: Its name, such as ``dx.fleet.beads_claim``.
            args: Its options; those that are None are left out.

        Raises:
            ModuleFailure: It failed, or the host can't be reached (``tracker_unreachable``).
        """
        given = {name: value for name, value in args.items() if value is not None}
        if "beads_dir" not in given and self._connection.transport == "local":
            # Ansible runs a local module in the playbook's folder; a person means the one they are in.
            with suppress(NoWorkspace):
                given["beads_dir"] = find_workspace()
        try:
            result: dict[str, Any] = self._execute_module(
                module_name=module, module_args=given, task_vars=self._task_vars
            )
        except AnsibleConnectionFailure as error:
            raise ModuleFailure(
                {
                    "msg": f"the tracker host can't be reached: {error}",
                    "reason_code": "tracker_unreachable",
                    "next_action": "see that it is up: ansible TRACKER -m ansible.builtin.ping",
                }
            ) from error
        if result.get("failed"):
            raise ModuleFailure(result)
        return result

    def servers_of(self, vms: Iterable[str | None]) -> dict[str, OpenCode | FleetError]:
        """The OpenCode server of each VM, as the inventory knows it, or why there is none to ask."""
        hosts = self._task_vars.get("hostvars") or {}
        return {vm: self._server_of(vm, hosts) for vm in dict.fromkeys(filter(None, vms))}

    def _server_of(self, vm: str, hosts: Mapping[str, Any]) -> OpenCode | FleetError:
        # Not get(): for a host that it does not know, that of Ansible's hostvars raises (2.19).
        known = hosts[vm] if vm in hosts else {}  # noqa: SIM401
        options = ("url", "username", "password_env")
        try:
            return self.connect({name: known.get(f"opencode_{name}") for name in options})
        except FleetError as error:
            return error
