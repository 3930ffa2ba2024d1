# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The edge between Ansible and the use cases: arguments in, use case called, result out."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ansible import context
from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ..config.folders import runtime_folder
from ..domain.errors import ConfigError, FleetError, UsageError
from ..domain.fleet import Transport
from ..domain.orchestrator import VARIABLE, orchestrator_of
from ..domain.outcome import Outcome
from ..domain.progress import ProgressEvent
from ..domain.progress_wording import line_of
from ..domain.task import is_text
from ..text.urls import check_url
from . import progress_bus
from .by_stdin import by_stdin

try:
    from ..opencode.client import OpenCode
    from ..opencode.vm_transport import VMTransport
    from .ssh_connection import is_by_ssh, ssh_connection

    MISSING_LIBRARY: ImportError | None = None
except ImportError as error:  # raised here, it would end the whole run instead of failing the task
    MISSING_LIBRARY = error

if TYPE_CHECKING:
    from ..audit.facts.trail import DispatchTrail

__all__ = ["FleetAction"]

# Host variables of the vm_endpoints inventory, for options that a task leaves out.
_HOST_VARIABLES = {
    "url": "opencode_url",
    "username": "opencode_username",
    "password_env": "opencode_password_env",
    "transport": "opencode_transport",
    "enabled": "opencode_enabled",
    "aliases": "opencode_aliases",
    "repos": "opencode_repos",
    "repos_root": "opencode_repos_root",
    "max_concurrent": "opencode_max_concurrent",
    "beads_dir": "dx_beads_dir",
    "beads_executable": "dx_beads_executable",
    "single_orchestrator": "dx_single_orchestrator",
    "policies": "dx_repos",
    "answer_policy": "dx_answer_policy",
    "worktrees_root": "dx_worktrees_root",
}

display = Display()


