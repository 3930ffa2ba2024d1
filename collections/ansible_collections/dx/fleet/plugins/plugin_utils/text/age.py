# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long ago something was, as a person says it."""

from __future__ import annotations

__all__ = ["age"]


def age(seconds: float) -> str:
    """An age in the largest unit of which there are at least two."""
    units = ((86400, "days"), (3600, "h"), (60, "min"))
    found = next((f"{seconds / unit:.0f} {name}" for unit, name in units if seconds >= 2 * unit), None)
    return found or f"{max(seconds, 0):.0f} s"
