# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Our folders among those of the XDG base directories; who owns them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

__all__ = ["cache_folder", "config_folder", "runtime_folder", "state_folder"]

MAX_SOCKET_PATH = 103  # bytes, without the NUL: 104 on macOS, 108 on Linux
SOCKET_NAME = 21 + 17  # HASH.sock, and what OpenSSH appends to it while it makes it


def cache_folder(environ: Mapping[str, str]) -> Path:
    """``$XDG_CACHE_HOME/dx-fleet``, by default in ``~/.cache``.

    Raises:
        RuntimeError: There is neither that nor a home.
    """
    return _own(environ, "XDG_CACHE_HOME", ".cache")


def config_folder(environ: Mapping[str, str]) -> Path:
    """``$XDG_CONFIG_HOME/dx-fleet``, by default in ``~/.config``.

    Raises:
        RuntimeError: There is neither that nor a home.
    """
    return _own(environ, "XDG_CONFIG_HOME", ".config")


def state_folder(environ: Mapping[str, str]) -> Path:
    """``$XDG_STATE_HOME/dx-fleet``, by default in ``~/.local/state``.

    Raises:
        RuntimeError: There is neither that nor a home.
    """
    return _own(environ, "XDG_STATE_HOME", ".local/state")


def runtime_folder(environ: Mapping[str, str]) -> Path:
    """``$XDG_RUNTIME_DIR/dx``, which holds sockets; nothing is made.

    Where there is none, or a socket in it would have too long a path, it is ``/tmp/dx-UID``. Use that one
    only if it belongs to this user.
    """
    base = environ.get("XDG_RUNTIME_DIR", "")
    if os.path.isabs(base) and len(os.fsencode(base)) + len("/dx/") + SOCKET_NAME <= MAX_SOCKET_PATH:
        return Path(base, "dx")
    return Path(f"/tmp/dx-{os.getuid()}")  # noqa: S108 - see above


def _own(environ: Mapping[str, str], name: str, default: str) -> Path:
    base = environ.get(name, "")  # a relative one is to be ignored, says the specification
    return Path(
        base if os.path.isabs(base) else Path(environ.get("HOME") or Path.home(), default), "dx-fleet"
    )
