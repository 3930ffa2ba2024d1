# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The switch of what only makes a run faster; see :mod:`..launch.fast_start`."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["is_on"]

SWITCH = "DX_FAST_START"


def is_on(environ: Mapping[str, str]) -> bool:
    """Whether the tricks are wanted."""
    return environ.get(SWITCH, "").strip().lower() not in ("0", "false", "no", "off")
