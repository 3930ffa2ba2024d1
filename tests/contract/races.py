# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Processes that go for one bead at the same moment, round after round.

They are forked from one that has imported this module: to import it takes each of them half a second.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.dx.fleet.plugins.module_utils.beads.claims import Claimant, Policy, Seen
from ansible_collections.dx.fleet.plugins.module_utils.beads.errors import BeadsError

from .workspace import Workspace

__all__ = ["FIRST", "PROCESSES", "Move", "claim_apart", "claim_once", "moves", "race", "rounds"]

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload([__name__])
PATIENCE_S = 300
FIRST = "first"  # the dispatch that holds each bead as a race begins, where one does


@dataclass(frozen=True)
class Move:
    """What one process does with the bead of each round: ``claim``, ``retry``, ``release``, ``close`` or ``reap``."""

    verb: str
    vm: str = "epyc6"
    orchestrator: str = "claude-code@macmini"


def rounds(usual: int) -> int:
    """How many rounds; ``DX_SOAK`` times as many in a soak."""
    return usual * int(os.environ.get("DX_SOAK", "1"))


def claim_once(workspace: Workspace, bead: str, claimant: Claimant) -> None:
    """One claim, for a process of its own."""
    workspace.claims.claim(bead, claimant)


def claim_apart(workspace: Workspace, bead: str, claimant: Claimant) -> None:
    """One claim, for a process of its own that can be killed with all that it started.

    It leads a session, and its `bd` stay in its group; the file ``claiming`` has their group's id.
    """
    os.setsid()
    popen = subprocess.Popen.__init__

    def in_this_group(self: Any, *args: Any, **options: Any) -> None:
        popen(self, *args, **{**options, "start_new_session": False})

    subprocess.Popen.__init__ = in_this_group  # type: ignore[method-assign]
    (workspace.folder / "writing").write_text(str(os.getpid()))
    (workspace.folder / "writing").rename(workspace.folder / "claiming")
    workspace.claims.claim(bead, claimant)


def race(workspace: Workspace, beads: Sequence[str], contenders: Sequence[Move]) -> list[list[str]]:
    """What each contender got in each round: ``done``, or the reason why not."""
    barrier, answers = PROCESSES.Barrier(len(contenders)), PROCESSES.SimpleQueue()
    processes = [
        PROCESSES.Process(target=_contend, args=(workspace, list(beads), move, number, barrier, answers))
        for number, move in enumerate(contenders)
    ]
    for process in processes:
        process.start()
    told: dict[tuple[int, int], str] = {}
    try:
        for _ in range(len(beads) * len(contenders)):
            at, number, answer = answers.get()
            told[at, number] = answer
    finally:
        for process in processes:
            process.join(PATIENCE_S)
            if process.is_alive():
                process.kill()
    return [[told[at, number] for number in range(len(contenders))] for at in range(len(beads))]


def _contend(
    workspace: Workspace, beads: list[str], move: Move, number: int, barrier: Any, answers: Any
) -> None:
    for at, bead in enumerate(beads):
        barrier.wait(PATIENCE_S)
        try:
            changed = moves[move.verb](workspace, bead, move)
            answers.put((at, number, "done" if changed else "nothing to do"))
        except BeadsError as error:
            answers.put((at, number, error.reason_code))


def _claim(workspace: Workspace, bead: str, move: Move) -> bool:
    return workspace.claims.claim(bead, Claimant(move.vm, move.orchestrator)).changed


def _retry(workspace: Workspace, bead: str, move: Move) -> bool:
    policy = Policy(retry=True)
    return workspace.claims.claim(bead, Claimant(move.vm, move.orchestrator), policy=policy).changed


def _release(workspace: Workspace, bead: str, move: Move) -> bool:
    return workspace.claims.release(bead, FIRST).changed


def _close(workspace: Workspace, bead: str, move: Move) -> bool:
    return workspace.claims.close(bead, FIRST, "done").changed


def _reap(workspace: Workspace, bead: str, move: Move) -> bool:
    return workspace.claims.block(bead, FIRST, "reaped", seen=Seen("in_progress", None)).changed


moves: dict[str, Callable[[Workspace, str, Move], bool]] = {
    "claim": _claim,
    "retry": _retry,
    "release": _release,
    "close": _close,
    "reap": _reap,
}
