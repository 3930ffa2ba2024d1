# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Messages as Slack takes them, and the replies of a thread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...domain.event_kind import EventKind
from ..facts import wording
from ..store.records import Record
from .text import MAX_SECTION, MAX_TEXT, escaped, markup, mentions, sections

__all__ = ["EVENT_TYPE", "PLAIN_TEXT", "Audience", "SlackMessage", "metadata_of", "reply"]

EVENT_TYPE = "dx_fleet_audit"

MAX_HEADLINE = 500
MAX_RECORDS = 100  # their ids are in the metadata, the size of which is limited
MAX_BATCH = 9000  # of about 13000 in all blocks
PLAIN_TEXT = (1000, 200)
"""How long the plain forms are, of a message that Slack did not take in full."""


@dataclass(frozen=True)
class SlackMessage:
    """What is posted. ``records`` are the ids of what it tells."""

    text: str
    blocks: Sequence[Mapping[str, Any]] | None
    metadata: Mapping[str, Any] | None
    records: tuple[str, ...] = ()


@dataclass(frozen=True)
class Audience:
    """Who reads a channel: the user ids that are called where an agent waits for a person, and whether
    somebody hears a click."""

    mention: tuple[str, ...] = ()
    buttons: bool = False


def reply(
    thread_key: str, records: Sequence[Record], fallback_level: int = 0, audience: Audience | None = None
) -> tuple[SlackMessage, int]:
    """A message that tells the first of these records, and how many it tells.

    Args:
        thread_key: Whose they are.
        records: In their order.
        fallback_level: 0 tells as many as fit, in blocks; from 1 on one, in plain text, shorter, last without
            metadata.
        audience: Who is called, once, where an agent waits for a person. An update of the head calls nobody.
    """
    if fallback_level:
        width = PLAIN_TEXT[min(fallback_level, len(PLAIN_TEXT)) - 1]
        metadata = metadata_of(thread_key, records[:1]) if fallback_level < len(PLAIN_TEXT) else None
        text = escaped(wording.words_of(records[0].event), width)
        return SlackMessage(text, None, metadata, (records[0].id,)), 1
    lines: list[str] = []
    size = 0
    words = [wording.words_of(record.event) for record in records[:MAX_RECORDS]]
    for each in words:
        line = escaped(each, MAX_SECTION)
        if lines and size + len(line) > MAX_BATCH:
            break
        lines.append(line)
        size += len(line) + 1
    sent = records[: len(lines)]
    blocks = sections(lines)
    if audience and audience.mention and any(r.event.kind is EventKind.NEEDS_INPUT for r in sent):
        blocks.append({"type": "section", "text": markup(mentions(audience.mention))})
    message = SlackMessage(
        escaped("\n".join(words[: len(lines)]), MAX_TEXT),
        blocks,
        metadata_of(thread_key, sent),
        tuple(record.id for record in sent),
    )
    return message, len(lines)


def metadata_of(thread_key: str, records: Sequence[Record], headline: str | None = None) -> Mapping[str, Any]:
    """What another controller reads of a message; a head has a headline. Slack limits its size."""
    payload = {"thread_key": thread_key}
    if headline is not None:
        payload["headline"] = headline[:MAX_HEADLINE]
    if records:
        payload["records"] = " ".join(record.id for record in records[:MAX_RECORDS])
    return {"event_type": EVENT_TYPE, "event_payload": payload}
