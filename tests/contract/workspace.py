# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A workspace under test. Without pytest, as each of many racing processes imports it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ansible_collections.dx.fleet.plugins.module_utils.beads.bd import Bd
from ansible_collections.dx.fleet.plugins.module_utils.beads.claims import Claims

from tests.lab.tracker import Tracker

__all__ = ["Workspace"]


@dataclass(frozen=True)
class Workspace:
    """A fresh workspace, and how to work in it."""

    tracker: Tracker

    @property
    def executable(self) -> str:
        return str(self.tracker.folder / "bin" / "bd")

    @property
    def folder(self) -> Path:
        return self.tracker.folder

    @property
    def bd(self) -> Bd:
        return Bd(self.executable, str(self.folder))

    @property
    def claims(self) -> Claims:
        return self.claims_waiting(300)

    def claims_waiting(self, lock_timeout_s: float) -> Claims:
        return Claims(self.bd, str(self.folder / ".beads"), lock_timeout_s)

    def create(self, title: str = "Fix linting", description: str = "") -> str:
        """The id of a new bead."""
        return self.tracker.create(title, description)
