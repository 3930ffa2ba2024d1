# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Slack Web API on a socket of this machine, which answers as each test says."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

__all__ = ["Request", "SlackServer", "ok", "raw", "serving"]

Answer = Callable[["Handler"], None]


@dataclass
class Request:
    """What was asked."""

    method: str
    body: dict[str, Any]
    token: str


@dataclass
class SlackServer:
    """``answers`` are used up one by one; then the ``usual`` one comes, which is ok. ``released`` lets those that
    hang end."""

    url: str = ""
    requests: list[Request] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    usual: Answer = field(default_factory=lambda: ok())
    released: threading.Event = field(default_factory=threading.Event)
    arrived: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def answer(self, *answers: Answer) -> None:
        self.answers += answers


class Handler(BaseHTTPRequestHandler):
    server_version = "Slack"
    slack: SlackServer

    def do_POST(self) -> None:
        self._answer(json.loads(self.rfile.read(int(self.headers["Content-Length"] or 0))))

    def do_GET(self) -> None:
        self._answer({key: value[0] for key, value in parse_qs(urlsplit(self.path).query).items()})

    def _answer(self, body: dict[str, Any]) -> None:
        slack = self.slack
        token = (self.headers["Authorization"] or "").removeprefix("Bearer ")
        slack.requests.append(Request(urlsplit(self.path).path.rpartition("/")[2], body, token))
        slack.arrived.release()
        answer = slack.answers.pop(0) if slack.answers else slack.usual
        answer(self)

    def send(self, status: int, data: bytes, headers: dict[str, str], length: int | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data) if length is None else length))
        self.end_headers()
        self.wfile.write(data)

    def reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.connection.close()
        self.wfile = self.rfile = open("/dev/null", "r+b")  # type: ignore[assignment]  # noqa: SIM115

    def log_message(self, format: str, *args: Any) -> None:
        pass


def ok(**more: Any) -> Answer:
    """The call is done."""

    def answer(handler: Handler) -> None:
        number = len(handler.slack.requests)
        data = {"ok": True, "channel": "C1", "ts": f"1700000000.{number:06d}", "messages": [], **more}
        handler.send(200, json.dumps(data).encode(), {})

    return answer


def raw(status: int, data: bytes | str | dict[str, Any], length: int | None = None, **headers: str) -> Answer:
    """Just this."""
    shown = json.dumps(data) if isinstance(data, dict) else data
    encoded = shown.encode() if isinstance(shown, str) else shown
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda handler: handler.send(status, encoded, named, length)


@contextmanager
def serving() -> Iterator[SlackServer]:
    """A server for as long as this."""
    slack = SlackServer()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"slack": slack}))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    slack.url = f"http://127.0.0.1:{server.server_port}/api/"
    try:
        yield slack
    finally:
        slack.released.set()
        server.shutdown()
        server.server_close()
