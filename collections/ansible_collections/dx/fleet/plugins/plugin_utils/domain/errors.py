# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every error that this collection raises on purpose.

    FleetError
    ├── UsageError            the request can't be meant: exit code 2, nothing was looked at
    │   └── ConfigError       the endpoints file or an option is wrong
    ├── PreflightError        a look at the VM says no; nothing was sent
    ├── TrackerError          a bead can't be claimed, or its claim not ended, or the tracker can't be asked
    ├── WorkError             no worktree can be made for the work; nothing was sent
    ├── DispatchError         a session or a prompt could not be placed, or we can't tell
    ├── WaitError             following a session failed
    └── AuditError            a fact could not be kept for Slack; the dispatch goes on

Lower layers raise; only an edge (action plugin, inventory plugin, command) turns one into Ansible's or
a shell's words. A leaf is the phase that failed: that is what a caller can act on. What went wrong in
it is ``reason_code``, stable snake_case.
"""

from __future__ import annotations

from ..text.printable import shortened
from .outcome import Outcome, State

__all__ = [
    "AuditError",
    "ConfigError",
    "DispatchError",
    "FleetError",
    "PreflightError",
    "TrackerError",
    "UsageError",
    "WaitError",
    "WorkError",
]


class FleetError(Exception):
    """An error that a person can act on.

    Args:
        message: One line: what, and where.
        reason_code: Stable snake_case name.
        next_action: What to do or run next.
        state: The outcome state that the dispatch has because of it.
    """

    default_state = State.FAILED

    def __init__(
        self,
        message: str,
        *,
        reason_code: str,
        next_action: str | None = None,
        state: State | None = None,
    ) -> None:
        self.message = shortened(message, 2000)  # much of it is others' text
        super().__init__(self.message)
        self.reason_code = reason_code
        self.next_action = next_action
        self.state = state or self.default_state

    def as_outcome(self) -> Outcome:
        """The outcome of a dispatch that ended with this error."""
        return Outcome(
            state=self.state,
            reason_code=self.reason_code,
            message_to_human=self.message,
            next_action=self.next_action,
        )


class UsageError(FleetError):
    """The request can't be meant as it was given."""

    default_state = State.REFUSED


class ConfigError(UsageError):
    """The endpoints file or an option is wrong. The message names the file and the JSON path."""


class PreflightError(FleetError):
    """A look at the VM says no. Nothing was sent."""

    default_state = State.UNREACHABLE


class TrackerError(FleetError):
    """A bead can't be claimed, or its claim not ended, or the tracker can't be asked."""

    default_state = State.REFUSED


class WorkError(FleetError):
    """No worktree can be made for the work, or let go of. Nothing was sent."""

    default_state = State.REFUSED


class DispatchError(FleetError):
    """A session or a prompt could not be placed, or it is not known whether it was."""


class WaitError(FleetError):
    """Following a session failed."""


class AuditError(FleetError):
    """A fact could not be kept or read back. It never ends a dispatch."""
