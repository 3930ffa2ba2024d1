# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The port behind which a playbook runs: in this process (``in_process``) or in another one (``in_child``).

Both have the same callback record each task's result in a file without a name, of which they hand it the
descriptor: what was recorded until now can be read at any time, also while the run still goes on, and by
whoever ends it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ..domain.progress import Emit, discard
from .collected import Collected

__all__ = ["Launcher", "PlaybookRun"]


@dataclass(frozen=True)
class PlaybookRun:
    """What is to be run.

    Args:
        name: A playbook of this collection, such as ``dispatch``.
        inventory: Inventory source.
        variables: Extra variables, as data: no string in them is ever a template. JSON-ready.
        hosts: How many hosts it will run on; each gets a worker, as one waits for its agent.
        check: Check mode.
        verbosity: As of ``-v``.
        callbacks: Enabled beside those of the configuration.
        skip_tags: Tags of the tasks that are left out.
        claims_of: A Beads workspace here for whose claims its first task asks; a hint, which may be left out.
    """

    name: str
    inventory: Path
    variables: Mapping[str, Any] = field(default_factory=dict)
    hosts: int = 1
    check: bool = False
    verbosity: int = 0
    callbacks: tuple[str, ...] = ()
    skip_tags: tuple[str, ...] = ("report",)
    claims_of: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready form; the inventory's path is absolute in it."""
        return {**asdict(self), "inventory": str(self.inventory.absolute())}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> PlaybookRun:
        """The reverse of :meth:`as_dict`."""
        lists = {name: tuple(data[name]) for name in ("callbacks", "skip_tags")}
        return cls(**{**data, **lists, "inventory": Path(data["inventory"])})


class Launcher(Protocol):
    """Runs one playbook."""

    def run(self, playbook: PlaybookRun, progress: Emit = discard) -> Collected:
        """Run it to its end.

        Args:
            playbook: What to run.
            progress: Called with each event, in the order in which they came, from any thread.

        Returns:
            What its tasks returned.

        Raises:
            FleetError: It could not begin.
        """

    def so_far(self) -> Collected:
        """What its tasks have returned until now."""
