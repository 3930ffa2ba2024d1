# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What slack_sdk raises where Slack is down or not itself: nothing of it ends the listener."""

from __future__ import annotations

import re
from typing import Any

from aiohttp import ClientError
from slack_sdk.errors import SlackApiError, SlackClientError

from ..text.printable import shortened

__all__ = ["SLACK_FAULTS", "is_slacks_word", "reason_of"]

# A list in the place of an object is an AttributeError there, half an answer a TypeError (measured, 3.47).
SLACK_FAULTS = (
    *(SlackClientError, ClientError, OSError, TimeoutError),
    *(ValueError, TypeError, AttributeError, LookupError),
)


def reason_of(error: Exception) -> str:
    """What Slack said, or what kept it from being asked, in a few words for the log."""
    if not isinstance(error, SlackApiError):
        return type(error).__name__
    answer: Any = error.response
    said = answer.get("error") if hasattr(answer, "get") else None
    return shortened(str(said or "an answer that can't be read"), 80)


def is_slacks_word(reason: str) -> bool:
    """Whether Slack itself said no, such as ``missing_scope``, and not something between."""
    return re.fullmatch("[a-z_]+", reason) is not None
