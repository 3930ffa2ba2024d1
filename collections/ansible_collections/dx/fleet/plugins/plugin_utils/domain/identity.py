# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of a dispatch that exist before anything else.

From the dispatch id follow the ids of its OpenCode session and message, so that a replay addresses the
same session and the same message, whatever was lost in between.
"""

from __future__ import annotations

import re
import secrets

from ...module_utils.session_ids import MESSAGE_PREFIX, SESSION_PREFIX, message_id, part_id, session_id
from .clock import SYSTEM_CLOCK, Clock
from .errors import UsageError

__all__ = [
    "EVERY_VM",
    "MESSAGE_PREFIX",
    "SESSION_PREFIX",
    "check_dispatch_id",
    "dispatch_id_on",
    "group_of",
    "message_id",
    "new_dispatch_id",
    "part_id",
    "session_id",
]

EVERY_VM = ".*"
"""What a name ends with that stands for an id on each VM of a group."""

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_DISPATCH_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@:-]{0,127}")


def new_dispatch_id(clock: Clock = SYSTEM_CLOCK) -> str:
    """A fresh ULID: 48 bits of milliseconds, 80 random bits, sortable by time."""
    number = int(clock.time() * 1000) << 80 | secrets.randbits(80)
    return "".join(_CROCKFORD[number >> shift & 31] for shift in range(125, -1, -5))


def check_dispatch_id(text: str) -> str:
    """The id as it stands, if it can be one.

    Raises:
        UsageError: ``bad_dispatch_id``.
    """
    if not _DISPATCH_ID.fullmatch(text):
        raise UsageError(
            f"{text[:40]!r} can't be a dispatch id: at most 128 letters, digits or ._@:- beginning with a"
            " letter or digit",
            reason_code="bad_dispatch_id",
            next_action="leave --id out to get a new one",
        )
    return text


def dispatch_id_on(vm: str, given: str, *, named: bool) -> str:
    """What a dispatch is called on a VM. A dispatch belongs to one VM; an id may be given to a group of VMs.

    Args:
        vm: The VM's own name.
        given: The id that the run was given.
        named: Whether the run named this VM, by its name or an alias, or no VM at all. Else it named a group,
            and each VM of it has an id of its own: ``ID.VM``, however many VMs there are.
    """
    return given if named else f"{given}.{vm}"


def group_of(dispatch: str, vm: str | None) -> str | None:
    """The name of all dispatches of a run that gave a group of VMs this one's id; None: it is one by itself.

    It is no id: the same one, given to one VM, is another dispatch.
    """
    given = dispatch.removesuffix(f".{vm}") if vm else dispatch
    return f"{given}{EVERY_VM}" if given not in ("", dispatch) else None
