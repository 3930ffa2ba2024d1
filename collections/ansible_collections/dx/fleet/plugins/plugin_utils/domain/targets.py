# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hosts of a run: those that it names, else the one that works on its bead, else the default VM."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from .errors import DispatchError, UsageError
from .next_action import join_command
from .outcome import State
from .precedence import may_be_any_vm

__all__ = [
    "DEFAULT",
    "Inventory",
    "check_session_of_id",
    "check_vm_of_id",
    "hosts_of",
    "may_be_any_vm",
    "vm_of_work",
]

DEFAULT = "default_vm"
"""The inventory's group that holds the default VM."""


class Inventory(Protocol):
    """The hosts of an inventory, by name and in its order."""

    def all(self) -> Sequence[str]:
        """Every host."""

    def matching(self, pattern: str) -> Sequence[str]:
        """The hosts that a pattern matches."""

    def limited(self, pattern: str) -> Sequence[str]:
        """Those of them that the run's ``--limit`` leaves."""


def vm_of_work(found: Mapping[str, Any], *, retry: bool) -> str | None:
    """The VM on which a bead is worked on, or was before it was blocked and is to be tried again.

    Args:
        found: The bead, as ``beads_claim`` with ``state=present`` returns it.
        retry: Whether a blocked bead is to be tried again.
    """
    bead, vm = found["bead"], found["vm"]
    # What an ended claim leaves in the metadata does not count once the bead is assigned to somebody else.
    ours = found["dispatch"] is not None and vm is not None and bead["assignee"] == vm
    worked_on = ("in_progress", "blocked") if retry else ("in_progress",)
    return str(vm) if ours and bead["status"] in worked_on else None


def check_vm_of_id(dispatch: str, vm: str, has_it: str) -> None:
    """An id belongs to one VM.

    Args:
        dispatch: The id.
        vm: The VM that a run names.
        has_it: The VM to which it was dispatched.

    Raises:
        DispatchError: ``id_elsewhere``: it is another one.
    """
    if vm != has_it:
        raise DispatchError(
            f"the dispatch {dispatch} is on {has_it}, and an id belongs to one VM: nothing was sent to {vm}",
            reason_code="id_elsewhere",
            next_action=join_command({}, has_it, dispatch),
            state=State.REFUSED,
        )


def check_session_of_id(dispatch: str, vm: str, session: str, has_it: str) -> None:
    """An id belongs to one session.

    Args:
        dispatch: The id.
        vm: Its VM.
        session: The session that a run names.
        has_it: The session to which it was dispatched.

    Raises:
        DispatchError: ``id_elsewhere``: it is another one.
    """
    if session != has_it:
        raise DispatchError(
            f"the dispatch {dispatch} is in session {has_it} of {vm}, and an id belongs to one session:"
            f" nothing was sent to {session}",
            reason_code="id_elsewhere",
            next_action=join_command({}, vm, dispatch, has_it),
            state=State.REFUSED,
        )


def hosts_of(
    request: Mapping[str, Any],
    located: Iterable[str],
    inventory: Inventory,
    default: str = DEFAULT,
    *,
    has_dispatch: str | None = None,
) -> list[str]:
    """The names of the hosts on which the run works.

    Args:
        request: What the run was asked for.
        located: VMs on which the run's bead was found to be worked on.
        inventory: The run's inventory.
        default: The hosts of a run that names none.
        has_dispatch: The VM that has a dispatch of the run's id already.

    Raises:
        DispatchError: ``id_elsewhere``: another VM has the id.
        UsageError: ``no_vm``, ``unknown_vm``, ``no_default_vm`` or ``limited_away``: there would be none.
    """
    if not inventory.all():
        raise UsageError(
            "the inventory has no host",
            reason_code="no_vm",
            next_action="name an inventory: -i inventory/fleet.yml, or -i vm-endpoints.json",
        )
    if has_dispatch is not None and may_be_any_vm(request):
        return [has_dispatch]
    pattern = next(iter(located), None) or str(request.get("target") or default)
    hosts = list(inventory.matching(pattern))
    if not hosts and pattern == default:
        raise UsageError(
            f"no VM is named, and the inventory has none in {default}",
            reason_code="no_default_vm",
            next_action="name one: -e target=VM",
        )
    if not hosts:
        raise UsageError(
            f"the inventory has no host {pattern!r}; it has {', '.join(inventory.all())}",
            reason_code="unknown_vm",
            next_action="name one of them: -e target=VM",
        )
    if has_dispatch is not None and len(hosts) == 1:  # in a group, each VM has an id of its own
        check_vm_of_id(str(request.get("id")), hosts[0], has_dispatch)
    limited = list(inventory.limited(pattern))
    if not limited:
        raise UsageError(
            f"--limit leaves none of {', '.join(hosts)}",
            reason_code="limited_away",
            next_action="leave --limit out, or name a VM that it has: -e target=VM",
        )
    return limited
