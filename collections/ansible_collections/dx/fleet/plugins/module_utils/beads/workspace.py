# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the workspace of `bd` is, as `bd` itself looks for it."""

from __future__ import annotations

import os

from .errors import NoWorkspace

__all__ = ["find_workspace", "own_folder"]

OWN_FOLDER = "dx-fleet-locks"


def find_workspace(directory: str | None = None) -> str:
    """The ``.beads`` folder: that of ``BEADS_DIR``, else the nearest at or above a folder.

    A ``.beads/redirect`` file, as a git worktree has one, is followed once.

    Args:
        directory: Where to begin; None: the working directory.

    Raises:
        NoWorkspace: There is none. None is made: a lock where `bd` does not look excludes nobody.
    """
    named = os.environ.get("BEADS_DIR") if directory is None else None
    if named:
        if os.path.isdir(named):
            return _redirected(os.path.abspath(named))
        raise NoWorkspace(f"BEADS_DIR is {named}, and there is no such folder", "run bd init there")
    start = os.path.abspath(directory or os.getcwd())
    folder = start
    while True:
        candidate = os.path.join(folder, ".beads")
        if os.path.isdir(candidate):
            return _redirected(candidate)
        parent = os.path.dirname(folder)
        if parent == folder:
            raise NoWorkspace(
                f"there is no Beads workspace at or above {start}",
                "run bd init there, or name the folder that has .beads: beads_dir",
            )
        folder = parent


def own_folder(workspace: str) -> str:
    """The folder for what is ours in a workspace (locks, what a `bd` can do); git does not see it."""
    folder = os.path.join(workspace, OWN_FOLDER)
    os.makedirs(folder, mode=0o770, exist_ok=True)
    ignore = os.path.join(folder, ".gitignore")
    if not os.path.exists(ignore):
        with open(ignore, "w", encoding="utf-8") as file:
            file.write("*\n")
    return folder


def _redirected(workspace: str) -> str:
    try:
        with open(os.path.join(workspace, "redirect"), encoding="utf-8") as file:
            target = file.read().strip()
    except (OSError, UnicodeDecodeError):
        return workspace
    found = os.path.normpath(os.path.join(os.path.dirname(workspace), target))
    return found if target and os.path.isdir(found) else workspace
