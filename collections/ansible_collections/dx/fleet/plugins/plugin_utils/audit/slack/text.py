# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Text as Slack takes it.

All text is of others. It stands in plain_text objects, which Slack does not read for markup, and is escaped
nevertheless: Slack undoes exactly these three escapes, and without them ``<!channel>`` calls everybody.
Markup is used for two things of our own alone: the mention of a person whose id is an id, and a time.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

__all__ = ["MAX_SECTION", "MAX_TEXT", "ago", "escaped", "markup", "mentions", "plain", "section", "sections"]

MAX_TEXT = 3900  # longer ones are split; an update takes 4000
MAX_SECTION = 2900


def escaped(text: str, limit: int) -> str:
    """Text for Slack, at most so long, of which nothing is markup and nothing invisible."""
    clean = "".join(character for character in text if _is_visible(character))
    shown = clean.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    if len(shown) <= limit:
        return shown
    cut = shown[: limit - 1]
    entity = cut.rfind("&", max(0, len(cut) - 4))
    if entity >= 0 and ";" not in cut[entity:]:
        cut = cut[:entity]
    return f"{cut}…"


def plain(text: str) -> Mapping[str, Any]:
    """An object with text that is escaped already."""
    return {"type": "plain_text", "text": text, "emoji": False}


def markup(text: str) -> Mapping[str, Any]:
    """An object with markup: only of :func:`mentions`, :func:`ago` and words of ours."""
    return {"type": "mrkdwn", "text": text, "verbatim": True}


def section(text: str) -> Mapping[str, Any]:
    """A section of text that is escaped already."""
    return {"type": "section", "text": plain(text or " ")}


def sections(lines: Sequence[str]) -> list[Mapping[str, Any]]:
    """The lines, which are escaped already, in as few sections as hold them."""
    texts: list[str] = []
    for line in lines:
        if texts and len(texts[-1]) + 1 + len(line) <= MAX_SECTION:
            texts[-1] += f"\n{line}"
        else:
            texts.append(line)
    return [section(text) for text in texts]


def mentions(users: Sequence[str]) -> str:
    """Markup that calls these users; their ids are checked where they are configured."""
    return " ".join(f"<@{user}>" for user in users)


def ago(at: float) -> str:
    """Markup of a time that each reader's client shows as how long ago it was, so that it never gets old."""
    when = datetime.fromtimestamp(at, UTC)
    return f"<!date^{at:.0f}^{{ago}}|at {when:%H:%M:%S} UTC>"


def _is_visible(character: str) -> bool:
    """Neither control characters, nor those that turn the direction of the text around."""
    return character == "\n" or unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")
