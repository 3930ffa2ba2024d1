# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Our folders among those of the XDG base directories."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

__all__ = ["cache_folder", "state_folder"]


def cache_folder(environ: Mapping[str, str]) -> Path:
    """``$XDG_CACHE_HOME/dx-fleet``, by default in ``~/.cache``.

    Raises:
        RuntimeError: There is neither that nor a home.
    """
    return _own(environ, "XDG_CACHE_HOME", ".cache")


def state_folder(environ: Mapping[str, str]) -> Path:
    """``$XDG_STATE_HOME/dx-fleet``, by default in ``~/.local/state``.

    Raises:
        RuntimeError: There is neither that nor a home.
    """
    return _own(environ, "XDG_STATE_HOME", ".local/state")


def _own(environ: Mapping[str, str], name: str, default: str) -> Path:
    base = environ.get(name, "")  # a relative one is to be ignored, says the specification
    return Path(
        base if os.path.isabs(base) else Path(environ.get("HOME") or Path.home(), default), "dx-fleet"
    )
