# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may do what from Slack."""

from __future__ import annotations

import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.listener.authority import VERBS, may, verb_of
from ansible_collections.dx.fleet.plugins.plugin_utils.listener.grammar import (
    Answer,
    Dispatch,
    Help,
    Retry,
    Status,
    Stop,
)

USERS = {"U1": ("*",), "U2": ("stop", "status"), "U3": ()}


@pytest.mark.parametrize(
    ("user", "allowed"),
    [("U1", set(VERBS)), ("U2", {"stop", "status"}), ("U3", set()), ("U4", set()), ("", set())],
)
def test_a_user_may_what_the_table_says(user, allowed):
    assert {verb for verb in VERBS if may(USERS, user, verb)} == allowed


def test_without_a_table_nobody_may():
    assert not any(may({}, "U1", verb) for verb in VERBS)


@pytest.mark.parametrize(
    ("command", "verb"),
    [
        (Stop(None), "stop"),
        (Retry(None), "retry"),
        (Answer(None, "once"), "answer"),
        (Dispatch("epyc6", "affordabot", "x"), "dispatch"),
        (Status(), "status"),
        (Help(), "status"),
    ],
)
def test_each_command_has_its_verb(command, verb):
    assert verb_of(command) == verb
