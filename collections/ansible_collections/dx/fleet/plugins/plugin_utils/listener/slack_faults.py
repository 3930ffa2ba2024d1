# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What slack_sdk raises where Slack is down or not itself: nothing of it ends the listener."""

from __future__ import annotations

import re

from aiohttp import ClientError
from slack_sdk.errors import SlackApiError, SlackClientError

from ..audit.slack.errors import Ambiguous, SlackError, of_answer, of_connection

__all__ = ["SLACK_FAULTS", "fault_of", "is_slacks_word", "reason_of"]

# A list in the place of an object is an AttributeError there, half an answer a TypeError (measured, 3.47).
SLACK_FAULTS = (
    *(SlackClientError, ClientError, OSError, TimeoutError),
    *(ValueError, TypeError, AttributeError, LookupError),
)


def fault_of(error: Exception) -> SlackError:
    """What one of :data:`SLACK_FAULTS` lets us conclude of the call."""
    if isinstance(error, SlackApiError):
        return of_answer(error.response)
    if isinstance(error, ClientError | OSError):
        return of_connection(error)
    return Ambiguous(type(error).__name__)


def reason_of(error: Exception) -> str:
    """What Slack said, or what kept it from being asked, in a few words for the log."""
    return fault_of(error).code if isinstance(error, SLACK_FAULTS) else type(error).__name__


def is_slacks_word(reason: str) -> bool:
    """Whether Slack itself said no, such as ``missing_scope``, and not something between."""
    return re.fullmatch("[a-z_]+", reason) is not None
