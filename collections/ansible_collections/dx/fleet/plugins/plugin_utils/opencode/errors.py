# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Errors of talking to an OpenCode server.

    OpenCodeError
    ├── NotSent            the request did not reach the server: it may be repeated freely
    │   └── SshRefused     SSH does not trust the VM, or the VM does not trust us: final
    ├── AnswerLost         a write may have taken effect, a read says nothing: look before repeating it
    ├── NotOpenCode        a read was answered, but not by OpenCode (a gateway, a proxy, another service)
    │   └── TooLarge       OpenCode's answer is larger than we read
    └── OwnError           OpenCode itself said no, in a body of its own
        ├── Unauthorized   the password is missing or wrong
        ├── NotFound       there is no such session or message
        ├── Rejected       the request is wrong in OpenCode's eyes
        │   └── ConfigInvalid  the project's configuration can't be read: nothing runs in that directory
        └── ServerFault    OpenCode failed; ``log_ref`` leads to the server's log

A leaf is what a caller may conclude about the request's effect; :mod:`.answers` decides which. Only an
``OwnError`` is a word of the server. ``reason_code`` says what happened.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..text.printable import shortened

__all__ = [
    "AnswerLost",
    "ConfigInvalid",
    "NotFound",
    "NotOpenCode",
    "NotSent",
    "OpenCodeError",
    "OwnError",
    "Rejected",
    "ServerFault",
    "SshRefused",
    "TooLarge",
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
    """``dns_failure``, ``connection_refused``, ``connect_timeout``, ``tls_error``, ``tls_mismatch``,
    ``no_route``, ``connect_failed``, ``bad_url``; through SSH also ``ssh_unreachable`` and
    ``runtime_folder_unsafe``."""

    default_reason = "connect_failed"


class SshRefused(NotSent):
    """``ssh_host_key_changed``, ``ssh_host_key_unknown`` or ``ssh_key_refused``: a person has to act.

    Args:
        message: As everywhere.
        reason_code: As everywhere.
        next_action: What they can do.
    """

    def __init__(self, message: str, *, reason_code: str, next_action: str) -> None:
        super().__init__(message, reason_code=reason_code)
        self.next_action = next_action


class AnswerLost(OpenCodeError):
    """``answer_timeout``, ``connection_lost``, or, of a write, the reasons of :class:`NotOpenCode`."""

    default_reason = "connection_lost"


class NotOpenCode(OpenCodeError):
    """``not_opencode`` (HTML with 200, JSON of another shape ...), ``gateway_error`` (a status with which
    gateways answer for a server that may go on working), ``redirected``."""

    default_reason = "not_opencode"


class TooLarge(NotOpenCode):
    """The answer is larger than we read. A page of messages may be asked for in smaller pieces."""

    default_reason = "too_large"


class OwnError(OpenCodeError):
    """OpenCode's own word that the request can't be done."""

    default_reason = "bad_answer"


class Unauthorized(OwnError):
    """The password is missing or wrong."""

    default_reason = "unauthorized"


class NotFound(OwnError):
    """There is no such session or message."""

    default_reason = "not_found"


class Rejected(OwnError):
    """The request is wrong in OpenCode's eyes."""

    default_reason = "request_rejected"


class ConfigInvalid(Rejected):
    """The configuration of the directory's project can't be read. It is that directory's trouble alone.

    Args:
        message: As everywhere.
        file: The file on the VM.
        issues: What is wrong with it, one line each.
    """

    default_reason = "config_invalid"

    def __init__(self, message: str, *, file: str, issues: Sequence[str]) -> None:
        super().__init__(message)
        self.file = shortened(file, 300)
        self.issues = tuple(shortened(issue, 200) for issue in issues[:5])


class ServerFault(OwnError):
    """OpenCode failed; its answers carry only a reference into its log."""

    default_reason = "server_error"

    def __init__(self, message: str, *, log_ref: str | None = None) -> None:
        super().__init__(message)
        self.log_ref = log_ref
