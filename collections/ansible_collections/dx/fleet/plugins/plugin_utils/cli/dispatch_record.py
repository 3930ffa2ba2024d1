# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What this user dispatched from here: which VM and session have which id, and how its work is checked.

What is not in it, the VMs are asked for.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..config.folders import state_folder

__all__ = ["CHECKED_BY", "Recorded", "recorded", "remember"]

CHECKED_BY = ("repo", "branch", "verify", "no_verify", "expect_changes", "push")
"""What was asked for on which it depends how the work is checked."""

MOST_BYTES = 1_000_000  # about ten thousand dispatches; the older half goes then


@dataclass(frozen=True)
class Recorded:
    """A dispatch: its VM, what was asked for of :data:`CHECKED_BY`, its session (None in an older record)."""

    vm: str
    asked: Mapping[str, Any] = field(default_factory=dict)
    session: str | None = None


def recorded(environ: Mapping[str, str], dispatch: str) -> Recorded | None:
    """A dispatch by its id; None where the record does not know it."""
    found = None
    for line in _lines(environ):
        with suppress(ValueError, KeyError, TypeError, AttributeError):  # a line cut off, or somebody's own
            entry = json.loads(line)
            if entry["dispatch"] == dispatch:
                asked = entry.get("asked", {})
                kept = {name: asked[name] for name in CHECKED_BY if name in asked}
                session = entry.get("session")
                found = Recorded(str(entry["vm"]), kept, session if isinstance(session, str) else None)
    return found


def remember(
    environ: Mapping[str, str], dispatch: str, vm: str, asked: Mapping[str, Any], session: str | None = None
) -> str | None:
    """Record that an id was dispatched to a VM's session, and what for; returns why that was not possible."""
    kept = {name: asked[name] for name in CHECKED_BY if name in asked}
    line = json.dumps({"dispatch": dispatch, "vm": vm, "session": session, "asked": kept}).encode() + b"\n"
    try:
        file = _file(environ)
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _shorten(file)
        descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with open(descriptor, "ab", buffering=0) as stream:
            stream.write(line)  # one write, so that lines of two processes don't mix
    except (OSError, RuntimeError) as error:
        return str(error)
    return None


def _lines(environ: Mapping[str, str]) -> list[bytes]:
    try:
        return _file(environ).read_bytes().splitlines()
    except (OSError, RuntimeError):  # there is none yet, or no home
        return []


def _file(environ: Mapping[str, str]) -> Path:
    return state_folder(environ) / "dispatches.jsonl"


def _shorten(file: Path) -> None:
    if not file.exists() or file.stat().st_size < MOST_BYTES:
        return
    kept = file.read_bytes()[-MOST_BYTES // 2 :].partition(b"\n")[2]
    new = file.with_suffix(f".{os.getpid()}.new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "wb") as stream:
        stream.write(kept)
    new.replace(file)
