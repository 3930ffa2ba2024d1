# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who asked: ``feng (slack:U0123ABCD)`` where machines read it, ``feng (Slack)`` for a person."""

from __future__ import annotations

import re

from ..text.printable import shortened

__all__ = ["shown_person", "slack_person"]

WIDTH = 40
_OF_SLACK = re.compile(r"(?P<name>.+) \(slack:[UW][A-Z0-9]+\)")


def slack_person(user: str, name: str | None) -> str:
    """A user of Slack.

    Args:
        user: The user's id.
        name: What Slack calls them, which anybody may choose; None where that is unknown.
    """
    shown = shortened(name or "", WIDTH)
    return f"{shown} (slack:{user})" if shown else f"slack:{user}"


def shown_person(by: str) -> str:
    """Who it was, for a person to read; what is not of :func:`slack_person`, or has no name, as it is."""
    found = _OF_SLACK.fullmatch(by)
    return f"{found['name']} (Slack)" if found else by
