# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be the id of a bead."""

from __future__ import annotations

import re

__all__ = ["CHECK_IT", "is_bead_id"]

CHECK_IT = "bd list --all"

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*-[A-Za-z0-9][A-Za-z0-9._-]*")


def is_bead_id(text: str) -> bool:
    """Whether it is a full id such as bd-a1b2.1 or Flux.jl-31f9.

    `bd` takes other words for options, or for parts of ids.
    """
    return _ID.fullmatch(text) is not None and len(text) <= 128