class FleetAction(ActionBase):  # type: ignore[misc]
    """Base of the actions: validates, connects, and speaks Ansible about errors.

    A subclass gives ``ARGUMENT_SPEC`` and :meth:`act`.
    """

    TRANSFERS_FILES = False
    _supports_async = False
    _supports_check_mode = True
    _supports_diff = False

    TELLS = False
    """Whether the end of what it works on is posted to Slack, where that is configured."""

    DELEGATED_TO_VM = True
    """Whether ``delegate_to`` names the VM, whose server is asked then; else only where modules run."""

    ARGUMENT_SPEC: Mapping[str, Any] = {}
    REQUIRED_IF: Sequence[Any] = ()

    def requested(self, request: Mapping[str, Any]) -> Mapping[str, Any]:  # noqa: ARG002
        """The options that follow from what the run was asked for; the task's own go before them."""
        return {}

    def act(self, args: dict[str, Any]) -> Coroutine[Any, Any, dict[str, Any]]:
        """The use case, as a coroutine that returns the task's result.

        Raises:
            FleetError: Becomes a failed task with an ``outcome``.
        """
        raise NotImplementedError

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        if MISSING_LIBRARY is not None:
            raise AnsibleActionFail(
                f"dx.fleet needs a Python library on the controller: {MISSING_LIBRARY}."
                " Next: pip install httpx httpx-sse pydantic stamina"
            )
        self._task_vars = task_vars or {}
        self.telling = self._telling()
        result: dict[str, Any] = super().run(tmp, task_vars)
        self._fill_from_request()
        self._fill_from_host_variables()
        _, args = self.validate_argument_spec(
            argument_spec=dict(self.ARGUMENT_SPEC), required_if=self.REQUIRED_IF
        )
        try:
            _check_text({name: value for name, value in args.items() if name != "task"})
            self._check_delegated(args)
            result.update(asyncio.run(_attended(self.act(args))))
        except FleetError as error:
            outcome = error.as_outcome().with_(vm=self.vm, **self.named(args))
            if self.telling is not None and self.TELLS:
                self.telling.ended(outcome)
            result.update(self.failed(outcome))
        return result

    @property
    def vm(self) -> str:
        """The inventory host; where the task is delegated to a VM, that one."""
        return self._delegated_to or str(self._task_vars.get("inventory_hostname", "localhost"))

    @property
    def _delegated_to(self) -> str | None:
        return str(self._task.delegate_to) if self.DELEGATED_TO_VM and self._task.delegate_to else None

    @property
    def vm_names(self) -> frozenset[str]:
        """All that the VM answers to."""
        return frozenset((self.vm, *(self._host_variables().get("opencode_aliases") or ())))

    def _check_delegated(self, args: Mapping[str, Any]) -> None:
        """Raises ConfigError for a task that is delegated to a host which is no VM."""
        if self._delegated_to and not (args.get("url") or self._host_variables().get("opencode_url")):
            raise self._url_missing()

    def _url_missing(self) -> ConfigError:
        return ConfigError(
            f"{self.vm} has no OpenCode server: neither the option url nor the host variable"
            " opencode_url is set",
            reason_code="url_missing",
            next_action="use the inventory plugin dx.fleet.vm_endpoints, or set url"
            if self._delegated_to is None
            else "leave delegate_to out, as this runs on the controller anyway, or delegate to a VM",
        )

    def _host_variables(self) -> Mapping[str, Any]:
        """The variables of the VM."""
        if self._delegated_to is None:
            return self._task_vars
        found: Mapping[str, Any] = self._task_vars.get("ansible_delegated_vars", {}).get(
            self._delegated_to, {}
        )
        return found

    def named(self, args: Mapping[str, Any]) -> dict[str, Any]:
        """What identifies a dispatch, for an outcome that an error made."""
        names = (("repo", "repo"), ("dispatch", "id"), ("bead", "bead"))
        return {key: args.get(source) for key, source in names}

    def connect(self, args: Mapping[str, Any], vm: str | None = None) -> OpenCode:
        """A client of the server that the options name.

        Args:
            args: Options.
            vm: The server's VM; default: the task's host.

        Raises:
            ConfigError: ``url_missing``, ``bad_url``, ``password_missing`` or ``no_ssh``.
        """
        url = args.get("url")
        if not url:
            raise self._url_missing()
        password = _password(args)
        try:
            url = check_url(url)
            transport = self._transport(url, args.get("transport"), vm or self.vm)
            return OpenCode(
                url,
                password=password,
                username=args.get("username") or "opencode",
                **({} if transport is None else {"transport": transport}),
            )
        except ValueError as error:
            raise ConfigError(
                f"the server's URL {error}",
                reason_code="bad_url",
                next_action="write it as http://host:4105",
            ) from error

    def servers_of(self, vms: Iterable[str | None]) -> dict[str, OpenCode | FleetError]:
        """The OpenCode server of each VM, as the inventory knows it, or why there is none to ask."""
        hosts = self._task_vars.get("hostvars") or {}
        return {vm: self._server_of(vm, hosts) for vm in dict.fromkeys(filter(None, vms))}

    def _server_of(self, vm: str, hosts: Mapping[str, Any]) -> OpenCode | FleetError:
        # Not get(): for a host that it does not know, that of Ansible's hostvars raises (2.19).
        known = hosts[vm] if vm in hosts else {}  # noqa: SIM401
        options = ("url", "username", "password_env")
        try:
            return self.connect({name: known.get(f"opencode_{name}") for name in options}, vm)
        except FleetError as error:
            return error

    def _transport(self, url: str, mode: str | None, vm: str) -> VMTransport | None:
        """The way to a VM's server; None: only its port.

        Raises:
            ConfigError: ``no_ssh``.
        """
        hosts = self._task_vars.get("hostvars") or {}
        # Not get(): for a host that it does not know, that of Ansible's hostvars raises (2.19).
        host = hosts[vm] if vm in hosts else {}  # noqa: SIM401
        mode = str(mode or host.get("opencode_transport") or "auto")
        if mode == "http" or not (host and is_by_ssh(host)):
            if mode == "ssh":
                raise ConfigError(
                    f"{vm} is to be reached through SSH, but has no SSH connection in the inventory",
                    reason_code="no_ssh",
                    next_action=f"set ssh of {vm} in vm-endpoints.json, or leave its transport out",
                )
            return None
        folder = runtime_folder(os.environ)
        ssh_host = str(host.get("ansible_host") or vm)
        wanted: Transport = "ssh" if mode == "ssh" else "auto"
        return VMTransport(url, wanted, ssh_host, lambda: ssh_connection(host, folder), folder)

    def run_module(self, module: str, options: Mapping[str, Any]) -> dict[str, Any]:
        """What a module returns on the task's host.

        Args:
            module: Its name.
            options: Its options; those that are None are left out.

        Raises:
            AnsibleConnectionFailure: The host can't be reached.
            AnsibleError: It can't be run there.
        """
        given = {name: value for name, value in options.items() if value is not None}
        found = by_stdin(self, module, given, self._task_vars)
        if found is None:
            found = self._execute_module(module_name=module, module_args=given, task_vars=self._task_vars)
        return found

    def emit(self, event: ProgressEvent) -> None:
        """Show progress at once, on the command's bus or through Ansible's display; record it for Slack."""
        if progress_bus.is_open():
            progress_bus.send(event)
        else:
            display.display(line_of(event))
        if self.telling is not None:
            self.telling.progress(event)

    def failed(self, outcome: Outcome) -> dict[str, Any]:
        """The result of a task whose outcome is not good."""
        said = outcome.message_to_human
        if outcome.next_action:
            said += f". Next: {outcome.next_action}"
        return {
            "failed": True,
            "msg": said,
            "reason_code": outcome.reason_code,
            "next_action": outcome.next_action,
            "outcome": outcome.as_dict(),
        }

    def _telling(self) -> DispatchTrail | None:
        """Where facts are recorded; None where nothing is to be recorded, as in a run in check mode."""
        if not os.environ.get("SLACK_BOT_TOKEN") or context.CLIARGS.get("check"):
            return None
        from ..audit.facts.trail import DispatchTrail
        from ..audit.store.recorder import recorder_of

        recorder = recorder_of(
            self._task_vars.get("slack_audit_channel"), display.warning, self._task_vars.get("slack_users")
        )
        return DispatchTrail(recorder, _orchestrator()) if recorder.config.on else None

    def _fill_from_request(self) -> None:
        request = self._task.args.get("request")
        if not isinstance(request, Mapping):
            return
        for option, value in self.requested(request).items():
            if self._task.args.get(option) is None and value is not None:
                self._task.args[option] = value

    def _fill_from_host_variables(self) -> None:
        variables = self._host_variables()
        for option, variable in _HOST_VARIABLES.items():
            if option not in self.ARGUMENT_SPEC or self._task.args.get(option) is not None:
                continue
            value = variables.get(variable)
            if value is not None:
                self._task.args[option] = self._templar.template(value)


