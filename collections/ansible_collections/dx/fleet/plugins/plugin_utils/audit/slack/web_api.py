# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Slack's Web API as far as the audit uses it."""

from __future__ import annotations

import queue
import re
import threading
import urllib.error
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from .errors import Ambiguous, RetryLater, SlackError, of_answer, of_connection
from .message import EVENT_TYPE, SlackMessage
from .port import Found, Page, Posted

__all__ = ["CALL_DEADLINE_S", "WebApi"]

T = TypeVar("T")

CALL_DEADLINE_S = 10.0
SOCKET_TIMEOUT_S = 5.0
MAX_STUCK_CALLS = 3
PAGE = 200

_TS = re.compile(r"[0-9]{1,12}\.[0-9]{1,9}", re.ASCII)


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
        raise of_answer(error.response) from None
    except urllib.error.URLError as error:
        raise of_connection(error.reason) from None
    except OSError as error:
        raise of_connection(error) from None


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
    records, headline = payload.get("records"), payload.get("headline")
    return Found(
        ts=ts,
        thread_key=str(payload.get("thread_key")),
        records=tuple(records.split()) if isinstance(records, str) else (),
        is_root=not records and message.get("thread_ts") in (None, ts),
        headline=headline if isinstance(headline, str) else None,
    )
