# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an HTTP answer is worth: read with a bound, believed only as JSON of the right shape."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Hashable
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar, cast

import httpx
from pydantic import TypeAdapter, ValidationError

from .errors import (
    AnswerLost,
    BadAnswer,
    NotFound,
    NotOpenCode,
    NotSent,
    OpenCodeError,
    Rejected,
    ServerFault,
    Unauthorized,
)

__all__ = ["Reply", "adapter", "decode", "failure", "parsed", "read", "transport_error"]

MAX_ANSWER_BYTES = 64 * 1024 * 1024

T = TypeVar("T")


@dataclass(frozen=True)
class Reply:
    """An HTTP answer; ``asked`` is the request in words."""

    asked: str
    status: int
    content_type: str
    cursor: str | None
    body: bytes = b""

    @classmethod
    def of(cls, response: httpx.Response, asked: str, body: bytes = b"") -> Reply:
        content_type = response.headers.get("content-type", "no content type").partition(";")[0]
        return cls(
            asked=asked,
            status=response.status_code,
            content_type=content_type.strip().lower()[:60],
            cursor=response.headers.get("x-next-cursor"),
            body=body,
        )

    def json(self) -> Any:
        """Raises ValueError where the body is not JSON, or does not say that it is."""
        if self.content_type != "application/json":
            raise ValueError(self.content_type)
        return decode(self.body)


async def read(response: httpx.Response, asked: str) -> Reply:
    """The whole body, but not without end."""
    chunks: list[bytes] = []
    size = 0
    async for chunk in response.aiter_bytes():
        size += len(chunk)
        if size > MAX_ANSWER_BYTES:
            raise NotOpenCode(f"{asked} answered more than {MAX_ANSWER_BYTES} bytes", reason_code="too_large")
        chunks.append(chunk)
    return Reply.of(response, asked, b"".join(chunks))


def parsed(reply: Reply, kind: type[T]) -> T:
    stranger = "another service, or another version of OpenCode"
    if reply.status != 200 or reply.content_type != "application/json":
        raise NotOpenCode(
            f"{reply.asked} answered {reply.status} with {reply.content_type}, not with JSON: {stranger}"
        )
    try:
        found: T = adapter(cast(Hashable, kind)).validate_python(reply.json())
    except ValidationError as error:
        where = ".".join(map(str, error.errors(include_url=False)[0]["loc"])) or "the answer"
        raise NotOpenCode(f"{reply.asked} answered JSON of another shape ({where}): {stranger}") from error
    except ValueError as error:
        raise NotOpenCode(f"{reply.asked} answered broken JSON") from error
    return found


def failure(reply: Reply) -> BadAnswer:
    if reply.status == 401:
        return Unauthorized(f"{reply.asked} answered 401: the server's password is missing or wrong")
    try:
        body = reply.json()
    except ValueError:
        body = None
    detail, log_ref = _detail(body)
    said = f"{reply.asked} answered {reply.status}{detail}"
    if reply.status >= 500:
        return ServerFault(said, log_ref=log_ref)
    if 400 <= reply.status < 500 and isinstance(body, dict):
        return NotFound(said) if reply.status == 404 else Rejected(said)
    return NotOpenCode(f"{said} with {reply.content_type}: not OpenCode")


def decode(body: bytes) -> Any:
    """JSON in which every string is valid Unicode.

    OpenCode 1.18 stores lone surrogates and gives them back; nothing downstream could print them.

    Raises:
        ValueError: It is not JSON.
    """
    try:
        data = json.loads(body)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    return _scrubbed(data) if b"\\ud" in body or b"\\uD" in body else data


def _scrubbed(data: Any) -> Any:
    if isinstance(data, str):
        return data.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(data, list):
        return [_scrubbed(item) for item in data]
    if isinstance(data, dict):
        return {_scrubbed(key): _scrubbed(value) for key, value in data.items()}
    return data


def _detail(body: Any) -> tuple[str, str | None]:
    """What OpenCode's error body says (``: text``), and its log reference."""
    if not isinstance(body, dict):
        return "", None
    data = body.get("data") if isinstance(body.get("data"), dict) else body
    assert isinstance(data, dict)
    text = data.get("message")
    ref = data.get("ref")
    log_ref = ref if isinstance(ref, str) else None
    words = f": {' '.join(text.split())[:200]}" if isinstance(text, str) else ""
    return words + (f" (log ref {log_ref})" if log_ref else ""), log_ref


@cache
def adapter(kind: Hashable) -> TypeAdapter[Any]:
    return TypeAdapter(cast(Any, kind))


def transport_error(error: httpx.HTTPError, asked: str) -> OpenCodeError:
    cause = _root(error)
    said = " ".join(str(cause or error).split())[:200]
    if isinstance(error, httpx.ConnectTimeout | httpx.PoolTimeout):
        return NotSent(f"{asked}: no connection in time", reason_code="connect_timeout")
    if isinstance(error, httpx.ConnectError):
        return NotSent(f"{asked}: {said}", reason_code=_connect_reason(cause, said))
    if isinstance(error, httpx.UnsupportedProtocol | httpx.LocalProtocolError):
        return NotSent(f"{asked}: {said}", reason_code="bad_url")
    if isinstance(error, httpx.TimeoutException):
        return AnswerLost(f"{asked}: no answer in time", reason_code="answer_timeout")
    if isinstance(error, httpx.RemoteProtocolError) and "illegal" in said.lower():
        return NotOpenCode(f"{asked}: answered something that is not HTTP")
    return AnswerLost(f"{asked}: the connection broke ({said or type(error).__name__})")


def _root(error: BaseException) -> BaseException | None:
    """The operating system's error below httpx's and httpcore's, if there is one."""
    found: BaseException | None = None
    seen = error.__cause__ or error.__context__
    while seen is not None:
        if isinstance(seen, OSError):
            found = seen
        seen = seen.__cause__ or seen.__context__
    return found


def _connect_reason(cause: BaseException | None, said: str) -> str:
    if isinstance(cause, ssl.SSLError) or "SSL" in said:
        return "tls_error"
    if isinstance(cause, socket.gaierror):
        return "dns_failure"
    if isinstance(cause, ConnectionRefusedError) or "refused" in said.lower():
        return "connection_refused"
    # asyncio joins several refused addresses into one error without an errno.
    if "all connection attempts failed" in said.lower():
        return "connection_refused"
    return "connect_failed"
