# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is concluded from a call of Slack that failed, whatever slack_sdk raised."""

from __future__ import annotations

from typing import Any

import pytest
from aiohttp import ServerDisconnectedError
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.slack.errors import (
    Ambiguous,
    Held,
    Refused,
    RetryLater,
    SlackError,
)
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.errors import AuditError
from ansible_collections.dx.fleet.plugins.plugin_utils.listener.slack_faults import (
    fault_of,
    is_slacks_word,
    reason_of,
)
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncSlackResponse


def said(data: Any, status: int = 200, **headers: str) -> SlackApiError:
    """What slack_sdk raises for an answer."""
    answer = AsyncSlackResponse(
        client=None, http_verb="POST", api_url="", req_args={}, data=data, headers=headers, status_code=status
    )
    return SlackApiError("The request failed", answer)


FAULTS: dict[str, tuple[Exception, type[SlackError], str]] = {
    "missing scope": (said({"ok": False, "error": "missing_scope"}), Held, "missing_scope"),
    "too long": (said({"ok": False, "error": "msg_too_long"}), Refused, "msg_too_long"),
    "rate limit": (said({"error": "ratelimited"}, 429), RetryLater, "ratelimited"),
    "plain text": (said("upstream", 500), Ambiguous, "http_500"),
    "plain text for yes": (said("ok"), Ambiguous, "http_200_no_json"),
    "bytes": (ValueError("binary data"), Ambiguous, "ValueError"),
    "nothing": (said(None), Ambiguous, "http_200_no_json"),
    "a list": (said(["ok"]), Ambiguous, "http_200_no_json"),
    "an error that is no word": (said({"error": ["x"]}), Ambiguous, "http_200_no_json"),
    "no answer at all": (SlackApiError("", None), Ambiguous, "http_None_no_json"),
    "dropped": (ServerDisconnectedError(), Ambiguous, "ServerDisconnectedError"),
    "too late": (TimeoutError(), Ambiguous, "TimeoutError"),
    "a list in the place of an object": (AttributeError("get"), Ambiguous, "AttributeError"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_is_concluded(name: str) -> None:
    error, kind, reason = FAULTS[name]
    assert type(fault_of(error)) is kind
    assert reason_of(error) == reason
    assert is_slacks_word(reason) is (kind in (Held, Refused, RetryLater))


def test_what_is_not_slacks_is_named() -> None:
    assert reason_of(AuditError("the inbox is full", reason_code="audit_unavailable")) == "AuditError"
