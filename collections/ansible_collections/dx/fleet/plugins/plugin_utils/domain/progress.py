# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What happens while a dispatch runs, one event per change. Plain data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .task import shortened

__all__ = ["Emit", "Progress", "silent"]


@dataclass(frozen=True)
class Progress:
    """One change worth a line: ``kind`` is snake_case for programs, ``text`` is for people."""

    vm: str
    kind: str
    text: str
    session: str | None = None

    def line(self) -> str:
        """``[vm] text``, one line without control characters: much of it is written by an agent."""
        return f"[{self.vm}] {shortened(self.text, 500)}"


Emit = Callable[[Progress], None]


def silent(_: Progress) -> None:
    """For who does not want to follow."""
