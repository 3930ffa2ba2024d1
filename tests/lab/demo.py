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
# The scripted model does what these say; a real one would read them as any task.
CHANGE = "@bash echo 'Totals of nothing are 0.' >> README.md && git commit -qam 'Say what nothing costs'\n@say It is done"
LIE = (
    "@bash touch BREAK && git add BREAK && git commit -qm 'Small change'\n@say It is done, and all tests pass"
)
LIES = 3  # the exit code of a dispatch whose check failed


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
    for words, added, expected in _commands(lab):
        print(f"\n$ {shlex.join(words)}", flush=True)
        command = [str(PROGRAMS / words[0]), *words[1:]]
        done = subprocess.run(command, env={**environment, **added}, check=False)
        if done.returncode != expected:
            return done.returncode or 1
    return 0


def _commands(lab: Lab) -> Iterator[tuple[Sequence[str], Mapping[str, str], int]]:
    """Each command, what is added to its environment, and the exit code that it should have."""
    yield ["dx-fleet", "list"], {}, 0
    check = ["--verify", "make test"]
    if real_bd() is None:
        print("\nThere is no bd on PATH (brew install beads): the work is on a branch, not on a bead.")
        yield ["dx-dispatch", "epyc6", "affordabot", CHANGE, "--branch", "nothing-costs", *check], {}, 0
    else:
        tracker = Tracker.make(lab.root / "tracker")
        bead = tracker.create("Say what nothing costs", CHANGE)
        print(f"\n$ bd create 'Say what nothing costs' -d {CHANGE!r}\n{bead}")
        yield ["dx-dispatch", "epyc6", "affordabot", "--bead", bead, *check], tracker.env, 0
        print(f"\n$ bd show {bead}\n{tracker.bd('show', bead).strip()}")
    print("\nThe next agent lies: our own run of the tests decides.")
    yield ["dx-dispatch", "macmini", "affordabot", LIE, "--branch", "small-change", *check], {}, LIES
    yield ["dx-dispatch", "--all", "affordabot", TASK], {}, 0
    yield ["dx-fleet", "status"], {}, 0


if __name__ == "__main__":
    sys.exit(main())
