# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What may be concluded of an answer. Nowhere else is a status code looked at.

A status says something only together with OpenCode's own body: gateways, proxies and tailnets answer for a
server that goes on working, and with any status. So an answer is one of three things:

* OpenCode's word: the status, content type and shape of a success, or an error in a body of OpenCode's own;
* anything else to a read: not known (``NotOpenCode``);
* anything else to a write: lost (``AnswerLost``), as the write may have taken effect.

What OpenCode 1.18 sends is measured: ``{"name": ..., "data": {...}}`` or ``{"_tag": ...}``, and for a wrong
password an empty body with a realm of its own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar, cast
from urllib.parse import urlsplit, urlunsplit

import httpx
from pydantic import TypeAdapter, ValidationError

from ..text.printable import shortened
from .errors import (
    AnswerLost,
    ConfigInvalid,
    NotFound,
    NotOpenCode,
    OpenCodeError,
    OwnError,
    Rejected,
    ServerFault,
    TooLarge,
    Unauthorized,
)

__all__ = ["Reply", "accepted", "adapter", "decode", "parsed", "read", "stream_opened"]

MAX_ANSWER_BYTES = 64 * 1024 * 1024
JSON = "application/json"
REALM = 'basic realm="secure area"'  # of OpenCode 1.18's own 401, which has no body

T = TypeVar("T")


@dataclass(frozen=True)
class Reply:
    """An HTTP answer; ``asked`` is the request in words, ``cursor`` that of the page before this one."""

    asked: str
    is_write: bool
    status: int
    content_type: str
    cursor: str | None
    challenge: str
    location: str
    body: bytes = b""

    @classmethod
    def of(cls, response: httpx.Response, asked: str, body: bytes = b"") -> Reply:
        content_type = response.headers.get("content-type", "no content type").partition(";")[0]
        return cls(
            asked=asked,
            is_write=not asked.startswith("GET "),
            status=response.status_code,
            content_type=content_type.strip().lower()[:60],
            cursor=response.headers.get("x-next-cursor"),
            challenge=response.headers.get("www-authenticate", "").strip().lower(),
            location=response.headers.get("location", ""),
            body=body,
        )

    def json(self) -> Any:
        """Raises ValueError where the body is not JSON, or does not say that it is."""
        if self.content_type != JSON:
            raise ValueError(self.content_type)
        return decode(self.body)


async def read(response: httpx.Response, asked: str) -> Reply:
    """The whole body, but not without end.

    Raises:
        TooLarge: To a read. A write is lost then.
    """
    chunks: list[bytes] = []
    size = 0
    async for chunk in response.aiter_bytes():
        size += len(chunk)
        if size > MAX_ANSWER_BYTES:
            words = f"{asked} answered more than {MAX_ANSWER_BYTES} bytes"
            if Reply.of(response, asked).is_write:
                raise AnswerLost(words, reason_code="too_large")
            raise TooLarge(words)
        chunks.append(chunk)
    return Reply.of(response, asked, b"".join(chunks))


def parsed(reply: Reply, kind: type[T]) -> T:
    """What OpenCode answered.

    Raises:
        OpenCodeError: It is no success, or not OpenCode's.
    """
    if reply.status != 200:
        raise _no_success(reply)
    if reply.content_type != JSON:
        raise _not_known(reply, f"answered 200 with {reply.content_type}, not with JSON")
    try:
        found: T = adapter(cast(Hashable, kind)).validate_python(reply.json())
    except ValidationError as error:
        where = ".".join(map(str, error.errors(include_url=False)[0]["loc"])) or "the answer"
        raise _not_known(reply, f"answered JSON of another shape ({where})") from error
    except ValueError as error:
        raise _not_known(reply, "answered broken JSON") from error
    return found


def accepted(reply: Reply) -> None:
    """That the server has read a prompt; it says so without a body.

    Raises:
        OpenCodeError: It did not, or someone else says so.
    """
    if reply.status != 204:
        raise _no_success(reply)


def stream_opened(reply: Reply) -> None:
    """That an answer is a stream of events.

    Raises:
        OpenCodeError: It is not.
    """
    if reply.status != 200:
        raise _no_success(reply)
    if reply.content_type != "text/event-stream":
        raise _not_known(reply, f"answered with {reply.content_type}, not with events")


