# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fault proxy: faithful but for the faults, and the faults are what they say."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from tests.lab import Lab
from tests.lab.proxy import (
    FaultProxy,
    answers_for,
    delay,
    drop_request,
    drop_response,
    empty_401,
    hang,
    html,
    status,
    truncate_json,
)

ANSWER = {"answer": "a" * 100}


class Upstream(ThreadingHTTPServer):
    """A server that records requests, and streams the events that a test gives it."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.seen: list[tuple[str, str, bytes, dict[str, str]]] = []
        self.got = threading.Event()
        self.events: queue.Queue[str | None] = queue.Queue()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Upstream
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", "0")))
        self.server.seen.append((self.command, self.path, body, dict(self.headers)))
        self.server.got.set()
        if self.path == "/event":
            self._stream()
        else:
            self._answer(json.dumps(ANSWER).encode())

    do_POST = do_GET

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("X-Mine", "yes")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _stream(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        while (event := self.server.events.get()) is not None:
            self.wfile.write(f"data: {event}\n\n".encode())
            self.wfile.flush()
        self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    server = Upstream()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield server
    server.events.put(None)
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def proxy(upstream: Upstream) -> Iterator[FaultProxy]:
    with FaultProxy(upstream.url) as running:
        yield running


@pytest.fixture
def client(proxy: FaultProxy) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=proxy.url, timeout=60, trust_env=False) as made:
        yield made


def test_what_has_no_fault_goes_through_as_it_is(
    client: httpx.Client, proxy: FaultProxy, upstream: Upstream
) -> None:
    answer = client.post("/a%2Fb?directory=%2Fs%C3%BC&x=1", content=b"\x00body", headers={"X-Yours": "1"})
    assert answer.json() == ANSWER
    assert answer.headers["x-mine"] == "yes"
    ((method, path, body, headers),) = upstream.seen
    assert (method, path, body) == ("POST", "/a%2Fb?directory=%2Fs%C3%BC&x=1", b"\x00body")
    assert headers["X-Yours"] == "1"
    assert proxy.requests == [("POST", "/a/b")]


def test_drop_response(client: httpx.Client, proxy: FaultProxy, upstream: Upstream) -> None:
    proxy.add("POST", "/prompt$", drop_response)
    with pytest.raises(httpx.ReadError):
        client.post("/prompt", content=b"x")
    assert [seen[2] for seen in upstream.seen] == [b"x"]
    assert client.post("/prompt").status_code == 200


def test_drop_request(client: httpx.Client, proxy: FaultProxy, upstream: Upstream) -> None:
    proxy.add("POST", "/prompt$", drop_request(), times=2)
    for _ in range(2):
        with pytest.raises(httpx.ReadError):
            client.post("/prompt")
    assert upstream.seen == []
    assert client.post("/prompt").status_code == 200


@pytest.mark.parametrize("forward", [True, False])
def test_hang(client: httpx.Client, proxy: FaultProxy, upstream: Upstream, forward: bool) -> None:
    proxy.add("*", "/x", hang(forward=forward))
    with pytest.raises(httpx.ReadTimeout):
        client.get("/x", timeout=httpx.Timeout(60, read=2.0))
    assert len(upstream.seen) == int(forward)


def test_answers_of_its_own(client: httpx.Client, proxy: FaultProxy, upstream: Upstream) -> None:
    proxy.add("GET", "/page", html)
    proxy.add("GET", "/error", status(500, {"name": "UnknownError"}))
    proxy.add("GET", "/auth", empty_401)
    page, error, auth = client.get("/page"), client.get("/error"), client.get("/auth")
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert (error.status_code, error.json()) == (500, {"name": "UnknownError"})
    assert (auth.status_code, auth.content) == (401, b"")
    assert "Basic" in auth.headers["www-authenticate"]
    assert upstream.seen == []


def test_it_answers_for_the_server_instead_after_or_before(
    client: httpx.Client, proxy: FaultProxy, upstream: Upstream
) -> None:
    proxy.add("POST", "^/instead$", answers_for(502, b"<html>", "text/html"))
    proxy.add("POST", "^/after$", answers_for(301, when="after"))
    proxy.add("POST", "^/before$", answers_for(504, when="before", late_s=0.2))
    instead = client.post("/instead")
    assert (instead.status_code, instead.headers["content-type"], instead.content) == (
        502,
        "text/html",
        b"<html>",
    )
    assert upstream.seen == []
    after = client.post("/after", content=b"one")
    assert (after.status_code, after.headers["location"]) == (301, "/elsewhere")
    assert [(path, body) for _, path, body, _ in upstream.seen] == [("/after", b"one")]
    assert client.post("/before", content=b"two").status_code == 504
    assert len(upstream.seen) == 1, "the client has its answer first"
    upstream.got.clear()
    while len(upstream.seen) < 2:
        assert upstream.got.wait(30)
    assert upstream.seen[1][1:3] == ("/before", b"two")


def test_truncate_json(client: httpx.Client, proxy: FaultProxy, upstream: Upstream) -> None:
    proxy.add("GET", "/x", truncate_json)
    answer = client.get("/x")
    assert answer.status_code == 200
    with pytest.raises(ValueError, match="Unterminated"):
        answer.json()
    assert len(upstream.seen) == 1


def test_delay(client: httpx.Client, proxy: FaultProxy, upstream: Upstream) -> None:
    proxy.add("GET", "/x", delay(0.4))
    with pytest.raises(httpx.ReadTimeout):
        client.get("/x", timeout=httpx.Timeout(60, read=0.2))
    proxy.add("GET", "/x", delay(0.1))
    assert client.get("/x").json() == ANSWER


def test_a_rule_may_let_some_pass_first_or_last_for_ever(client: httpx.Client, proxy: FaultProxy) -> None:
    proxy.add("GET", "/x", status(503), times=None, after=1)
    assert [client.get("/x").status_code for _ in range(4)] == [200, 503, 503, 503]
    proxy.clear()
    assert client.get("/x").status_code == 200
    assert proxy.requests == [("GET", "/x")]


def test_events_come_one_by_one(client: httpx.Client, upstream: Upstream) -> None:
    upstream.events.put("1")
    with stream(client) as events:
        assert next(events) == "1"
        # Only now there is a second one: had the proxy waited for more, the first would not have come.
        upstream.events.put("2")
        assert next(events) == "2"


def test_large_events_come_whole(client: httpx.Client, upstream: Upstream) -> None:
    large = json.dumps("x" * 3_000_000)
    upstream.events.put(large)
    with stream(client) as events:
        assert next(events) == large


def test_cut_streams(client: httpx.Client, proxy: FaultProxy, upstream: Upstream) -> None:
    upstream.events.put("1")
    with stream(client) as events:
        next(events)
        assert proxy.cut_streams() == 1
        with pytest.raises(httpx.ReadError):
            next(events)
    upstream.events.put(None)


def test_freeze_streams(client: httpx.Client, proxy: FaultProxy, upstream: Upstream) -> None:
    upstream.events.put("1")
    with stream(client, read_timeout_s=3) as events:
        next(events)
        assert proxy.freeze_streams() == 1
        upstream.events.put("2")
        upstream.events.put(None)
        with pytest.raises(httpx.ReadTimeout):
            next(events)
    assert client.get("/x").status_code == 200


def test_filter_events(client: httpx.Client, proxy: FaultProxy, upstream: Upstream) -> None:
    proxy.filter_events({"session.idle"})
    for event in ({"payload": {"type": "session.idle"}}, {"type": "session.idle"}, {"type": "other"}):
        upstream.events.put(json.dumps(event))
    with stream(client) as events:
        assert json.loads(next(events)) == {"type": "other"}


def test_refuse_and_accept(client: httpx.Client, proxy: FaultProxy) -> None:
    assert client.get("/x").status_code == 200
    proxy.refuse()
    with pytest.raises((httpx.ConnectError, httpx.ReadError)):
        client.get("/x")
    with pytest.raises(httpx.ConnectError):
        client.get("/x")
    proxy.accept()
    assert client.get("/x").status_code == 200


def test_refuse_resets_what_is_under_way(client: httpx.Client, proxy: FaultProxy, upstream: Upstream) -> None:
    upstream.events.put("1")
    with stream(client) as events:
        next(events)
        proxy.refuse()
        with pytest.raises(httpx.ReadError):
            next(events)


def test_an_upstream_that_is_gone_resets() -> None:
    with FaultProxy("http://127.0.0.1:9") as proxy, pytest.raises(httpx.ReadError):
        httpx.get(f"{proxy.url}/x")


def test_it_serves_opencode(lab: Lab) -> None:
    vm = lab.vms["homedesktop"]
    query = {"directory": str(vm.repo("affordabot"))}
    with (
        FaultProxy(vm.url) as proxy,
        httpx.Client(base_url=proxy.url, timeout=60) as client,
        client.stream("GET", "/global/event") as answer,
    ):
        line = next(answer.iter_lines())
        assert json.loads(line.removeprefix("data:"))["payload"]["type"] == "server.connected"
        assert client.get("/path", params=query).json()["directory"] == query["directory"]


@contextmanager
def stream(client: httpx.Client, read_timeout_s: float = 60) -> Iterator[Iterator[str]]:
    """The data of an event stream."""
    with client.stream("GET", "/event", timeout=read_timeout_s) as answer:
        yield (line[6:] for line in answer.iter_lines() if line)
