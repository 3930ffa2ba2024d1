# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the installed `bd` can do, asked once per binary and kept beside the locks.

Features are looked for in its own help, not concluded from its version: 1.2.2 has none of what 1.2.1 had.
Only versions on which a claim is no lock, or that lose data, are known by number.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
import typing as t
from contextlib import suppress
from dataclasses import asdict, dataclass

from .errors import BdFailed, BdTooOld
from .json_answer import json_in

__all__ = ["Capabilities", "capabilities_of"]

OLDEST = (0, 57, 0)  # before, a failed claim ends with exit code 0
WITHDRAWN = {
    (1, 0, 5): "damages data",
    (1, 1, 1): "was withdrawn",
    (1, 2, 0): "was withdrawn",
    (1, 2, 1): "was withdrawn",
}
INSTALL = "install Beads 1.0.4, or 1.3 or later (brew install beads, npm install -g @beads/bd)"


@dataclass(frozen=True)
class Capabilities:
    """``guards``: updates can be made to depend on assignee and status (bd >= 1.3)."""

    version: str
    guards: bool


def capabilities_of(executable: str, folder: str, ask: t.Callable[[t.Sequence[str]], str]) -> Capabilities:
    """What a `bd` can do.

    Args:
        executable: Its path.
        folder: Where the answer is kept.
        ask: Gives standard output of a call of it.

    Raises:
        BdTooOld: A claim by it is no lock, or it loses data.
        BeadsError: It can't be asked.
    """
    found = os.stat(executable)
    key = [os.path.realpath(executable), found.st_mtime_ns, found.st_size]
    path = os.path.join(folder, "bd-capabilities.json")
    known = _read(path, key)
    if known is None:
        known = Capabilities(
            _version(ask(["version", "--json"])), "--if-assignee" in ask(["update", "--help"])
        )
        _write(path, {"key": key, **asdict(known)})
    _check(known.version)
    return known


def _version(answer: str) -> str:
    try:
        return json_in(answer, _version_in)
    except ValueError as error:
        raise BdFailed(
            f"bd version answered something else: {' '.join(answer.split())[:100]!r}",
            "see what it says on the tracker host: bd version --json",
        ) from error


def _version_in(data: t.Any) -> str:
    if not isinstance(data, dict) or "version" not in data:
        raise ValueError("no version")
    return str(data["version"])


def _check(version: str) -> None:
    match = re.match(r"v?(\d+)\.(\d+)\.(\d+)", version)
    if match is None:
        raise BdTooOld(f"bd says that it is version {version[:40]!r}, which is none", INSTALL)
    number = tuple(int(part) for part in match.groups())
    if number < OLDEST:
        raise BdTooOld(f"bd {version}: a claim by it is not a lock", INSTALL)
    if number in WITHDRAWN:
        raise BdTooOld(f"bd {version} {WITHDRAWN[number]}", INSTALL)


def _read(path: str, key: list[t.Any]) -> Capabilities | None:
    try:
        with open(path, encoding="utf-8") as file:
            kept = json.load(file)
        return Capabilities(str(kept["version"]), bool(kept["guards"])) if kept["key"] == key else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _write(path: str, data: dict[str, t.Any]) -> None:
    # What can't be kept is asked again next time.
    with suppress(OSError):
        descriptor, temporary = tempfile.mkstemp(dir=os.path.dirname(path))
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(data, file)
        os.replace(temporary, path)
