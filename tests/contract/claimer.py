# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One of several that claim a bead at the same time. A module of its own: each process imports it anew."""

from __future__ import annotations

from typing import Protocol

from ansible_collections.dx.fleet.plugins.module_utils.beads.bd import Bd
from ansible_collections.dx.fleet.plugins.module_utils.beads.claims import Claimant, Claims
from ansible_collections.dx.fleet.plugins.module_utils.beads.errors import BeadsError

__all__ = ["race"]


class Barrier(Protocol):
    """Where all wait for each other."""

    def wait(self, timeout: float) -> int: ...


class Answers(Protocol):
    """What the claimers tell."""

    def put(self, answer: tuple[str, str], /) -> None: ...


def race(
    executable: str, folder: str, bead: str, vm: str, orchestrator: str, barrier: Barrier, answers: Answers
) -> None:
    """Claim the bead when all are ready; tell who it was, and ``won`` or the reason why not."""
    claims = Claims(Bd(executable, folder), f"{folder}/.beads")
    barrier.wait(120)
    try:
        claims.claim(bead, Claimant(vm, orchestrator))
    except BeadsError as error:
        answers.put((orchestrator, error.reason_code))
    else:
        answers.put((orchestrator, "won"))
