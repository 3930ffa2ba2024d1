# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a claim writes into a bead, and what counts as one: anyone can write anything there by hand."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from ansible_collections.dx.fleet.plugins.module_utils.beads.bead import Bead
from ansible_collections.dx.fleet.plugins.module_utils.beads.record import (
    Claimant,
    age_s,
    attempt_of,
    claim_metadata,
    held_s,
    holds,
    stamp,
    summary_of,
    vm_of,
)
from hypothesis import given
from hypothesis import strategies as st

NOW = datetime(2026, 1, 4, 10, 0, tzinfo=UTC)
ME = Claimant("epyc6", "claude-code@macmini", dispatcher="mac/1/2/3")
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
NAMES = (
    "dispatch",
    "attempt",
    "vm",
    "session",
    "message",
    "dispatcher",
    "orchestrator",
    "claimed_at",
    "taken_at",
)


def held(**more: Any) -> Bead:
    metadata = claim_metadata(Bead("bd-1"), ME, NOW)
    return Bead("bd-1", status="in_progress", assignee="epyc6", metadata={**metadata, **more})


def test_a_claim_names_all_ids_before_anything_is_done() -> None:
    metadata = claim_metadata(Bead("bd-1", metadata={"attempt": 2}), ME, NOW)
    assert re.fullmatch("bd-1@3-[0-9a-f]{8}", metadata["dispatch"])
    assert metadata["attempt"] == 3
    assert metadata["session"].startswith("ses_dx-bd-1-3-")
    assert metadata["message"].startswith("msg_dx-bd-1-3-")
    assert "branch" not in metadata


def test_two_workspaces_that_know_the_same_bead_never_name_the_same_dispatch() -> None:
    named = {claim_metadata(Bead("bd-1"), ME, NOW)["dispatch"] for _ in range(1000)}
    assert len(named) == 1000


def test_a_new_claim_takes_over_nothing_of_the_one_before() -> None:
    left = {"branch": "old", "taken_from": "a@b", "taken_at": stamp(NOW), "thread": "kept"}
    metadata = claim_metadata(held(**left), ME, NOW)
    assert (metadata["branch"], metadata["taken_from"], metadata["taken_at"]) == (None, None, None)
    assert "thread" not in metadata  # merged by bd, so untouched


@pytest.mark.parametrize(("kept", "attempt"), [(3, 3), ("3", 0), (True, 0), (-1, 0), (None, 0), ([3], 0)])
def test_an_attempt_is_a_count_or_none(kept: Any, attempt: int) -> None:
    assert attempt_of(Bead("bd-1", metadata={"attempt": kept})) == attempt


@pytest.mark.parametrize("status", ["open", "closed", "deferred", "blocked"])
def test_only_a_bead_in_progress_is_held(status: str) -> None:
    assert holds(held())
    assert not holds(Bead("bd-1", status=status, assignee="epyc6", metadata=held().metadata))


@pytest.mark.parametrize("dispatch", [None, "", 7, ["bd-1@1"], {"a": 1}, True])
def test_what_names_no_dispatch_is_not_held_by_one(dispatch: Any) -> None:
    assert not holds(held(dispatch=dispatch))


def test_what_a_person_took_by_hand_is_not_held_by_the_dispatch_that_was_there_before() -> None:
    by_hand = Bead("bd-1", status="in_progress", assignee="fengning", metadata=held().metadata)
    assert not holds(by_hand)
    assert not holds(Bead("bd-1", status="in_progress", metadata=held().metadata))


def test_whose_bead_it_is_is_said_by_the_claim_else_by_the_assignee() -> None:
    assert vm_of(held()) == "epyc6"
    assert vm_of(Bead("bd-1", assignee="macmini", metadata={"vm": ["x"]})) == "macmini"
    assert vm_of(Bead("bd-1")) is None


def test_the_age_is_that_of_the_claim_and_the_hold_that_of_its_dispatcher() -> None:
    bead = held(taken_at=stamp(NOW + timedelta(seconds=50)))
    now = NOW + timedelta(seconds=60)
    assert (age_s(bead, now), held_s(bead, now)) == (60, 10)
    assert held_s(held(), now) == 60


@pytest.mark.parametrize("moment", [None, "", "yesterday", "2026-01-04T10:00:00", 5, ["x"]])
def test_a_time_that_is_none_is_an_unknown_age(moment: Any) -> None:
    assert age_s(held(claimed_at=moment), NOW) is None
    assert held_s(held(claimed_at=moment), NOW) is None
    if moment not in (None, "", 5, ["x"]):
        assert held_s(held(taken_at=moment), NOW) is None


def test_a_clock_that_goes_backwards_makes_no_negative_age() -> None:
    assert age_s(held(), NOW - timedelta(hours=1)) == 0


@given(st.dictionaries(st.sampled_from(NAMES), ANY_JSON), st.sampled_from(["", "epyc6", "fengning"]))
def test_any_metadata_can_be_told_and_is_of_known_types(metadata: dict[str, Any], assignee: str) -> None:
    bead = Bead("bd-1", status="in_progress", assignee=assignee, metadata=metadata)
    told = summary_of(bead, NOW)
    for name in ("vm", "dispatch", "orchestrator", "dispatcher", "session", "message", "claimed_at"):
        assert told[name] is None or isinstance(told[name], str)
    assert isinstance(told["attempt"], int)
    assert holds(bead) in (True, False)
    assert claim_metadata(bead, ME, NOW)["attempt"] > 0
