# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an agent that tries again is given of the try before."""

from __future__ import annotations

import pytest
from ansible_collections.dx.fleet.plugins.module_utils.beads.bead import Bead
from ansible_collections.dx.fleet.plugins.module_utils.beads.commands import HISTORY_LIMIT, _history

FIRST = {"dispatch": "bd-1@1-a", "attempt": 1, "session": "ses_1"}


def test_the_try_before_is_named_with_its_session_and_its_last_end() -> None:
    notes = (
        "something of a person\nBLOCKED: failed: old\nBLOCKED: aborted: stopped by feng: wrong branch\nmore"
    )
    found = _history(Bead("bd-1", notes=notes, metadata=FIRST), "bd-1@1-a")
    assert found is not None
    assert "attempt 2 at bd-1" in found
    assert "dispatch bd-1@1-a, in OpenCode session ses_1" in found
    assert found.endswith("It ended so: BLOCKED: aborted: stopped by feng: wrong branch")


@pytest.mark.parametrize(
    ("bead", "previous"), [(Bead("bd-1"), None), (Bead("bd-1", notes="BLOCKED: x"), "bd-1@1-a")]
)
def test_of_a_first_try_there_is_nothing_to_say(bead: Bead, previous: str | None) -> None:
    assert _history(bead, previous) is None


def test_an_end_of_many_words_is_cut() -> None:
    found = _history(Bead("bd-1", notes="BLOCKED: " + "x" * 9000, metadata=FIRST), "bd-1@1-a")
    assert found is not None
    assert len(found) < HISTORY_LIMIT + 200
