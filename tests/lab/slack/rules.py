# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Slack's Web API checks or shapes, and the emulator does not. Plain functions of plain data.

Sources: Slack's reference, and limits that bolt-js#2509 and others ran into. What nobody could verify is the
less comfortable guess: whoever copes with it copes with the other one.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["as_slack_shows", "page", "refusal", "structured"]

Message = dict[str, Any]

_BLOCK_TYPES = frozenset(
    {
        *(
            "actions",
            "alert",
            "call",
            "card",
            "carousel",
            "context",
            "context_actions",
            "divider",
            "file",
            "header",
        ),
        *("image", "input", "markdown", "plan", "rich_text", "section", "table", "task_card", "video"),
    }
)
_MOST_BLOCKS = 50
_MOST_SECTION_TEXT = 3000
_MOST_SECTION_FIELDS = 10
_MOST_FIELD_TEXT = 2000
_MOST_HEADER_TEXT = 150
_MOST_CONTEXT_ELEMENTS = 10
_MOST_BLOCK_ID = 255
_MOST_BLOCK_TEXT_IN_ALL = 13_200
_MOST_UPDATED_TEXT = 4000
_MOST_LIMIT = 1000
_CURSOR = "next_ts:"


def structured(arguments: Mapping[str, object]) -> dict[str, object]:
    """The arguments with ``blocks`` and ``metadata`` as data: a form has them as JSON text."""
    found = dict(arguments)
    for name in ("blocks", "metadata"):
        value = found.get(name)
        if isinstance(value, str) and value:
            try:
                found[name] = json.loads(value)
            except ValueError:
                continue
    return found


def refusal(method: str, arguments: Mapping[str, object]) -> str | None:
    """The error by which Slack refuses such a message, if it does."""
    if method not in ("chat.postMessage", "chat.update"):
        return None
    text = arguments.get("text")
    if method == "chat.update" and isinstance(text, str) and len(text) > _MOST_UPDATED_TEXT:
        return "msg_too_long"
    return _bad_blocks(arguments.get("blocks")) or _bad_metadata(arguments.get("metadata"))


def as_slack_shows(message: Message, *, metadata: bool) -> Message:
    """A message of the emulator's as Slack returns it.

    The root of a thread names itself as its thread, and metadata is shown on demand only.
    """
    shown = dict(message)
    if not metadata:
        shown.pop("metadata", None)
    if shown.get("reply_count"):
        shown["thread_ts"] = shown["ts"]
    if shown.get("reply_broadcast") and shown.get("thread_ts"):
        shown["subtype"] = "thread_broadcast"
    return shown


def page(
    messages: Sequence[Message], arguments: Mapping[str, object], *, default_limit: int, newest_first: bool
) -> dict[str, Any]:
    """Those of the messages that are asked for by ``oldest``, ``latest``, ``inclusive``, ``limit``, ``cursor``.

    The messages keep their order. ``next_cursor`` is there only where something follows.
    """
    try:
        chosen = [message for message in messages if _between(message, arguments)]
        limit = min(int(str(arguments.get("limit") or default_limit)), _MOST_LIMIT)
    except ValueError:
        return {"ok": False, "error": "invalid_arguments"}
    if arguments.get("cursor"):
        first = _cursor_moment(arguments["cursor"])
        if first is None:
            return {"ok": False, "error": "invalid_cursor"}
        chosen = [
            message
            for message in chosen
            if (_moment(message["ts"]) <= first if newest_first else _moment(message["ts"]) >= first)
        ]
    answer: dict[str, Any] = {"ok": True, "messages": chosen[:limit], "has_more": limit < len(chosen)}
    if answer["has_more"]:
        cursor = f"{_CURSOR}{chosen[limit]['ts']}"
        answer["response_metadata"] = {"next_cursor": base64.b64encode(cursor.encode()).decode()}
    return answer


