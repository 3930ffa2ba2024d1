# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the actions share whose module runs on the VM itself, over the host's own connection."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleConnectionFailure

from ..domain.errors import WorkError
from .action import FleetAction
from .module_words import last_words

__all__ = ["VMAction", "VMModuleFailure"]


class VMModuleFailure(WorkError):
    """The module failed on the VM; ``reason_code`` is its own, ``vm_no_ssh`` or ``module_failed``."""


class VMAction(FleetAction):
    """Base of the actions whose module needs the files of the VM."""

    def on_vm(self, module: str, options: Mapping[str, Any]) -> dict[str, Any]:
        """The result of a module that ran on the VM.

        Args:
            module: Its name.
            options: Its options; those that are None are left out.

        Raises:
            VMModuleFailure: It failed, or the VM can't be reached.
        """
        try:
            result = self.run_module(module, options)
        except AnsibleConnectionFailure as error:
            raise VMModuleFailure(
                f"Ansible does not reach {self.vm}: {str(error).strip()}",
                reason_code="vm_no_ssh",
                next_action=f"make ssh to {self.vm} work (ansible {self.vm} -m ansible.builtin.ping), or set"
                " worktree: never of the repo in vm-endpoints.json",
            ) from error
        result.pop("invocation", None)
        if result.get("failed"):
            raise self._failure(module, result)
        return {name: value for name, value in result.items() if not name.startswith("_")}

    def _failure(self, module: str, result: Mapping[str, Any]) -> VMModuleFailure:
        next_action = result.get("next_action")
        message = str(result.get("msg") or f"{module} failed").removesuffix(f". Next: {next_action}")
        if "reason_code" not in result:  # it is not the module that speaks
            message += last_words(result)
        return VMModuleFailure(
            message,
            reason_code=str(result.get("reason_code") or "module_failed"),
            next_action=str(next_action or f"run the same with -vvv, and look at {self.vm}"),
        )
