# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Slack's Web API as far as the audit uses it, and what each way in which a call fails lets us conclude.

SlackError
├── RetryLater      nothing was done; the same call may succeed later
├── Ambiguous       it may have been done: look before it is done again
├── Held            somebody must mend the set-up first
├── Refused         this message is not taken in this form
└── ThreadGone      no reply and no update is taken here
"""

from __future__ import annotations

import email.utils
import errno
import queue
import re
import socket
import ssl
import threading
import time
import urllib.error
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from ...text.printable import shortened
from .message import EVENT_TYPE, SlackMessage, headline_of

__all__ = [
    "CALL_DEADLINE_S",
    "Ambiguous",
    "Found",
    "Held",
    "Page",
    "Posted",
    "Refused",
    "RetryLater",
    "Slack",
    "SlackError",
    "ThreadGone",
    "WebApi",
]

T = TypeVar("T")

CALL_DEADLINE_S = 10.0
SOCKET_TIMEOUT_S = 5.0
MAX_STUCK_CALLS = 3
MAX_RETRY_AFTER_S = 3600.0
PAGE = 200

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
_TS = re.compile(r"[0-9]{1,12}\.[0-9]{1,9}", re.ASCII)

# Before a byte of the request can have left.
_NOT_SENT = (ConnectionRefusedError, socket.gaierror, ssl.SSLCertVerificationError)
_NOT_SENT_ERRNO = frozenset((errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL, errno.ENETDOWN))


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


@dataclass(frozen=True)
class Posted:
    """Where a message is: the channel's id, and its ts."""

    channel: str
    ts: str


@dataclass(frozen=True)
class Found:
    """A message of ours that was read back. ``headline`` is what a root begins with."""

    ts: str
    thread_key: str
    records: tuple[str, ...]
    is_root: bool
    headline: str | None = None


@dataclass(frozen=True)
class Page:
    """Messages of ours among those of a page, and where the next one begins."""

    found: tuple[Found, ...]
    cursor: str | None


class Slack(Protocol):
    """What the delivery needs of Slack. Every method raises :class:`SlackError`."""

    def post(self, channel: str, message: SlackMessage, thread: str | None = None) -> Posted:
        """Post a message, into a thread if there is one."""

    def update(self, channel: str, ts: str, message: SlackMessage) -> None:
        """Put another message in the place of one of ours."""

    def history(self, channel: str, cursor: str | None = None) -> Page:
        """The latest messages of a channel."""

    def replies(self, channel: str, thread: str, cursor: str | None = None) -> Page:
        """The messages of a thread, the first ones first."""