def _between(message: Message, arguments: Mapping[str, object]) -> bool:
    inclusive = str(arguments.get("inclusive", "")).lower() in ("1", "true")
    when = _moment(message["ts"])
    oldest, latest = arguments.get("oldest"), arguments.get("latest")
    if oldest and (when < _moment(oldest) or (when == _moment(oldest) and not inclusive)):
        return False
    return not (latest and (when > _moment(latest) or (when == _moment(latest) and not inclusive)))


def _moment(ts: object) -> tuple[int, int]:
    seconds, _, fraction = str(ts).partition(".")
    return int(seconds), int(fraction.ljust(6, "0")[:6] or "0")


def _cursor_moment(cursor: object) -> tuple[int, int] | None:
    try:
        text = base64.b64decode(str(cursor), validate=True).decode()
        return _moment(text.removeprefix(_CURSOR)) if text.startswith(_CURSOR) else None
    except ValueError:
        return None


def _bad_blocks(blocks: object) -> str | None:
    if blocks is None or blocks == "":
        return None
    if not isinstance(blocks, list) or not all(isinstance(block, dict) for block in blocks):
        return "invalid_blocks_format"
    if len(blocks) > _MOST_BLOCKS or not all(_is_good_block(block) for block in blocks):
        return "invalid_blocks"
    ids = [block["block_id"] for block in blocks if block.get("block_id")]
    if len(ids) != len(set(ids)):
        return "invalid_blocks"
    if sum(_text_length(block) for block in blocks) > _MOST_BLOCK_TEXT_IN_ALL:
        return "msg_blocks_too_long"
    return None


def _is_good_block(block: Mapping[str, Any]) -> bool:
    if block.get("type") not in _BLOCK_TYPES or len(str(block.get("block_id", ""))) > _MOST_BLOCK_ID:
        return False
    match block["type"]:
        case "section":
            fields = block.get("fields")
            if fields is None:
                return _is_text(block.get("text"), _MOST_SECTION_TEXT)
            return (
                ("text" not in block or _is_text(block["text"], _MOST_SECTION_TEXT))
                and isinstance(fields, list)
                and 1 <= len(fields) <= _MOST_SECTION_FIELDS
                and all(_is_text(field, _MOST_FIELD_TEXT) for field in fields)
            )
        case "header":
            return _is_text(block.get("text"), _MOST_HEADER_TEXT, ("plain_text",))
        case "context":
            elements = block.get("elements")
            return (
                isinstance(elements, list)
                and 1 <= len(elements) <= _MOST_CONTEXT_ELEMENTS
                and all(_is_text(one, _MOST_SECTION_TEXT) or _is_image(one) for one in elements)
            )
        case "actions":
            return isinstance(block.get("elements"), list) and 1 <= len(block["elements"]) <= 25
    return True


def _is_text(value: object, most: int, types: tuple[str, ...] = ("plain_text", "mrkdwn")) -> bool:
    if not isinstance(value, dict) or value.get("type") not in types:
        return False
    text = value.get("text")
    foreign = {"verbatim"} if value["type"] == "plain_text" else {"emoji"}
    return isinstance(text, str) and 1 <= len(text) <= most and not foreign & value.keys()


def _is_image(value: object) -> bool:
    return isinstance(value, dict) and value.get("type") == "image" and bool(value.get("alt_text"))


def _text_length(part: object) -> int:
    """The characters of all texts in it, however deep."""
    if isinstance(part, list):
        return sum(_text_length(one) for one in part)
    if not isinstance(part, dict):
        return 0
    own = part.get("text")
    below = sum(_text_length(value) for value in part.values())
    return below + (len(own) if isinstance(own, str) else 0)


def _bad_metadata(metadata: object) -> str | None:
    if not metadata:
        return None
    if not isinstance(metadata, dict) or not metadata.keys() <= {"event_type", "event_payload", "entities"}:
        return "invalid_metadata_format"
    if not isinstance(metadata.get("event_type"), str) or not metadata["event_type"]:
        return "invalid_metadata_format"
    payload = metadata.get("event_payload")
    return None if isinstance(payload, dict) else "invalid_metadata_format"
