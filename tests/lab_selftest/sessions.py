# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sessions on a VM of the lab, with just enough of OpenCode's API to see what the model's answers lead to."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

import httpx

from tests.lab import LabVM

__all__ = ["Session", "Sessions", "text_of"]

_PATIENCE_S = 120.0


class Session:
    """One session in a VM's clone of a repository."""

    def __init__(self, http: httpx.Client, directory: str, title: str | None) -> None:
        self._http = http
        self._query = {"directory": directory}
        body = {} if title is None else {"title": title}
        self.id: str = self._json("POST", "/session", body)["id"]

    def run(self, text: str) -> dict[str, Any]:
        """Send a prompt, wait for the end of its turn; returns the last message, ``{"info", "parts"}``."""
        with self.events() as events:
            self.send(text)
            self.end_of_turn(events)
        return self.messages()[-1]

    def end_of_turn(self, events: Iterator[dict[str, Any]]) -> list[dict[str, Any]]:
        """This session's events till the turn is over and stored.

        After an error or an abort OpenCode 1.18 says idle twice, and stores the error in between.
        """
        seen = self.until(events, "session.idle")
        if "completed" not in self.messages()[-1]["info"]["time"]:
            seen += self.until(events, "session.idle")
        return seen

    def send(self, text: str) -> None:
        """Send a prompt and do not wait."""
        path = f"/session/{self.id}/prompt_async"
        answer = self._http.post(path, params=self._query, json={"parts": [{"type": "text", "text": text}]})
        assert answer.status_code == 204, answer.text

    @contextmanager
    def events(self) -> Iterator[Iterator[dict[str, Any]]]:
        """The events of the session's directory, from now on."""
        with self._http.stream("GET", "/event", params=self._query, timeout=_PATIENCE_S) as answer:
            found = (json.loads(line[5:]) for line in _lines(answer) if line.startswith("data:"))
            assert next(found)["type"] == "server.connected"
            yield found

    def until(self, events: Iterator[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
        """This session's events till the first of that type, which is the last in the list."""
        seen: list[dict[str, Any]] = []
        deadline = time.monotonic() + _PATIENCE_S
        for event in events:
            # Heartbeats come for ever, so the read never times out.
            if time.monotonic() > deadline:
                raise AssertionError(f"no {kind} within {_PATIENCE_S} s, but {[e['type'] for e in seen]}")
            if event["properties"].get("sessionID") == self.id:
                seen.append(event)
                if event["type"] == kind:
                    return seen
        raise AssertionError(f"the stream ended before {kind}")

    def messages(self) -> list[dict[str, Any]]:
        """All messages, oldest first."""
        found: list[dict[str, Any]] = self._json("GET", f"/session/{self.id}/message")
        return found

    def tools(self) -> list[dict[str, Any]]:
        """All tool parts, oldest first."""
        return [part for message in self.messages() for part in message["parts"] if part["type"] == "tool"]

    def abort(self) -> None:
        """Stop the turn."""
        self._json("POST", f"/session/{self.id}/abort")

    def pending(self, kind: str) -> list[dict[str, Any]]:
        """This session's pending ``permission`` or ``question`` requests."""
        return [found for found in self._json("GET", f"/{kind}") if found["sessionID"] == self.id]

    def reply(self, kind: str, request: str, body: dict[str, Any]) -> None:
        """Answer such a request."""
        self._json("POST", f"/{kind}/{request}/reply", body)

    def _json(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        answer = self._http.request(method, path, params=self._query, json=body, timeout=_PATIENCE_S)
        answer.raise_for_status()
        return answer.json()


class Sessions:
    """Makes sessions, and aborts them all at the end."""

    def __init__(self, vm: LabVM, repo: str = "affordabot") -> None:
        self.vm = vm
        self._directory = str(vm.repo(repo))
        self._http = vm.http()
        self._made: list[Session] = []

    def new(self, title: str | None = "lab") -> Session:
        """A new session; None: one that has no title, for which OpenCode asks the model."""
        session = Session(self._http, self._directory, title)
        self._made.append(session)
        return session

    def forget(self) -> None:
        """Do not abort the sessions made so far; for a server that is gone."""
        self._made.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for session in self._made:
            session.abort()
        self._http.close()


def text_of(message: dict[str, Any]) -> str:
    """The text of a message."""
    return "".join(part["text"] for part in message["parts"] if part["type"] == "text")


def _lines(answer: httpx.Response) -> Iterator[str]:
    # Not httpx's iter_lines: it also ends lines at U+2028 and U+0085, which are data in an event stream.
    rest = b""
    for chunk in answer.iter_bytes():
        *whole, rest = (rest + chunk).split(b"\n")
        yield from (line.decode() for line in whole)
