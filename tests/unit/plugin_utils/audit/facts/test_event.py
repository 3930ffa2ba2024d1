# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fact has one name, which holds its occurrence; it survives JSON, and belongs to one thread."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.facts.event import (
    AuditEvent,
    Subject,
    thread_key_of,
)
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.event_kind import EventKind

SUBJECT = Subject("bd-xyz@1", vm="epyc6", repo="affordabot", bead="bd-xyz", session="ses_abc")


def test_the_same_fact_has_the_same_name_whenever_it_is_recorded() -> None:
    first = AuditEvent(EventKind.CLAIMED, SUBJECT, at=datetime(2026, 1, 1, tzinfo=UTC))
    again = AuditEvent(EventKind.CLAIMED, SUBJECT, {"more": 1}, at=datetime(2026, 1, 2, tzinfo=UTC))
    assert first.id == again.id


def test_another_kind_subject_or_occurrence_is_another_fact() -> None:
    events = [
        AuditEvent(EventKind.CLAIMED, SUBJECT),
        AuditEvent(EventKind.CLAIMED, replace(SUBJECT, vm="macmini")),
        AuditEvent(EventKind.CLAIMED, replace(SUBJECT, dispatch="bd-xyz@2")),
        AuditEvent(EventKind.CLAIM_ENDED, SUBJECT),
        AuditEvent(EventKind.CLAIMED, SUBJECT, occurrence="again"),
    ]
    assert len({event.id for event in events}) == len(events)


def test_it_survives_json() -> None:
    event = AuditEvent(
        EventKind.FAILED, SUBJECT, {"message": "no", "rc": None, "deep": [{"a": 1.5}]}, "run 1"
    )
    back = AuditEvent.from_dict(json.loads(json.dumps(event.as_dict())))
    assert back.as_dict() == event.as_dict()
    assert back.id == event.id


@pytest.mark.parametrize(
    ("dispatch", "vm", "thread_key"),
    [
        ("01J.epyc6", "epyc6", "01J.*"),
        ("01J.*", None, "01J.*"),
        ("01J.epyc6", "macmini", "01J.epyc6"),
        ("01J", "epyc6", "01J"),
        ("01J", None, "01J"),
        ("a.b.c", "b.c", "a.*"),
        (".epyc6", "epyc6", ".epyc6"),
    ],
)
def test_a_dispatch_to_a_group_is_one_family(dispatch: str, vm: str | None, thread_key: str) -> None:
    assert thread_key_of(dispatch, vm) == thread_key
