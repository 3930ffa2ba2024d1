# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Messages as Slack takes them.

All text is of others. It stands in plain_text objects, which Slack does not read for markup, and is escaped
nevertheless: Slack undoes exactly these three escapes, and without them ``<!channel>`` calls everybody.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from typing import Any

from ..facts import wording
from ..facts.status import Status, VMStatus
from ..store.records import Record

__all__ = ["EVENT_TYPE", "SlackMessage", "escaped", "reply", "root"]

EVENT_TYPE = "dx_fleet_audit"

MAX_TEXT = 3900  # longer ones are split; an update takes 4000
MAX_SECTION = 2900
MAX_FIELD = 400
MAX_HEADLINE = 500
MAX_RECORDS = 100  # their ids are in the metadata, the size of which is limited
MAX_BATCH = 9000  # of about 13000 in all blocks
PLAIN_TEXT = (1000, 200)
MAX_VMS_SHOWN = 80


@dataclass(frozen=True)
class SlackMessage:
    """What is posted. ``records`` are the ids of what it tells."""

    text: str
    blocks: Sequence[Mapping[str, Any]] | None
    metadata: Mapping[str, Any] | None
    records: tuple[str, ...] = ()


def escaped(text: str, limit: int) -> str:
    """Text for Slack, at most so long, of which nothing is markup and nothing invisible."""
    clean = "".join(character for character in text if _is_visible(character))
    told = clean.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    if len(told) <= limit:
        return told
    cut = told[: limit - 1]
    entity = cut.rfind("&", max(0, len(cut) - 4))
    if entity >= 0 and ";" not in cut[entity:]:
        cut = cut[:entity]
    return f"{cut}…"


def reply(thread_key: str, records: Sequence[Record], fallback_level: int = 0) -> tuple[SlackMessage, int]:
    """A message that tells the first of these records, and how many it tells.

    Args:
        thread_key: Whose they are.
        records: In their order.
        fallback_level: 0 tells as many as fit, in blocks; from 1 on one, in plain text, shorter, last without
            metadata.
    """
    if fallback_level:
        width = PLAIN_TEXT[min(fallback_level, len(PLAIN_TEXT)) - 1]
        metadata = _metadata(thread_key, records[:1]) if fallback_level < len(PLAIN_TEXT) else None
        return SlackMessage(
            escaped(wording.words_of(records[0].event), width), None, metadata, (records[0].id,)
        ), 1
    lines: list[str] = []
    size = 0
    words = [wording.words_of(record.event) for record in records[:MAX_RECORDS]]
    for each in words:
        line = escaped(each, MAX_SECTION)
        if lines and size + len(line) > MAX_BATCH:
            break
        lines.append(line)
        size += len(line) + 1
    told = records[: len(lines)]
    text = escaped("\n".join(words[: len(lines)]), MAX_TEXT)
    message = SlackMessage(
        text, _sections(lines), _metadata(thread_key, told), tuple(record.id for record in told)
    )
    return message, len(lines)


def root(
    thread_key: str, status: Status, fallback_level: int = 0, *, headline: str | None = None
) -> SlackMessage:
    """The message at the head of a thread: what the dispatch is, and how it stands.

    ``headline`` is what another controller's root begins with, where there is one.
    """
    headline = headline or wording.headline_of(status)
    states = wording.states_of(status)
    text = escaped(f"{headline} ({states})", MAX_TEXT)
    if fallback_level:
        width = PLAIN_TEXT[min(fallback_level, len(PLAIN_TEXT)) - 1]
        metadata = _metadata(thread_key, (), headline) if fallback_level < len(PLAIN_TEXT) else None
        return SlackMessage(escaped(f"Dispatch {thread_key}: {states}", width), None, metadata)
    fields = [
        _plain(f"{name}\n{escaped(value, MAX_FIELD)}") for name, value in _fields(thread_key, status) if value
    ]
    blocks: list[Mapping[str, Any]] = [
        {"type": "section", "text": _plain(escaped(headline, MAX_SECTION))},
        {"type": "section", "fields": fields[:10]},
    ]
    if len(status.vms) > 1:
        blocks += _sections(_vm_lines(status.vms))
    return SlackMessage(text, blocks, _metadata(thread_key, (), headline))


def _is_visible(character: str) -> bool:
    """Neither control characters, nor those that turn the direction of the text around."""
    return character == "\n" or unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")


def _metadata(thread_key: str, records: Sequence[Record], headline: str | None = None) -> Mapping[str, Any]:
    """What another controller reads of a message. Slack limits its size."""
    payload = {"thread_key": thread_key}
    if headline is not None:
        payload["headline"] = headline[:MAX_HEADLINE]
    if records:
        payload["records"] = " ".join(record.id for record in records)
    return {"event_type": EVENT_TYPE, "event_payload": payload}


def _plain(text: str) -> Mapping[str, Any]:
    return {"type": "plain_text", "text": text, "emoji": False}


def _sections(lines: Sequence[str]) -> list[Mapping[str, Any]]:
    """The lines in as few sections as hold them."""
    sections: list[str] = []
    for line in lines:
        if sections and len(sections[-1]) + 1 + len(line) <= MAX_SECTION:
            sections[-1] += f"\n{line}"
        else:
            sections.append(line)
    return [{"type": "section", "text": _plain(section or " ")} for section in sections]


def _fields(thread_key: str, status: Status) -> list[tuple[str, str]]:
    if not status.vms:
        return [("Dispatch", thread_key)]
    first = status.vms[0]
    since = min(vm.since for vm in status.vms)
    elapsed_s = max(0.0, (max(vm.changed for vm in status.vms) - since).total_seconds())
    alone = len(status.vms) == 1
    return [
        ("State", wording.states_of(status)),
        ("VM" if alone else "VMs", first.subject.vm or "" if alone else str(len(status.vms))),
        ("Repo", first.subject.repo or ""),
        ("Bead", first.subject.bead or ""),
        ("Session", first.subject.session or "" if alone else ""),
        ("Orchestrator", first.subject.orchestrator or ""),
        ("Dispatch", thread_key),
        ("Started", f"{since.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"),
        ("Elapsed" if status.final else "Elapsed at the last change", _duration(elapsed_s)),
    ]


def _vm_lines(vms: Sequence[VMStatus]) -> list[str]:
    lines = [
        escaped(
            f"{vm.subject.vm}: {wording.state_of(vm.kind)}, {_duration(vm.elapsed_s)}"
            f"{f', {vm.subject.session}' if vm.subject.session and len(vms) <= 10 else ''}",
            120,
        )
        for vm in vms[:MAX_VMS_SHOWN]
    ]
    return [*lines, f"and {len(vms) - MAX_VMS_SHOWN} more"] if len(vms) > MAX_VMS_SHOWN else lines


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
