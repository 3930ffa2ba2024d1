# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What we rely on in `bd`, traps included; the stand-in must have them too."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.dx.fleet.plugins.module_utils.beads.bd import Bd
from ansible_collections.dx.fleet.plugins.module_utils.beads.errors import (
    AlreadyClaimed,
    BdMissing,
    BeadNotFound,
    NotClaimable,
    NoWorkspace,
    OutcomeUnknown,
)

from tests.lab.tracker import STANDIN

from .workspace import Workspace

NASTY = "quotes ' \" newline \n tab \t $(touch x) `id` {{ 7*7 }} \N{SNOWMAN} -- " + "x" * 20_000


def test_a_claim_makes_the_actor_the_assignee_with_all_metadata(workspace: Workspace) -> None:
    bead = workspace.create()
    claimed = workspace.bd.claim(bead, "epyc6", {"dispatch": "d1", "attempt": 1})
    assert (claimed.assignee, claimed.status) == ("epyc6", "in_progress")
    assert workspace.bd.show(bead).metadata == {"dispatch": "d1", "attempt": 1}


def test_another_actor_loses(workspace: Workspace) -> None:
    bead = workspace.create()
    workspace.bd.claim(bead, "epyc6", {"dispatch": "d1"})
    with pytest.raises(AlreadyClaimed, match="epyc6"):
        workspace.bd.claim(bead, "macmini", {"dispatch": "d2"})
    assert workspace.bd.show(bead).metadata["dispatch"] == "d1"


def test_the_same_actor_wins_again_and_overwrites(workspace: Workspace) -> None:
    """The trap for which we hold a lock of our own."""
    bead = workspace.create()
    workspace.bd.claim(bead, "epyc6", {"dispatch": "d1"})
    assert workspace.bd.claim(bead, "epyc6", {"dispatch": "d2"}).metadata["dispatch"] == "d2"


def test_a_claim_with_metadata_is_two_writes(standin: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """The trap for which we write the metadata first; a real `bd` dies there in 4 of 24 kills (1.0.4)."""
    bead = standin.create()
    monkeypatch.setenv("STANDIN_BD_DIES", "between the writes")
    with pytest.raises(OutcomeUnknown):
        standin.bd.claim(bead, "epyc6", {"dispatch": "d1"})
    monkeypatch.delenv("STANDIN_BD_DIES")
    stranded = standin.bd.show(bead)
    assert (stranded.status, stranded.assignee, stranded.metadata) == ("in_progress", "epyc6", {})


def test_a_closed_bead_cannot_be_claimed(workspace: Workspace) -> None:
    bead = workspace.create()
    workspace.bd.close(bead, "epyc6", "done")
    assert workspace.bd.show(bead).status == "closed"
    with pytest.raises(NotClaimable):
        workspace.bd.claim(bead, "epyc6", {})


def test_metadata_is_merged_set_and_unset(workspace: Workspace) -> None:
    bead = workspace.create()
    workspace.bd.claim(bead, "epyc6", {"a": "1", "b": 2})
    after = workspace.bd.update(bead, "epyc6", "--set-metadata", "c=x", "--unset-metadata", "a")
    assert after.metadata == {"b": 2, "c": "x"}


def test_a_part_of_an_id_is_not_the_bead(workspace: Workspace) -> None:
    bead = workspace.create()
    with pytest.raises(BeadNotFound):
        workspace.bd.show(bead[:-1])


@pytest.mark.parametrize("bead", ["", "-x", "33", "aff-", "--help", "aff-nosuch9", "aff-1 aff-2", "aff-1\n"])
def test_what_is_no_id_finds_nothing(workspace: Workspace, bead: str) -> None:
    with pytest.raises(BeadNotFound):
        workspace.bd.show(bead)


def test_any_text_survives(workspace: Workspace) -> None:
    bead = workspace.create("A title with 'quotes' and $(x)", NASTY)
    assert workspace.bd.show(bead).description.strip() == NASTY.strip()


def test_what_is_not_closed_is_listed_with_all_that_is_known(empty_workspace: Workspace) -> None:
    held, closed, free, blocked = (empty_workspace.create(description="More") for _ in range(4))
    empty_workspace.bd.claim(held, "epyc6", {"dispatch": "d1"})
    empty_workspace.bd.update(blocked, "epyc6", "-s", "blocked")
    empty_workspace.bd.close(closed, "epyc6", "done")
    listed = {bead.id: bead for bead in empty_workspace.bd.unclosed()}
    assert set(listed) == {held, free, blocked}
    assert listed[held] == empty_workspace.bd.show(held)


def test_without_a_workspace_it_says_so(workspace: Workspace, tmp_path: object) -> None:
    with pytest.raises(NoWorkspace):
        Bd(workspace.executable, str(tmp_path)).show("aff-1")


def test_a_missing_bd_is_named() -> None:
    with pytest.raises(BdMissing, match="no-such-bd"):
        Bd("no-such-bd").show("aff-1")


def test_a_bd_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".beads").mkdir()
    monkeypatch.setenv("STANDIN_BD_SLEEP", "60")
    with pytest.raises(OutcomeUnknown, match="within 1 s"):
        Bd(str(STANDIN), str(tmp_path), timeout_s=1).show("aff-1")
