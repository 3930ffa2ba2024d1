# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``make demo``: one task on three real OpenCode servers, as a person would hand it out."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

from .lab import Lab

__all__ = ["main"]

DX_DISPATCH = str(Path(sys.executable).with_name("dx-dispatch"))


def main() -> int:
    """Run the demo; returns the exit code of the first command that failed, else 0."""
    print("Starting three OpenCode servers and a scripted model on this machine ...", flush=True)
    with Lab() as lab:
        environment = {**os.environ, **lab.env}
        commands = (
            ["--list"],
            ["epyc6", "affordabot", "Run make test"],
            ["--all", "affordabot", "Run make test"],
            ["--status"],
        )
        for words in commands:
            print(f"\n$ {shlex.join(['dx-dispatch', *words])}", flush=True)
            code = subprocess.run([DX_DISPATCH, *words], env=environment, check=False).returncode
            if code:
                print(f"(exit {code})")
                return code
    print("\nThe model is scripted; servers, git repositories, make and its tests are real.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
