# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a failure on the way to a server means, in the words of the person who has to mend it."""

from __future__ import annotations

import errno
import os
import socket
import ssl

import httpx

from ..text.printable import shortened
from .errors import AnswerLost, NotOpenCode, NotSent, OpenCodeError

__all__ = ["transport_error"]


def transport_error(error: httpx.HTTPError, asked: str) -> OpenCodeError:
    """The error that a broken exchange is.

    Args:
        error: What httpx raised.
        asked: The request: its method and URL.
    """
    url = httpx.URL(asked.split()[1])
    where = f"{url.host}:{url.port or (443 if url.scheme == 'https' else 80)}"
    if isinstance(error, httpx.ConnectTimeout | httpx.PoolTimeout):
        return NotSent(f"{asked}: no connection to {where} in time", reason_code="connect_timeout")
    if isinstance(error, httpx.ConnectError):
        reason, words = _connect_failure(error, where, url.host)
        return NotSent(f"{asked}: {words}", reason_code=reason)
    if isinstance(error, httpx.UnsupportedProtocol | httpx.LocalProtocolError):
        return NotSent(f"{asked}: this is no URL of a server", reason_code="bad_url")
    if isinstance(error, httpx.TimeoutException):
        return AnswerLost(f"{asked}: no answer in time", reason_code="answer_timeout")
    if isinstance(error, httpx.RemoteProtocolError) and "illegal" in str(error).lower():
        words = f"{asked}: {where} answered something that is not HTTP"
        if asked.startswith("GET "):
            return NotOpenCode(words)
        return AnswerLost(words, reason_code="not_opencode")
    return AnswerLost(f"{asked}: the connection broke")


def _connect_failure(error: httpx.ConnectError, where: str, host: str) -> tuple[str, str]:
    """Reason code and words of a connection that was never made."""
    cause = _root(error)
    said = str(cause or error)
    if isinstance(cause, ssl.SSLError) or "SSL" in said:
        return _tls_failure(cause, where)
    if isinstance(cause, socket.gaierror):
        return "dns_failure", f"the name {host} is not known here"
    # asyncio joins several refused addresses into one error without an errno.
    refused = isinstance(cause, ConnectionRefusedError) or "refused" in said.lower()
    if refused or "all connection attempts failed" in said.lower():
        return "connection_refused", f"nothing listens at {where}"
    number = cause.errno if isinstance(cause, OSError) else None
    if number in (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN):
        return "no_route", f"no way leads to {where} from here"
    # strerror alone: a number says nothing to a person.
    why = f" ({os.strerror(number).lower()})" if number else ""
    return "connect_failed", f"no connection to {where}{why}"


def _tls_failure(cause: BaseException | None, where: str) -> tuple[str, str]:
    if isinstance(cause, ssl.SSLCertVerificationError):
        why = shortened(getattr(cause, "verify_message", "") or "nobody here vouches for it", 100)
        return "tls_error", f"the certificate of {where} is not trusted: {why}"
    reason = getattr(cause, "reason", None) or ""
    if reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG"):
        return "tls_mismatch", f"{where} speaks plain HTTP, not TLS"
    return "tls_error", f"no TLS connection to {where} came about"


def _root(error: BaseException) -> BaseException | None:
    """The operating system's error below httpx's and httpcore's, if there is one."""
    found: BaseException | None = None
    seen = error.__cause__ or error.__context__
    while seen is not None:
        if isinstance(seen, OSError):
            found = seen
        seen = seen.__cause__ or seen.__context__
    return found
