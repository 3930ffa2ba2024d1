# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which VMs, repo and task the words after dx-dispatch name."""

from __future__ import annotations

from dataclasses import dataclass

from ..domain.errors import UsageError
from ..domain.fleet import Fleet
from ..text.shell import command_line
from .dispatch_options import DispatchOptions

__all__ = ["Targets", "targets_of"]


@dataclass(frozen=True)
class Targets:
    """What the words mean: an Ansible host pattern, its VMs, and the request.

    ``named``: the VM was named, and is not only the default one.
    """

    pattern: str
    vms: tuple[str, ...]
    repo: str | None
    task: str | None
    named: bool = True


def targets_of(options: DispatchOptions, fleet: Fleet) -> Targets:
    """The VMs, repo and task that the words name.

    ``VM REPO TASK``, ``REPO TASK`` (default VM); with ``--id`` also ``VM`` or nothing; with ``--session``,
    which has a directory already, also ``VM TASK``; with a bead, whose text is the task, also ``VM REPO``,
    ``REPO``, ``VM`` or nothing; with ``--retry``, which knows the place, also ``TASK`` or ``VM TASK``: a word
    there that is no repo of the file is an instruction.

    Raises:
        UsageError: They name an unknown VM, or something is missing.
    """
    words = list(options.words)
    named = True
    if options.all:
        if len(words) == 3:
            raise UsageError(
                f"both a VM ({words[0]!r}) and --all are given",
                reason_code="vm_and_all",
                next_action=f"leave out --all, or {words[0]!r}",
            )
        pattern, vms = "opencode", tuple(vm.name for vm in fleet.vms if vm.enabled)
        if not vms:
            raise UsageError(
                f"no VM in {fleet.source} is enabled", reason_code="no_vm", next_action="dx-fleet list"
            )
    else:
        given = len(words)
        vm = _vm(words, options, fleet)
        named = len(words) < given
        pattern, vms = vm, (vm,)
    repo, task = _repo_and_task(words, options, fleet)
    return Targets(pattern, vms, repo, task, named)


def _vm(words: list[str], options: DispatchOptions, fleet: Fleet) -> str:
    """The VM's own name; takes its word away."""
    if len(words) == 3 or (len(words) == 1 and options.id is not None):
        return fleet.find(words.pop(0)).name
    if options.any_bead is not None and len(words) in (1, 2) and _answers(fleet, words[0]):
        return fleet.find(words.pop(0)).name
    if len(words) == 2 and _answers(fleet, words[0]):
        if options.session is not None:
            return fleet.find(words.pop(0)).name
        raise UsageError(
            f"{words[0]!r} is a VM, so the repo or the task is missing",
            reason_code="task_missing",
            next_action=command_line(["dx-dispatch", *words, "what to do"]),
        )
    return fleet.default().name


def _answers(fleet: Fleet, name: str) -> bool:
    try:
        fleet.find(name)
    except UsageError as error:
        return error.reason_code == "ambiguous_vm"
    return True


def _repo_and_task(words: list[str], options: DispatchOptions, fleet: Fleet) -> tuple[str | None, str | None]:
    if not words and (options.id is not None or options.any_bead is not None):
        return None, None
    if len(words) == 1 and options.retry is not None and words[0].strip() and words[0] not in _repos(fleet):
        return None, words[0]  # the claim knows the place
    if len(words) == 1 and options.any_bead is not None:
        return (None, words[0]) if options.session is not None else (_repo(words[0]), None)
    if len(words) == 1 and options.session is not None:
        return None, words[0]
    if len(words) > 2:
        raise UsageError(
            f"there are {len(words)} words where VM REPO TASK can stand; the task must be one of them",
            reason_code="too_many_words",
            next_action="quote the task: dx-dispatch VM REPO 'what to do'",
        )
    if len(words) != 2:
        raise UsageError(
            "the repo or the task is missing" if words else "there is nothing to do",
            reason_code="task_missing",
            next_action="dx-dispatch VM REPO 'what to do', or dx-dispatch --help",
        )
    return _repo(words[0]), words[1]


def _repos(fleet: Fleet) -> set[str]:
    """The names of the repos that the file mentions."""
    return {*fleet.repos, *(name for vm in fleet.vms for name in vm.repos)}


def _repo(word: str) -> str:
    if not word.strip():
        raise UsageError("the repo is empty", reason_code="repo_missing", next_action="name a repo")
    return word
