# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an agent waits for till a test lets it go on, however slow the machine is."""

from __future__ import annotations

from tests.lab import Lab

from .fleet import fresh_id

__all__ = ["Gate"]


class Gate:
    """A file in the clones of affordabot. ``wait`` is the step of a task that waits for it."""

    def __init__(self, lab: Lab, *vms: str) -> None:
        name = f"gate-{fresh_id()}"
        self._files = [lab.vms[vm].repo("affordabot") / name for vm in vms]
        self.wait = f"@bash until [ -e {name} ]; do sleep 0.1; done"

    def open(self) -> None:
        """Let all that wait go on."""
        for file in self._files:
            file.touch()
