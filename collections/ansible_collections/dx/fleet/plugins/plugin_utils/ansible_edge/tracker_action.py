# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the actions on beads share: the module on the tracker host, and the servers of the claims."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from ansible.errors import AnsibleConnectionFailure
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ...module_utils.beads import commands
from ...module_utils.beads.errors import NoWorkspace
from ...module_utils.beads.workspace import find_workspace
from ...module_utils.specs import BEADS_INFO, CLAIM, CLAIM_REQUIRED_IF
from ..beads.dispatcher import Liveness, liveness_of
from ..domain.clock import SYSTEM_CLOCK
from ..domain.errors import TrackerError
from ..domain.outcome import State
from .action import FleetAction
from .claims_ahead import taken_ahead
from .module_words import last_words
from .own_session import apart

with suppress(ImportError):  # FleetAction.run says what is missing
    from ..beads.heartbeat import liveness_by_heartbeat
    from ..opencode.client import OpenCode
    from ..opencode.errors import OpenCodeError

__all__ = ["BeadsAction", "ModuleFailure"]

_COMMANDS = {
    "dx.fleet.beads_claim": (commands.claim, ArgumentSpecValidator(CLAIM, required_if=CLAIM_REQUIRED_IF)),
    "dx.fleet.beads_info": (commands.info, ArgumentSpecValidator(BEADS_INFO)),
}
_STATES = {state.value: state for state in (State.REFUSED, State.UNREACHABLE)}


class ModuleFailure(TrackerError):
    """The module failed on the tracker host; ``details`` are what it returned."""

    def __init__(self, details: Mapping[str, Any]) -> None:
        code = str(details.get("reason_code") or "tracker_failed")
        advice = details.get("next_action")
        message = str(details.get("message") or details.get("msg") or "the tracker host failed")
        if "reason_code" not in details:  # it is not the module that speaks
            message += last_words(details)
        super().__init__(
            message,
            reason_code=code,
            next_action=str(advice or "run the same with -vvv, and look at the tracker host"),
            state=_STATES.get(str(details.get("state")), State.REFUSED),
        )
        self.details = details


class BeadsAction(FleetAction):
    """Base of the actions that work with Beads. The connection of the task is that to the tracker host."""

    DELEGATED_TO_VM = False

    def on_tracker(self, module: str, args: Mapping[str, Any]) -> dict[str, Any]:
        """The result of a module that ran on the tracker host.

        Where that is the controller, its code runs in a fork of this process: Ansible would pack, unpack and
        compile it anew each time, half a second.

        Args:
            module: Its name, such as ``dx.fleet.beads_claim``.
            args: Its options; those that are None are left out.

        Raises:
            ModuleFailure: It failed, or the host can't be reached (``tracker_unreachable``).
        """
        given = {name: value for name, value in args.items() if value is not None}
        if self._connection.transport == "local":
            given.update(self._local_workspace(given.get("beads_dir")))
        result = self._done_here(module, given) if self._is_here() else self._done_there(module, given)
        if result.get("failed"):
            raise ModuleFailure(result)
        return result

    def _local_workspace(self, directory: str | None) -> dict[str, str]:
        """``beads_dir``, as an absolute path where one is known.

        Ansible runs a local module in the playbook's folder: a relative one begins there. Who gives none
        means the folder that they are in.
        """
        if directory is not None:
            return {"beads_dir": os.path.join(self._loader.get_basedir(), os.path.expanduser(directory))}
        try:
            return {"beads_dir": find_workspace()}
        except NoWorkspace:
            return {}

    def _is_here(self) -> bool:
        """Whether the task's connection leads to this host, as this user and with this environment."""
        connection = self._connection
        return connection.transport == "local" and not connection.become and not any(self._task.environment)

    def _done_here(self, module: str, given: dict[str, Any]) -> dict[str, Any]:
        command, spec = _COMMANDS[module]
        options = spec.validate(given)
        if options.error_messages:
            return {"failed": True, "msg": "; ".join(options.error_messages)}
        if command is commands.info and (ahead := taken_ahead(options.validated_parameters)) is not None:
            return ahead
        check = bool(self._task.check_mode)
        try:
            return apart(lambda: commands.returned(command, options.validated_parameters, check))
        except RuntimeError as error:
            return {"failed": True, "msg": f"{module} failed: {error}"}

    def _done_there(self, module: str, given: dict[str, Any]) -> dict[str, Any]:
        try:
            result = self.run_module(module, given)
        except AnsibleConnectionFailure as error:
            return {
                "failed": True,
                "msg": f"the tracker host can't be reached: {error}",
                "reason_code": "tracker_unreachable",
                "next_action": "see that it is up: ansible TRACKER -m ansible.builtin.ping",
                "state": State.UNREACHABLE.value,
            }
        return result

    def claims_on(self, where: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The claims of the tracker, and what is in progress on a VM of the fleet without one.

        Args:
            where: Options of ``beads_info``.

        Raises:
            ModuleFailure: They can't be read.
        """
        claims = self.on_tracker("dx.fleet.beads_info", where)["claims"]
        vms = self._task_vars.get("hostvars") or {}
        return [claim for claim in claims if claim["dispatch"] is not None or claim["vm"] in vms]

    async def liveness(self, claim: Mapping[str, Any]) -> Liveness:
        """Whether the dispatcher of a claim lives: by its process, else by its heartbeat.

        One whose VM can't be asked for the heartbeat counts as living.
        """
        life, vm, name = liveness_of(claim["dispatcher"]), claim["vm"], claim["session"]
        if life is not Liveness.UNSEEN or claim["dispatcher"] is None or name is None:
            return life
        server = self.servers_of([vm]).get(vm)
        if not isinstance(server, OpenCode):
            return Liveness.ALIVE
        try:
            async with server:
                return await liveness_by_heartbeat(server, name, claim["dispatcher"], clock=SYSTEM_CLOCK)
        except OpenCodeError:
            return Liveness.ALIVE
