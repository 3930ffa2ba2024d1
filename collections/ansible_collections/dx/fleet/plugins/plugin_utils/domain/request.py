# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is asked of one VM. Plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from . import identity

__all__ = ["Request", "Resolution"]


@dataclass(frozen=True)
class Resolution:
    """How a repo name becomes a directory on one VM; see :class:`~.fleet.VM`."""

    repos: Mapping[str, str] = field(default_factory=dict)
    repos_root: str | None = None


@dataclass(frozen=True)
class Request:
    """One dispatch as it was asked for.

    ``resume`` is the session to continue instead of a new one; ``directory`` goes before ``repo``;
    ``model`` is ``provider/model``; ``permission`` are OpenCode's rules (``permission``, ``pattern``,
    ``action``), the last match wins; a VM that is not ``enabled`` takes nothing new; ``max_concurrent`` is
    the VM's capacity in busy sessions. ``join``: what was sent under its id is followed, whatever it
    was.
    """

    dispatch: str
    task: str
    vm: str
    repo: str | None = None
    directory: str | None = None
    resume: str | None = None
    agent: str | None = None
    model: str | None = None
    title: str | None = None
    permission: tuple[Mapping[str, str], ...] = ()
    enabled: bool = True
    max_concurrent: int | None = None
    join: bool = False
    resolution: Resolution = field(default_factory=Resolution)

    @property
    def session(self) -> str:
        """Id of the session in which the task runs."""
        return self.resume or identity.session_id(self.dispatch)

    @property
    def message(self) -> str:
        """Id of the user message that carries the task."""
        return identity.message_id(self.dispatch)

    @property
    def part(self) -> str:
        """Id of the only part of that message."""
        return identity.part_id(self.dispatch, self.task)
