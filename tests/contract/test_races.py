# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whoever goes for a bead at the same moment: one wins, and nobody undoes what another did.

``make soak`` has two hundred rounds of it.
"""

from __future__ import annotations

import pytest
from ansible_collections.dx.fleet.plugins.module_utils.beads.claims import Claimant

from .races import FIRST, Move, race, rounds
from .workspace import Workspace

HELD = Claimant("epyc6", "claude-code@macmini", dispatch=FIRST)


@pytest.mark.parametrize("claimers", [2, 4, 8])
@pytest.mark.parametrize("vms", ["one VM", "different VMs"])
def test_of_any_number_of_claimers_exactly_one_wins(workspace: Workspace, claimers: int, vms: str) -> None:
    beads = [workspace.create() for _ in range(rounds(4))]
    contenders = [
        Move("claim", f"vm{number if vms == 'different VMs' else 0}", f"o{number}@host")
        for number in range(claimers)
    ]
    for bead, answers in zip(beads, race(workspace, beads, contenders), strict=True):
        winners = [move for move, answer in zip(contenders, answers, strict=True) if answer == "done"]
        assert len(winners) == 1, answers
        assert set(answers) == {"done", "already_claimed"}
        held = workspace.bd.show(bead)
        assert (held.assignee, held.metadata["vm"]) == (winners[0].vm, winners[0].vm)
        assert held.metadata["orchestrator"] == winners[0].orchestrator
        assert held.metadata["attempt"] == 1
        assert held.metadata["dispatch"].startswith(f"{bead}@1-")


def test_a_release_and_a_claim_at_once(workspace: Workspace) -> None:
    beads = [workspace.create() for _ in range(rounds(3))]
    for bead in beads:
        workspace.claims.claim(bead, HELD)
    found = race(workspace, beads, [Move("release"), Move("claim", orchestrator="antigravity@home")])
    for bead, (released, claimed) in zip(beads, found, strict=True):
        assert released == "done"
        after = workspace.bd.show(bead)
        if claimed == "done":  # it came after the release, which has not undone it
            assert after.status == "in_progress"
            assert after.metadata["dispatch"].startswith(f"{bead}@2-")
            assert after.metadata["orchestrator"] == "antigravity@home"
        else:
            assert (claimed, after.status, after.assignee) == ("already_claimed", "open", "")


def test_a_close_and_a_reap_at_once(workspace: Workspace) -> None:
    beads = [workspace.create() for _ in range(rounds(3))]
    for bead in beads:
        workspace.claims.claim(bead, HELD)
    for bead, (closed, reaped) in zip(
        beads, race(workspace, beads, [Move("close"), Move("reap")]), strict=True
    ):
        # The dispatch itself may close what was blocked under it: the work is done, and that is the truth.
        assert closed == "done"
        assert workspace.bd.show(bead).status == "closed"
        assert reaped in ("done", "claim_lost")


def test_a_retry_and_a_reap_at_once(workspace: Workspace) -> None:
    beads = [workspace.create() for _ in range(rounds(3))]
    for bead in beads:
        workspace.claims.claim(bead, HELD)
        workspace.claims.block(bead, FIRST, "because")
    found = race(workspace, beads, [Move("retry", orchestrator="antigravity@home"), Move("reap")])
    for bead, (retried, reaped) in zip(beads, found, strict=True):
        after = workspace.bd.show(bead)
        assert (retried, after.status) == ("done", "in_progress")
        assert after.metadata["dispatch"].startswith(f"{bead}@2-")
        assert reaped in ("claim_lost", "nothing to do")
