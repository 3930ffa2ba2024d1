# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A person reads who it was by name, a machine by id, and a name can't pass for another person or place."""

from __future__ import annotations

import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.facts import kinds, wording
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.facts.event import Subject
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.event_kind import EventKind
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.person import shown_person, slack_person
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.progress import ProgressEvent
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.progress_wording import words_of
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.stop import StopMark

SUBJECT = Subject("bd-1@1-a", vm="epyc6", session="ses_1")
BY = "feng (slack:U0123ABCD)"


@pytest.mark.parametrize(
    ("name", "kept", "shown"),
    [
        ("feng", "feng (slack:U0123ABCD)", "feng (Slack)"),
        ("Feng Tee", "Feng Tee (slack:U0123ABCD)", "Feng Tee (Slack)"),
        (None, "slack:U0123ABCD", "slack:U0123ABCD"),
        ("  ", "slack:U0123ABCD", "slack:U0123ABCD"),
        ("root@vm", "root@vm (slack:U0123ABCD)", "root@vm (Slack)"),
        ("x (slack:U999)", "x (slack:U999) (slack:U0123ABCD)", "x (slack:U999) (Slack)"),
        ("a\nb\x1b[31m", "a b\ufffd[31m (slack:U0123ABCD)", "a b\ufffd[31m (Slack)"),
        ("\u202eevil", "\ufffdevil (slack:U0123ABCD)", "\ufffdevil (Slack)"),
        ("n" * 99, "n" * 39 + "… (slack:U0123ABCD)", "n" * 39 + "… (Slack)"),
    ],
)
def test_who_it_was(name: str | None, kept: str, shown: str) -> None:
    assert slack_person("U0123ABCD", name) == kept
    assert shown_person(kept) == shown


@pytest.mark.parametrize("by", ["feng@macmini", "rule 3", "feng (Slack)", "feng (slack:U1) or so", ""])
def test_who_is_not_of_slack_stays_as_he_is(by: str) -> None:
    assert shown_person(by) == by


def test_thread_terminal_and_outcome_show_the_name_and_the_fact_keeps_the_id() -> None:
    stop = kinds.aborting(SUBJECT, "wrong branch", BY)
    answered = kinds.answered(SUBJECT, "per_1", "bash: make", "once", BY)
    heard = ProgressEvent("epyc6", EventKind.ANSWERED, "ses_1", dict(answered.fields) | {"request": "per_1"})
    shown = [
        wording.words_of(stop),
        wording.words_of(answered),
        words_of(heard),
        StopMark(BY, "wrong branch", 1.0, None, None).words(),
    ]
    assert shown == [
        "Aborting epyc6 session ses_1: wrong branch (asked by feng (Slack))",
        "[epyc6] Answered by feng (Slack): once (bash: make)",
        "Answered: once (by feng (Slack)): bash: make",
        "stopped by feng (Slack): wrong branch",
    ]
    assert stop.fields["by"] == answered.fields["by"] == BY
