# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs on this machine, whoever started it."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["running"]


def running(words: str) -> list[int]:
    """The processes whose command line has these words."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            try:
                line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            if words in line and "dx-dispatch" not in line and "pytest" not in line:
                found.append(int(folder.name))
    return found
