# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Text of others stays text, and every reply keeps the limits of Slack."""

from __future__ import annotations

from pathlib import Path

from ansible_collections.dx.fleet.plugins.plugin_utils.audit.facts.event import Subject
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.facts.kinds import ended, retrying
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.slack.message import Audience, reply
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.slack.text import escaped
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.store.outbox import Outbox
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.store.records import Record
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.outcome import Evidence, Outcome, State
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.plugin_utils.audit.blocks import HOSTILE, is_harmless, kinds_of, texts_of


def records(*texts: str, directory: Path) -> list[Record]:
    outbox = Outbox(directory / "o" / "outbox.db")
    for number, text in enumerate(texts):
        outbox.append(retrying(Subject("d1", vm=text), text, number), "C1")
    return outbox.ledger.thread_records("d1")


def test_text_of_others_can_neither_call_anybody_nor_link_nor_hide(tmp_path: Path) -> None:
    kept = records(HOSTILE, directory=tmp_path)
    for fallback_level in range(3):
        message = reply("d1", kept, fallback_level)[0]
        assert kinds_of(list(message.blocks or ())) <= {"section", "plain_text"}
        assert all(map(is_harmless, texts_of(message)))


@given(st.text(), st.integers(5, 60))
def test_escaped_text_keeps_its_limit_and_breaks_no_entity(text: str, limit: int) -> None:
    told = escaped(text * 3, limit)
    assert len(told) <= limit
    assert "&" not in told.replace("&amp;", "").replace("&lt;", "").replace("&gt;", "")


@given(st.lists(st.text(max_size=4000) | st.just("&" * 2000), min_size=1, max_size=150))
def test_every_message_keeps_the_limits_of_slack_and_none_is_left_out(texts: list[str]) -> None:
    rest = [
        Record(
            number,
            f"{number:020d}",
            retrying(Subject("d1", vm=text), text, number),
            "pending",
            0,
            0,
            None,
            None,
        )  # type: ignore[arg-type]
        for number, text in enumerate(texts)
    ]
    told: list[str] = []
    while rest:
        message, count = reply("d1", rest)
        assert count >= 1
        assert len(message.text) <= 4000
        sections = texts_of(message)[1:]
        assert len(sections) <= 50
        assert all(1 <= len(section) <= 3000 for section in sections)
        assert sum(map(len, sections)) <= 13_000
        assert len(str(message.metadata)) < 4000
        told += message.records
        rest = rest[count:]
    assert told == [f"{number:020d}" for number in range(len(texts))]


def test_a_plainer_form_is_one_record_and_short(tmp_path: Path) -> None:
    kept = records("x" * 2000, "second", directory=tmp_path)
    for fallback_level, width in ((1, 1000), (2, 200), (3, 200)):
        message, count = reply("d1", kept, fallback_level)
        assert (count, message.blocks, len(message.text)) == (1, None, width)
    assert reply("d1", kept, 1)[0].metadata is not None
    assert reply("d1", kept, 2)[0].metadata is None


def test_who_is_waited_for_is_called_once_by_the_reply_that_asks(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "o" / "outbox.db")
    asked = Outcome(State.NEEDS_INPUT, "needs_input", "?", evidence=Evidence(request={"id": "per_1"}))
    for event in (retrying(Subject("d1", vm="epyc6"), "429", 1), ended(asked, Subject("d1", vm="epyc6"))):
        assert event is not None
        outbox.append(event, "C1")
    kept = outbox.ledger.thread_records("d1")
    called = Audience(("U012", "U034"))
    assert str(reply("d1", kept, audience=called)[0].blocks).count("<@U012> <@U034>") == 1
    assert "<@" not in str(reply("d1", kept[:1], audience=called)[0])
    assert "<@" not in str(reply("d1", kept)[0])
