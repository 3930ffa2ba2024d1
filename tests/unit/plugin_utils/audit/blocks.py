# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What stands in the blocks of a message, and whether any of it could be markup of others."""

from __future__ import annotations

from typing import Any

from ansible_collections.dx.fleet.plugins.plugin_utils.audit.slack.message import SlackMessage

__all__ = ["HOSTILE", "is_harmless", "kinds_of", "markup_of", "texts_of"]

HOSTILE = "<!channel> <@U1> <https://evil.example|ok> *b* `c` @here \u202egnp.exe \x1b[31m & &lt;"


def texts_of(message: SlackMessage) -> list[str]:
    """All text of a message that Slack does not read for markup."""
    return [message.text, *_texts(list(message.blocks or ()), "plain_text")]


def markup_of(message: SlackMessage) -> list[str]:
    """All text of a message that Slack reads for markup."""
    return _texts(list(message.blocks or ()), "mrkdwn")


def _texts(data: Any, kind: str) -> list[str]:
    if isinstance(data, dict):
        own = [data["text"]] if data.get("type") == kind else []
        return own + [text for value in data.values() for text in _texts(value, kind)]
    return [text for one in data for text in _texts(one, kind)] if isinstance(data, list | tuple) else []


def kinds_of(data: Any) -> set[str]:
    """All types of objects in blocks."""
    if isinstance(data, dict):
        own = {data["type"]} if isinstance(data.get("type"), str) else set()
        return own.union(*map(kinds_of, data.values()))
    return set().union(*map(kinds_of, data)) if isinstance(data, list | tuple) else set()


def is_harmless(text: str) -> bool:
    """Nothing in it calls anybody, links, or hides."""
    rest = text.replace("&amp;", "").replace("&lt;", "").replace("&gt;", "")
    return not set("<>&\u202e\x1b") & set(rest)
