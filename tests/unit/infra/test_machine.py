# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the checks of machines call wrong: each has to be able to fail."""

from __future__ import annotations

import pytest

from tests.infra.machine import (
    Listener,
    Process,
    Worktree,
    abandoned,
    is_exposed,
    listeners_of_lsof,
    listeners_of_ss,
    orphans,
    place_of_remote,
    processes_of,
    worktrees_of,
)

SS = """\
LISTEN 0      511        127.0.0.1:4105      0.0.0.0:*    users:(("opencode",pid=41,fd=19))
LISTEN 0      511             [::]:4105         [::]:*    users:(("opencode",pid=41,fd=20),("node",pid=42,fd=20))
LISTEN 0      511    100.64.0.7%ts0:4105     0.0.0.0:*
"""


def test_who_listens_is_read_from_ss_and_from_lsof() -> None:
    assert listeners_of_ss(SS) == [
        Listener("127.0.0.1", 41),
        Listener("::", 41),
        Listener("::", 42),
        Listener("100.64.0.7", None),
    ]
    assert listeners_of_lsof("p41\nn127.0.0.1:4105\nn[::1]:4105\np42\nn*:4105\n") == [
        Listener("127.0.0.1", 41),
        Listener("::1", 41),
        Listener("*", 42),
    ]


@pytest.mark.parametrize(
    ("address", "exposed"),
    [
        ("127.0.0.1", False),
        ("127.0.0.12", False),
        ("::1", False),
        ("0.0.0.0", True),
        ("::", True),
        ("*", True),
        ("100.64.0.7", True),
        ("192.168.1.5", True),
    ],
)
def test_a_server_is_exposed_unless_it_listens_on_loopback_only(address: str, exposed: bool) -> None:
    assert is_exposed([Listener("127.0.0.1", 1), Listener(address, 1)]) is exposed


def test_an_orphan_is_in_a_folder_of_agents_and_has_neither_parent_nor_terminal() -> None:
    listed = """\
    1     0 ?        systemd
   50     1 ?        opencode
   51    50 ?        bash
   60     1 ?        sleep
   61     1 ??       sleep
   62     1 pts/0    vim
   63     1 ?        cron
   64    60 ?        child
"""
    cwds = {
        "50": "/home/me",
        "51": "/home/me/affordabot",
        "60": "/home/me/affordabot/src",
        "61": "/w/a",
        "62": "/w/a",
    }
    found = processes_of(listed, {**cwds, "63": "/w2", "64": "/w/a"})
    assert [each.pid for each in orphans(found, ["/home/me/affordabot", "/w"])] == [60, 61]
    assert orphans(found, ["/elsewhere"]) == []
    assert [each.pid for each in orphans(found, ["/w"], reapers=(60,))] == [64]
    assert Process(62, 1, True, "vim", "/w/a") in found


LISTED = """\
worktree /home/me/affordabot
HEAD 8f14e45fceea167a5a36dedd4bea2543f3d8b1c2
branch refs/heads/main

worktree /w/a b
HEAD 8f14e45fceea167a5a36dedd4bea2543f3d8b1c2
branch refs/heads/dx/a
locked dispatch bd-1@1

worktree /w/gone
HEAD 8f14e45fceea167a5a36dedd4bea2543f3d8b1c2
detached
prunable gitdir file points to non-existent location
"""


def test_worktrees_are_read_with_their_locks() -> None:
    assert worktrees_of(LISTED)[1:] == [
        Worktree("/w/a b", "dispatch bd-1@1", prunable=False),
        Worktree("/w/gone", None, prunable=True),
    ]


@pytest.mark.parametrize(
    ("worktree", "wrong"),
    [
        (Worktree("/w", "dispatch x", False, 3 * 86400), False),
        (Worktree("/w", "dispatch x", False, 8 * 86400), True),
        (Worktree("/w", None, False, 60), False),
        (Worktree("/w", None, True, 0), True),
        (Worktree("/w", "initializing", False, 60), False),
        (Worktree("/w", "initializing", False, 7200), True),
    ],
)
def test_a_worktree_is_abandoned_when_nobody_will_come_back_to_it(worktree: Worktree, wrong: bool) -> None:
    assert bool(abandoned([worktree], keep_days=7)) is wrong


@pytest.mark.parametrize(
    "url",
    [
        "git@github.com:me/affordabot.git",
        "https://github.com/me/affordabot",
        "https://token@github.com/me/affordabot.git/",
        "ssh://git@github.com/me/affordabot.git",
        "github.com:me/affordabot",
    ],
)
def test_a_remote_is_the_same_however_it_is_written(url: str) -> None:
    assert place_of_remote(url) == "github.com/me/affordabot"


def test_other_remotes_are_others() -> None:
    places = {
        place_of_remote(url) for url in ("git@github.com:you/affordabot", "/srv/affordabot.git", "/srv/a.git")
    }
    assert places == {"github.com/you/affordabot", "/srv/affordabot", "/srv/a"}
