# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which worktrees end: by their repo's policy, and never one that somebody uses."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.worktree_end import keep_s_of, why_kept

DAY = 86400.0
TREE = {
    "path": "/w/affordabot-1/dx-bd-1", "repo": "/home/feng/affordabot", "branch": "dx/bd-1", "locked": None,
    "dispatch": None, "half_made": False, "unused_s": 3 * DAY, "processes": [], "problem": None,
}  # fmt: skip
HELD = {"locked": "dx-fleet dispatch bd-1@1-x", "dispatch": "bd-1@1-x"}
CLAIM = {"bead": "bd-1", "status": "in_progress", "became": "kept", "dispatch": "bd-1@1-x", "worktree": None}
ELSEWHERE = {**CLAIM, "dispatch": "bd-1@2-y", "worktree": TREE["path"]}


@pytest.mark.parametrize(
    ("tree", "claims", "keep_s", "expected"),
    [
        ({}, [], DAY, None),
        ({}, [], 4 * DAY, "it was used 3 days ago, and stays for 4 days"),
        ({"unused_s": 61.0}, [], 7200.0, "it was used 1 minute ago, and stays for 2 hours"),
        ({}, None, DAY, None),
        (HELD, [], DAY, None),
        (HELD, None, DAY, "dispatch bd-1@1-x has it, and the tracker can't say whether that ended"),
        (HELD | {"dispatch": "01M89SA97RK6WQA6T94BQ0ZH66"}, None, DAY, None),
        (HELD, [CLAIM], DAY, "bead bd-1 is worked on in it"),
        (HELD, [{**CLAIM, "became": "blocked"}], DAY, None),
        (HELD, [{**CLAIM, "status": "blocked"}], DAY, None),
        (HELD, [{**CLAIM, "dispatch": "bd-2@1-x"}], DAY, None),
        ({}, [ELSEWHERE], DAY, "bead bd-1 is worked on in it"),
        ({}, [CLAIM], DAY, None),
        ({"locked": "mine"}, [], 0.0, "a person has locked it (mine)"),
        ({"locked": ""}, [], 0.0, "a person has locked it (no reason given)"),
        ({"locked": "initializing", "half_made": True}, [], 0.0, None),
        ({"processes": ["7 (vim)"]}, [], 0.0, "7 (vim) works in it"),
        ({"problem": "it is no repository"}, [], 0.0, "it is no repository"),
    ],
)
def test_why_a_worktree_is_left_alone(
    tree: dict[str, Any], claims: list[dict[str, Any]] | None, keep_s: float, expected: str | None
) -> None:
    assert why_kept({**TREE, **tree}, claims, keep_s) == expected


@pytest.mark.parametrize(
    ("tree", "policies", "repos", "days"),
    [
        ({}, {}, {}, 14),
        ({}, {"affordabot": {"keep_worktrees": 3.0}}, {}, 3),
        ({}, {"affordabot": {"keep_worktrees": 0.0}}, {}, 0),
        ({}, {"affordabot": {}}, {}, 14),
        ({}, {"other": {"keep_worktrees": 3.0}}, {}, 14),
        (
            {},
            {"bot": {"keep_worktrees": 3.0}, "affordabot": {"keep_worktrees": 5.0}},
            {"bot": "~/affordabot/"},
            3,
        ),
        ({}, {"bot": {"keep_worktrees": 3.0}}, {"bot": "/home/feng/affordabot"}, 3),
        ({}, {"bot": {"keep_worktrees": 3.0}}, {"bot": "/home/eve/affordabot"}, 14),
        ({"branch": None}, {}, {}, 14),
        ({"branch": "dx-fleet-test/01M8"}, {"affordabot": {"keep_worktrees": 3.0}}, {}, 0.5),
        ({"half_made": True}, {"affordabot": {"keep_worktrees": 3.0}}, {}, 0.5),
    ],
)
def test_how_long_it_stays(
    tree: dict[str, Any], policies: dict[str, Any], repos: dict[str, str], days: float
) -> None:
    assert keep_s_of({**TREE, **tree}, policies, repos, ttl_s=DAY / 2) == days * DAY