def _no_success(reply: Reply) -> OpenCodeError:
    own = _own_error(reply)
    if own is not None:
        return own
    if 300 <= reply.status < 400:
        where = f" to {_shown_url(reply.location)}" if reply.location else ""
        return _not_known(reply, f"answered {reply.status}, a redirect{where}", "redirected")
    words = f"answered {reply.status} with {reply.content_type}"
    if reply.status >= 500 or reply.status in (408, 425, 429):
        return _not_known(reply, f"{words}: not OpenCode, but a gateway or proxy before it", "gateway_error")
    return _not_known(reply, words)


def _not_known(reply: Reply, words: str, reason_code: str = "not_opencode") -> OpenCodeError:
    if reason_code == "not_opencode":
        words += ": not OpenCode, but another service, or another version"
    kind = AnswerLost if reply.is_write else NotOpenCode
    return kind(f"{reply.asked} {words}", reason_code=reason_code)


def _own_error(reply: Reply) -> OwnError | None:
    """The error that OpenCode itself answered; None where the answer is not its own."""
    if reply.status == 401 and not reply.body and reply.challenge == REALM:
        return Unauthorized(f"{reply.asked} answered 401: the server's password is missing or wrong")
    try:
        body = reply.json()
    except ValueError:
        return None
    name = _name_of(body)
    if name is None:
        return None
    detail, log_ref = _detail(body)
    words = f"{reply.asked} answered {reply.status}{detail}"
    match reply.status:
        case 400 if name in ("ConfigInvalidError", "ConfigJsonError"):
            return _config_invalid(reply, body["data"])
        case 401 if name == "UnauthorizedError":
            return Unauthorized(f"{words}: the server's password is missing or wrong")
        case 404 if name.endswith("NotFoundError"):
            return NotFound(words)
        case 400 | 403 | 409:
            return Rejected(words)
        case 500:
            return ServerFault(words, log_ref=log_ref)
        case 503 if name == "ServiceUnavailableError":
            return ServerFault(words, log_ref=log_ref)
    return None


_NAME = re.compile(r"[A-Z][A-Za-z0-9]+")


def _name_of(body: Any) -> str | None:
    """The name of one of OpenCode's errors, if a body is one: ``_tag``, or ``name`` beside ``data``."""
    if not isinstance(body, dict):
        return None
    name = body.get("_tag")
    if name is None:
        data = body.get("data")
        # A broken configuration is reported with its path, all else with a message.
        told = [data.get(key) for key in ("message", "path")] if isinstance(data, dict) else []
        name = body.get("name") if any(isinstance(each, str) for each in told) else None
    return name if isinstance(name, str) and _NAME.fullmatch(name) else None


def _config_invalid(reply: Reply, data: Mapping[str, Any]) -> ConfigInvalid:
    path = data.get("path")
    file = path if isinstance(path, str) else "its configuration"
    issues = [_issue(each) for each in data.get("issues") or () if isinstance(each, dict)]
    if not issues and isinstance(data.get("message"), str):
        issues = [_first_error(data["message"])]
    words = f"{reply.asked} answered {reply.status}: {shortened(file, 200)} is broken: {'; '.join(issues)}"
    return ConfigInvalid(words, file=file, issues=issues)


def _issue(issue: Mapping[str, Any]) -> str:
    """``where: what``."""
    where = ".".join(map(str, issue.get("path") or ())) if isinstance(issue.get("path"), list) else ""
    what = str(issue.get("message"))
    return shortened(f"{where}: {what}" if where else what, 200)


def _first_error(message: str) -> str:
    """The first complaint of the parser, which OpenCode 1.18 frames with the whole file."""
    _, marker, errors = message.partition("--- Errors ---")
    lines = [line.strip() for line in (errors if marker else message).splitlines() if line.strip()]
    return shortened(lines[0], 200) if lines else "it is no JSON"


def _shown_url(location: str) -> str:
    """Where a redirect leads, without what may be a secret."""
    try:
        parts = urlsplit(location)
        host = parts.hostname or ""
        where = f"{host}:{parts.port}" if parts.port else host
    except ValueError:
        return "another place"
    return shortened(urlunsplit((parts.scheme, where, parts.path, "", "")), 200)


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


def _detail(body: Mapping[str, Any]) -> tuple[str, str | None]:
    """What OpenCode's error body says (``: text``), and its log reference."""
    inner = body.get("data")
    data = inner if isinstance(inner, Mapping) else body
    text = data.get("message")
    ref = data.get("ref")
    log_ref = ref if isinstance(ref, str) else None
    words = f": {shortened(text, 200)}" if isinstance(text, str) else ""
    return words + (f" (log ref {log_ref})" if log_ref else ""), log_ref


@cache
def adapter(kind: Hashable) -> TypeAdapter[Any]:
    return TypeAdapter(cast(Any, kind))
