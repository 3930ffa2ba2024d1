# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What each way in which a call of Slack fails lets us conclude.

SlackError
├── RetryLater      nothing was done; the same call may succeed later
├── Ambiguous       it may have been done: look before it is done again
├── Held            somebody must mend the set-up first
├── Refused         this message is not taken in this form
└── ThreadGone      no reply and no update is taken here
"""

from __future__ import annotations

import email.utils
import re
import time
from collections.abc import Mapping
from typing import Any

import aiohttp

from ...text.printable import shortened

__all__ = [
    "Ambiguous",
    "Held",
    "Refused",
    "RetryLater",
    "SlackError",
    "ThreadGone",
    "of_answer",
    "of_connection",
]

MAX_RETRY_AFTER_S = 3600.0

_RETRY = frozenset(
    (
        "ratelimited",
        "rate_limited",
        "service_unavailable",
        "request_timeout",
        "team_added_to_org",
        "org_login_required",
        "accesslimited",
        "message_limit_exceeded",
    )
)
_AMBIGUOUS = frozenset(("internal_error", "fatal_error"))
_HELD = frozenset(
    (
        "invalid_auth",
        "not_authed",
        "account_inactive",
        "token_revoked",
        "token_expired",
        "not_allowed_token_type",
        "missing_scope",
        "no_permission",
        "access_denied",
        "ekm_access_denied",
        "not_in_channel",
        "channel_not_found",
        "is_archived",
        "method_not_supported_for_channel_type",
        "restricted_action",
        "restricted_action_read_only_channel",
        "restricted_action_non_threadable_channel",
        "team_access_not_granted",
        "enterprise_is_restricted",
        "two_factor_setup_required",
        "unknown_method",
    )
)
_THREAD_GONE = frozenset(
    (
        "cannot_reply_to_message",
        "restricted_action_thread_locked",
        "restricted_action_thread_only_channel",
        "thread_not_found",
        "message_not_found",
        "cant_update_message",
        "edit_window_closed",
    )
)
_CODE = re.compile(r"[a-z][a-z0-9_]{0,79}", re.ASCII)


class SlackError(Exception):
    """A call failed. ``code`` is Slack's, or names what happened."""

    def __init__(self, code: str) -> None:
        self.code = shortened(code, 80)
        super().__init__(self.code)


class RetryLater(SlackError):
    """Nothing was done. ``after_s`` is how long Slack wants silence, where it said so."""

    def __init__(self, code: str, after_s: float | None = None) -> None:
        super().__init__(code)
        self.after_s = after_s


class Ambiguous(SlackError):
    """It may have been done."""


class Held(SlackError):
    """Slack wants the set-up mended: a token, a scope, the channel."""


class Refused(SlackError):
    """This message is not taken in this form."""


class ThreadGone(SlackError):
    """The thread takes no reply, or the message no update."""


def of_answer(response: Any) -> SlackError:
    """What an answer that is no success lets us conclude."""
    # slack_sdk's own answer, or aiohttp's where its body was no JSON.
    status = getattr(response, "status_code", None) or getattr(response, "status", None)
    data = getattr(response, "data", None)
    said = data.get("error") if isinstance(data, Mapping) else None
    code = said if isinstance(said, str) and _CODE.fullmatch(said) else None
    if status == 429:
        return RetryLater("ratelimited", _retry_after(response))
    if isinstance(status, int) and status >= 500:
        return Ambiguous(f"http_{status}")
    if code is None:
        if status in (401, 403, 404):
            return Held(f"http_{status}")
        # HTML with 200, as of a captive portal, or an answer of nobody knows whom.
        return Ambiguous(f"http_{status}_no_json")
    if code in _RETRY:
        return RetryLater(code, _retry_after(response))
    if code in _AMBIGUOUS:
        return Ambiguous(code)
    if code in _HELD:
        return Held(code)
    return ThreadGone(code) if code in _THREAD_GONE else Refused(code)


def of_connection(error: Exception) -> SlackError:
    """What a failure of the connection lets us conclude."""
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ClientHttpProxyError):
        # Before a byte of the request can have left.
        cause = getattr(error, "os_error", None) or error
        return RetryLater(type(cause).__name__)
    return Ambiguous(type(error).__name__)


def _retry_after(response: Any) -> float | None:
    """Seconds, from a number or a date; None where the header is missing or nonsense."""
    headers = getattr(response, "headers", None) or {}
    value = next((str(headers[name]) for name in headers if str(name).lower() == "retry-after"), "").strip(
        "[]' "
    )
    if re.fullmatch(r"[0-9]{1,9}(?:\.[0-9]{1,9})?", value, re.ASCII):
        return min(float(value), MAX_RETRY_AFTER_S)
    try:
        at = email.utils.parsedate_to_datetime(value).timestamp()
    except (TypeError, ValueError, OverflowError):
        return None
    return min(max(at - time.time(), 0.0), MAX_RETRY_AFTER_S)
