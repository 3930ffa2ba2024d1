# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which threads a command has at each of its forks. The kernel counts them too, so that none is overlooked."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Fork", "Forks"]

_COUNT = """
import json, os, threading

def count():
    names = [thread.name for thread in threading.enumerate()]
    with open({path!r}, "a") as file:
        print(json.dumps([os.getpid(), len(os.listdir("/proc/self/task")), names]), file=file)

os.register_at_fork(before=count)
"""


@dataclass(frozen=True)
class Fork:
    """One fork: the names of the parent's threads, and how many the kernel has."""

    names: tuple[str, ...]
    in_kernel: int


class Forks:
    """A folder for PYTHONPATH, by which every Python writes down its forks."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._counted = folder / "forks"
        (folder / "sitecustomize.py").write_text(_COUNT.format(path=str(self._counted)))
        self.environ = {"PYTHONPATH": str(folder)}

    def of_the_first(self) -> list[Fork]:
        """The forks of the process that forked first: the command itself."""
        found = [json.loads(line) for line in self._counted.read_text().splitlines()]
        return [
            Fork(tuple(names), in_kernel) for process, in_kernel, names in found if process == found[0][0]
        ]
