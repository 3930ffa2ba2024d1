# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The deliveries that run in this process, for whoever ends it. Imports nothing: most processes have none."""

from __future__ import annotations

from typing import Protocol

__all__ = ["flush_running", "running"]


class _Flushes(Protocol):
    def flush(self, timeout_s: float) -> bool:
        """Wait till all is delivered, not longer than this."""


running: list[_Flushes] = []


def flush_running(timeout_s: float) -> None:
    """Deliver what is recorded, before this process ends."""
    for one in tuple(running):
        one.flush(timeout_s)
