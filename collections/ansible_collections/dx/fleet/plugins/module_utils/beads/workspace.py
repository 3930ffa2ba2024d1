# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the workspace of `bd` is, as `bd` itself looks for it."""

from __future__ import annotations

import json
import os

from .errors import NoWorkspace, WorkspaceUnusable

__all__ = ["find_workspace", "own_folder", "unusable"]

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
    if not os.path.isdir(start):
        raise NoWorkspace(f"there is no folder {start}", "name the folder that has .beads: beads_dir")
    if not os.path.isdir(os.path.join(start, ".beads")) and _is_workspace(start):
        return _redirected(start)
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
    """The folder for what is ours in a workspace (locks, what a `bd` can do); git does not see it.

    Raises:
        WorkspaceUnusable: It can't be made.
    """
    folder = os.path.join(workspace, OWN_FOLDER)
    ignore = os.path.join(folder, ".gitignore")
    try:
        os.makedirs(folder, mode=0o770, exist_ok=True)
        if not os.path.exists(ignore):
            with open(ignore, "w", encoding="utf-8") as file:
                file.write("*\n")
    except OSError as error:
        raise unusable(folder, error) from error
    return folder


def unusable(path: str, error: OSError) -> WorkspaceUnusable:
    """The error of a workspace in which we can't keep what is ours."""
    return WorkspaceUnusable(
        f"{path} can't be used: {error.strerror or error}",
        f"see that this user may write in {os.path.dirname(path)}, and that its disk is not full",
    )


def _is_workspace(folder: str) -> bool:
    """Whether it is itself a ``.beads`` folder, to which BEADS_DIR may give any name."""
    try:
        with open(os.path.join(folder, "metadata.json"), encoding="utf-8") as file:
            found = json.load(file)
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(found, dict) and {"database", "backend"} <= found.keys()  # as bd 1.0.4 writes it


def _redirected(workspace: str) -> str:
    try:
        with open(os.path.join(workspace, "redirect"), encoding="utf-8") as file:
            target = file.read().strip()
    except (OSError, UnicodeDecodeError):
        return workspace
    if "\0" in target:
        return workspace
    found = os.path.normpath(os.path.join(os.path.dirname(workspace), target))
    return found if target and os.path.isdir(found) else workspace