class WebApi:
    """The port by slack_sdk.

    Args:
        token: The bot's.
        base_url: With a slash at its end.
        deadline_s: Of one call in all. The client's own timeout is one of each socket operation.
    """

    def __init__(self, token: str, base_url: str, *, deadline_s: float = CALL_DEADLINE_S) -> None:
        import logging

        from slack_sdk import WebClient

        silent = logging.getLogger("dx.fleet.slack")  # its debug lines have the text of messages in them
        silent.addHandler(logging.NullHandler())
        silent.propagate = False
        silent.setLevel(logging.CRITICAL)
        self._client = WebClient(
            token=token,
            base_url=base_url,
            timeout=max(1, int(min(SOCKET_TIMEOUT_S, deadline_s))),
            retry_handlers=[],  # the client's own would post twice where an answer is lost
            logger=silent,
        )
        self._calls = _Calls(deadline_s)

    def post(self, channel: str, message: SlackMessage, thread: str | None = None) -> Posted:
        data = self._call(
            "chat.postMessage",
            {
                "channel": channel,
                "thread_ts": thread,
                **_content(message),
                "parse": "none",
                "link_names": False,
                "mrkdwn": False,
                "unfurl_links": False,
                "unfurl_media": False,
            },
        )
        posted = data.get("channel"), data.get("ts")
        if not isinstance(posted[0], str) or not isinstance(posted[1], str) or not _TS.fullmatch(posted[1]):
            raise Ambiguous("answer_without_ts")
        return Posted(posted[0], posted[1])

    def update(self, channel: str, ts: str, message: SlackMessage) -> None:
        self._call(
            "chat.update",
            {"channel": channel, "ts": ts, **_content(message), "parse": "none", "link_names": False},
        )

    def history(self, channel: str, cursor: str | None = None) -> Page:
        return self._page("conversations.history", {"channel": channel, "cursor": cursor})

    def replies(self, channel: str, thread: str, cursor: str | None = None) -> Page:
        return self._page("conversations.replies", {"channel": channel, "ts": thread, "cursor": cursor})

    def _page(self, method: str, arguments: Mapping[str, Any]) -> Page:
        data = self._call(method, {**arguments, "limit": PAGE, "include_all_metadata": True})
        messages = data.get("messages")
        if not isinstance(messages, list):
            raise RetryLater("answer_without_messages")
        following = data.get("response_metadata")
        cursor = following.get("next_cursor") if isinstance(following, Mapping) else None
        found = tuple(one for one in map(_found, messages) if one is not None)
        return Page(found, cursor if isinstance(cursor, str) and cursor else None)

    def _call(self, method: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        body = {key: value for key, value in arguments.items() if value is not None}
        # Methods that read take no JSON.
        form = {"params": body, "http_verb": "GET"} if method.startswith("conversations.") else {"json": body}
        data = self._calls.run(lambda: _answer(self._client, method, form))
        if not isinstance(data, Mapping) or data.get("ok") is not True:
            raise Ambiguous("answer_is_no_object")
        return data


class _Calls:
    """Runs each call in a thread of its own that is waited for until a deadline, and no longer.

    The thread is kept for the next call. One that is stuck is left behind: it holds up neither the others
    nor the end of the process.
    """

    def __init__(self, deadline_s: float) -> None:
        self._deadline_s = deadline_s
        self._jobs: queue.SimpleQueue[_Job] | None = None
        self._stuck: list[_Job] = []

    def run(self, work: Callable[[], T]) -> T:
        self._stuck = [job for job in self._stuck if not job.done.is_set()]
        if len(self._stuck) >= MAX_STUCK_CALLS:
            raise RetryLater("calls_stuck")
        if self._jobs is None:
            self._jobs = queue.SimpleQueue()
            threading.Thread(target=_worker, args=(self._jobs,), name="slack", daemon=True).start()
        job = _Job(work)
        self._jobs.put(job)
        if not job.done.wait(self._deadline_s):
            self._jobs = None  # its thread ends after this job
            job.abandoned.set()
            self._stuck.append(job)
            raise Ambiguous("deadline")
        if job.error is not None:
            raise job.error
        found: T = job.result
        return found


class _Job:
    def __init__(self, work: Callable[[], Any]) -> None:
        self.work = work
        self.done = threading.Event()
        self.abandoned = threading.Event()
        self.result: Any = None
        self.error: SlackError | None = None


def _worker(jobs: queue.SimpleQueue[_Job]) -> None:
    while True:
        job = jobs.get()
        try:
            job.result = job.work()
        except SlackError as error:
            job.error = error
        except Exception as error:  # whatever it is: the call may have been made
            job.error = Ambiguous(type(error).__name__)
        job.done.set()
        if job.abandoned.is_set():
            return
        del job


def _answer(client: Any, method: str, form: Mapping[str, Any]) -> Any:
    from slack_sdk.errors import SlackApiError

    try:
        return client.api_call(method, **form).data
    except SlackApiError as error:
        raise _of_answer(error.response) from None
    except urllib.error.URLError as error:
        raise _of_connection(error.reason) from None
    except OSError as error:
        raise _of_connection(error) from None


def _of_answer(response: Any) -> SlackError:
    status = getattr(response, "status_code", None)
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


def _of_connection(reason: object) -> SlackError:
    if isinstance(reason, _NOT_SENT) or (isinstance(reason, OSError) and reason.errno in _NOT_SENT_ERRNO):
        return RetryLater(type(reason).__name__)
    return Ambiguous(type(reason).__name__ if isinstance(reason, Exception) else "connection")


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


def _content(message: SlackMessage) -> Mapping[str, Any]:
    # Without blocks, an update takes away those that were there.
    blocks: Sequence[Mapping[str, Any]] = message.blocks or []
    return {"text": message.text, "blocks": list(blocks), "metadata": message.metadata}


def _found(message: Any) -> Found | None:
    """The message, if it is one of ours and says what it tells."""
    if not isinstance(message, Mapping):
        return None
    metadata, ts = message.get("metadata"), message.get("ts")
    if not isinstance(metadata, Mapping) or metadata.get("event_type") != EVENT_TYPE:
        return None
    payload = metadata.get("event_payload")
    if not isinstance(payload, Mapping) or not isinstance(ts, str) or not _TS.fullmatch(ts):
        return None
    records = payload.get("records")
    return Found(
        ts=ts,
        thread_key=str(payload.get("thread_key")),
        records=tuple(records.split()) if isinstance(records, str) else (),
        is_root=not records and message.get("thread_ts") in (None, ts),
        headline=headline_of(str(message.get("text") or "")),
    )
