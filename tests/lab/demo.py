# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``make demo``: one task on three real OpenCode servers, as a person would hand it out."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from .lab import Lab
from .slack.show import shown
from .tracker import Tracker, real_bd

__all__ = ["main"]

PROGRAMS = Path(sys.executable).parent
TASK = "Run make test"


def main() -> int:
    """Run the demo; returns the exit code of the first command that failed, else 0."""
    print(
        "Starting three OpenCode servers, a scripted model and a Slack workspace on this machine ...",
        flush=True,
    )
    with Lab(slack=True) as lab:
        code = _run(lab)
        if code:
            print(f"(exit {code})")
            return code
        print("\nWhat Slack shows of it:")
        names = lab.slack.names()
        for thread in lab.slack.threads():
            print("\n" + shown(thread, names))
    print(
        "\nThe model is scripted, and Slack is an emulator; servers, git repositories, make and its tests are"
        " real."
    )
    return 0


def _run(lab: Lab) -> int:
    environment = {**os.environ, **lab.env}
    for words, added in _commands(lab):
        print(f"\n$ {shlex.join(words)}", flush=True)
        command = [str(PROGRAMS / words[0]), *words[1:]]
        done = subprocess.run(command, env={**environment, **added}, check=False)
        if done.returncode:
            return done.returncode
    return 0


def _commands(lab: Lab) -> Iterator[tuple[Sequence[str], Mapping[str, str]]]:
    yield ["dx-fleet", "list"], {}
    if real_bd() is None:
        print("\nThere is no bd on PATH (brew install beads): the task is given in words, not as a bead.")
        yield ["dx-dispatch", "epyc6", "affordabot", TASK], {}
    else:
        tracker = Tracker.make(lab.root / "tracker")
        bead = tracker.create(TASK)
        print(f"\n$ bd create '{TASK}'\n{bead}")
        yield ["dx-dispatch", "epyc6", "affordabot", "--bead", bead], tracker.env
        print(f"\n$ bd show {bead}\n{tracker.bd('show', bead).strip()}")
    yield ["dx-dispatch", "--all", "affordabot", TASK], {}
    yield ["dx-fleet", "status"], {}


if __name__ == "__main__":
    sys.exit(main())
