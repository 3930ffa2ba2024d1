# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fleet: VMs and the names they answer to. Plain data, no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from .answer_policy import AnswerPolicy
from .errors import UsageError

__all__ = ["GROUPS", "VM", "Fleet", "RepoPolicy", "Transport"]

GROUPS = ("opencode", "disabled", "local", "remote", "default_vm")
"""The inventory's own groups; each alias makes one more."""

Transport = Literal["auto", "http", "ssh"]
"""How the OpenCode server of a VM is reached: directly, through SSH, or whichever of them works."""


@dataclass(frozen=True)
class VM:
    """One machine of the fleet.

    ``aliases`` are the further names that it answers to, in the order of preference, without its own name.
    ``repos`` maps a repo name to a directory on the VM. ``worktrees_root`` is the directory on the VM that
    holds the worktrees of dispatches (None: in the data folder of the SSH user). ``password_env`` names the
    environment variable of the controller that holds the server's password.
    """

    name: str
    url: str
    aliases: tuple[str, ...] = ()
    local: bool = False
    ssh_host: str | None = None
    ssh_user: str | None = None
    ssh_port: int | None = None
    transport: Transport = "auto"
    enabled: bool = True
    max_concurrent: int | None = None
    repos: Mapping[str, str] = field(default_factory=dict)
    repos_root: str | None = None
    worktrees_root: str | None = None
    password_env: str | None = None
    description: str | None = None


@dataclass(frozen=True)
class RepoPolicy:
    """How the work in a repo is isolated, verified and ended, on every VM.

    Attributes:
        verify: The shell command that decides whether the work is good; None: nothing is verified.
        report: Glob of the JUnit XML files that ``verify`` writes, relative to the worktree.
        verify_timeout_s: How long ``verify`` may run.
        base: The git ref from which a new branch begins; None: the remote's default branch.
        worktree: ``auto`` makes one for a bead or a branch, ``always`` for every dispatch.
        push: Whether a verified branch is pushed.
        close_on: The outcome that closes the bead.
        counts: ``none`` accepts a ``verify`` that counts no tests.
        keep_worktrees: How many days after its last use the worktree of a dispatch that ended stays.
    """

    verify: str | None = None
    report: str | None = None
    verify_timeout_s: float = 1800.0
    base: str | None = None
    worktree: Literal["auto", "always", "never"] = "auto"
    push: bool = False
    close_on: Literal["verified", "completed"] = "verified"
    counts: Literal["required", "none"] = "required"
    keep_worktrees: float = 14.0

    def as_dict(self) -> dict[str, Any]:
        """As the host variable ``dx_repos`` has it, by the names of the endpoints file."""
        values = asdict(self)
        return {"verify_timeout": values.pop("verify_timeout_s"), **values}


@dataclass(frozen=True)
class Fleet:
    """All VMs of one endpoints file.

    ``tracker`` is the VM on which every `bd` call runs (None: the controller), in ``beads_dir``. ``repos``
    maps a repo name to its policy, ``slack_users`` a Slack user id to what it may ask for. ``answer_policy``
    says which permissions need no person.
    """

    vms: tuple[VM, ...]
    default_vm: str | None = None
    slack_audit_channel: str | None = None
    tracker: str | None = None
    beads_dir: str | None = None
    slack_users: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    single_orchestrator: bool = False
    answer_policy: AnswerPolicy = field(default_factory=AnswerPolicy)
    repos: Mapping[str, RepoPolicy] = field(default_factory=dict)
    source: str = "vm-endpoints.json"

    def names(self) -> tuple[str, ...]:
        """The VMs' names in the order of the file."""
        return tuple(vm.name for vm in self.vms)

    def policies(self) -> dict[str, dict[str, Any]]:
        """The policy of each repo, as the host variable ``dx_repos`` has it."""
        return {name: policy.as_dict() for name, policy in self.repos.items()}

    def find(self, name: str) -> VM:
        """The VM that answers to a name or alias; a VM's own name wins over another's alias.

        Names are host names, hence compared without regard to case.

        Raises:
            UsageError: ``unknown_vm`` or ``ambiguous_vm``.
        """
        own = [vm for vm in self.vms if vm.name.casefold() == name.casefold()]
        found = own or [vm for vm in self.vms if name.casefold() in map(str.casefold, vm.aliases)]
        if len(found) == 1:
            return found[0]
        if not found:
            raise UsageError(
                f"unknown VM {name!r}; {self.source} has {self._valid_names()}",
                reason_code="unknown_vm",
                next_action="dx-fleet list",
            )
        raise UsageError(
            f"{name!r} is ambiguous: {' and '.join(vm.name for vm in found)} in {self.source} answer to it",
            reason_code="ambiguous_vm",
            next_action=f"use one of: {', '.join(vm.name for vm in found)}",
        )

    def unambiguous_aliases(self, vm: VM) -> tuple[str, ...]:
        """The aliases by which :meth:`find` gives this VM."""
        return tuple(alias for alias in vm.aliases if self._only(alias) is vm)

    def default(self) -> VM:
        """The default VM.

        Raises:
            UsageError: ``no_default_vm``.
        """
        if self.default_vm is None:
            raise UsageError(
                f"no VM given, and {self.source} has no default_vm; it has {self._valid_names()}",
                reason_code="no_default_vm",
                next_action="dx-dispatch VM REPO TASK",
            )
        return self.find(self.default_vm)

    def _only(self, name: str) -> VM | None:
        try:
            return self.find(name)
        except UsageError:
            return None

    def _valid_names(self) -> str:
        return ", ".join(_described(self.vms)) or "no VM at all"


def _described(vms: Iterable[VM]) -> Iterable[str]:
    for vm in vms:
        yield f"{vm.name} ({', '.join(vm.aliases)})" if vm.aliases else vm.name
