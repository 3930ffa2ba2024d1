# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules as Ansible sends them to a host, kept from one run to the next.

Ansible packs a module with all the code that it imports, and keeps that for the length of one run, in the
folder ``ansiballz_cache`` of its temporary folder (ansible-core 2.19 to 2.21). Here that folder is a link to
one of the user's own cache, whose name follows from everything that is packed.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from ..config.folders import cache_folder

__all__ = ["keep_modules"]

PREFIX = "ansible-modules-"
NAME = "ansiballz_cache"
PACKED = ("modules", "module_utils")
KEPT_DAYS = 30
_END_OF_A_PICKLE = b"."


def keep_modules(environ: Mapping[str, str], plugins: Path) -> None:
    """Have the run that is about to begin find what earlier ones have packed.

    Args:
        environ: Its ``XDG_CACHE_HOME`` names the cache.
        plugins: The folder of this collection's plugins.

    Raises:
        AttributeError: This Ansible packs modules in another way.
        OSError: The cache can't be used.
        RuntimeError: There is no home.
    """
    from ansible import constants
    from ansible.executor import module_common

    if not hasattr(module_common, "_CachedModule"):
        raise AttributeError("ansible.executor.module_common has no _CachedModule")
    searched = (constants.DEFAULT_MODULE_PATH, constants.DEFAULT_MODULE_UTILS_PATH)
    folder = cache_folder(environ) / f"{PREFIX}{_digest(plugins, searched)}"
    if not folder.is_dir():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # another run may make it now
        _remove_old(folder.parent, folder.stat().st_mtime)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o022:
        raise PermissionError(f"{folder} is not this user's alone")
    _remove_broken(folder)
    os.utime(folder)
    link = Path(constants.DEFAULT_LOCAL_TMP, NAME)
    if not link.exists():  # else this process had a run before
        link.symlink_to(folder)


def _digest(plugins: Path, searched: tuple[object, ...]) -> str:
    """Of the versions, the places and the state of every file that may be packed."""
    from ansible.release import __version__

    found = hashlib.sha256(repr((__version__, platform.python_version(), str(plugins), searched)).encode())
    for path in sorted(_files(plugins)):
        status = path.stat()
        found.update(f"{path}\0{status.st_mtime_ns}\0{status.st_size}\0".encode())
    return found.hexdigest()[:32]


def _files(plugins: Path) -> Iterator[Path]:
    for name in PACKED:
        yield from plugins.joinpath(name).rglob("*.py")


def _remove_broken(folder: Path) -> None:
    """Remove what was cut short: by a machine that lost its power, say."""
    for path in folder.iterdir():
        if path.suffix == ".lock" or not path.is_file():
            continue
        with path.open("rb") as file:
            if path.stat().st_size:
                file.seek(-1, os.SEEK_END)
            whole = file.read(1) == _END_OF_A_PICKLE
        if not whole:
            path.unlink(missing_ok=True)


def _remove_old(folder: Path, now: float) -> None:
    """Remove what no run of the last weeks has used. ``now`` is in epoch seconds."""
    oldest = now - KEPT_DAYS * 86400
    for path in folder.glob(f"{PREFIX}*"):
        if path.lstat().st_mtime < oldest:
            shutil.rmtree(path, ignore_errors=True)