def _orchestrator() -> str:
    """Who dispatches, for the audit: a name that is none ends no dispatch that needs no name."""
    try:
        return orchestrator_of(os.environ)
    except ConfigError as error:
        display.warning(f"{error.message}. Next: {error.next_action}")
        return orchestrator_of({name: value for name, value in os.environ.items() if name != VARIABLE})


def _check_text(value: Any, name: str = "an option") -> None:
    """Raises UsageError for a string, however deep, that is no text and so no name of anything."""
    if isinstance(value, str) and not is_text(value):
        raise UsageError(
            f"{name} is not valid text: {value[:40]!a}",
            reason_code="bad_text",
            next_action="pass it as UTF-8, without NUL",
        )
    if isinstance(value, Mapping):
        for key, inner in value.items():
            _check_text(key, name)
            _check_text(inner, str(key))
    elif isinstance(value, list):
        for inner in value:
            _check_text(inner, name)


async def _attended(work: Coroutine[Any, Any, dict[str, Any]]) -> dict[str, Any]:
    """What the work returns. Where the controller ends meanwhile, so does this worker: nobody would hear."""
    controller = multiprocessing.parent_process()
    if controller is not None:
        asyncio.get_running_loop().add_reader(controller.sentinel, os._exit, 1)
    return await work


def _password(args: Mapping[str, Any]) -> str | None:
    if args.get("password"):
        return str(args["password"])
    variable = args.get("password_env")
    if not variable:
        return None
    password = os.environ.get(variable)
    if not password:
        raise ConfigError(
            f"the environment variable {variable}, which password_env names, is not set",
            reason_code="password_missing",
            next_action=f"export {variable}",
        )
    return password
