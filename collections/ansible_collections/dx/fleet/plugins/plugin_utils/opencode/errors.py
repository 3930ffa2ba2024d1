# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Errors of talking to an OpenCode server.

    OpenCodeError
    ├── NotSent            the request did not reach the server: it may be repeated freely
    ├── AnswerLost         the request may have taken effect: look before repeating it
    └── BadAnswer          the server (or who answers in its place) said no, or nonsense
        ├── Unauthorized   401
        ├── NotFound       404
        ├── Rejected       any other 4xx
        ├── ServerFault    5xx; ``log_ref`` leads to the server's log
        └── NotOpenCode    not the status or content type that OpenCode answers with

A leaf is what a caller can conclude about the request's effect. ``reason_code`` tells what happened.
"""

from __future__ import annotations

from ..text.printable import shortened

__all__ = [
    "AnswerLost",
    "BadAnswer",
    "NotFound",
    "NotOpenCode",
    "NotSent",
    "OpenCodeError",
    "Rejected",
    "ServerFault",
    "Unauthorized",
]


class OpenCodeError(Exception):
    """Talking to an OpenCode server failed.

    Args:
        message: One line: what, and which request at which server.
        reason_code: Stable snake_case name.
    """

    default_reason = "opencode_error"

    def __init__(self, message: str, *, reason_code: str | None = None) -> None:
        self.message = shortened(message, 500)  # much of it is the server's text
        super().__init__(self.message)
        self.reason_code = reason_code or self.default_reason


class NotSent(OpenCodeError):
    """``dns_failure``, ``connection_refused``, ``connect_timeout``, ``tls_error``, ``connect_failed``."""

    default_reason = "connect_failed"


class AnswerLost(OpenCodeError):
    """``answer_timeout`` or ``connection_lost``."""

    default_reason = "connection_lost"


class BadAnswer(OpenCodeError):
    """The answer is not what was asked for."""

    default_reason = "bad_answer"


class Unauthorized(BadAnswer):
    """401: the password is missing or wrong."""

    default_reason = "unauthorized"


class NotFound(BadAnswer):
    """404 from OpenCode itself (in JSON)."""

    default_reason = "not_found"


class Rejected(BadAnswer):
    """The request is wrong in OpenCode's eyes."""

    default_reason = "request_rejected"


class ServerFault(BadAnswer):
    """OpenCode failed; its answers carry only a reference into its log."""

    default_reason = "server_error"

    def __init__(self, message: str, *, log_ref: str | None = None) -> None:
        super().__init__(message)
        self.log_ref = log_ref


class NotOpenCode(BadAnswer):
    """HTML with 200, a truncated body, JSON of another shape: whoever answers is not OpenCode."""

    default_reason = "not_opencode"
