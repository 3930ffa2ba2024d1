# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever answers in an OpenCode server's place is found out before anything is sent to it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.outcome import State
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.request import Request

from tests.lab import ScriptedModel
from tests.lab.proxy import Fault, FaultProxy, html, status, truncate_json

from .fleet import Fleet, fresh_id
from .in_process import dispatch

pytestmark = pytest.mark.usefixtures("model")

PAGE = (b"text/html", b"<!doctype html><title>Some other service</title>")
HEALTHY = (b"application/json", json.dumps({"healthy": True, "version": "1.18.33"}).encode())


class _Stranger(BaseHTTPRequestHandler):
    """Answers every request with 200 and what ``answers`` has for its path, else for ``*``."""

    answers: ClassVar[dict[str, tuple[bytes, bytes]]] = {}
    asked: ClassVar[list[tuple[str, str]]] = []
    url: ClassVar[str]

    def _answer(self) -> None:
        path = self.path.partition("?")[0]
        self.asked.append((self.command, path))
        content_type, body = self.answers.get(path, self.answers["*"])
        self.send_response(200)
        self.send_header("Content-Type", content_type.decode())
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PATCH = do_DELETE = _answer

    def log_message(self, format: str, *args: object) -> None:
        """Be quiet."""


@pytest.fixture
def stranger() -> Iterator[type[_Stranger]]:
    """Another service on a port of its own; ``url`` says where."""

    class Stranger(_Stranger):
        answers: ClassVar[dict[str, tuple[bytes, bytes]]] = {}
        asked: ClassVar[list[tuple[str, str]]] = []
        url: ClassVar[str]

    server = ThreadingHTTPServer(("127.0.0.1", 0), Stranger)
    Stranger.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield Stranger
    server.shutdown()
    thread.join()
    server.server_close()


STRANGERS = pytest.mark.parametrize(
    "answers",
    [
        pytest.param({"*": PAGE}, id="a web page for everything"),
        pytest.param({"*": (b"application/json", b'{"status": "ok"}')}, id="JSON of another shape"),
        pytest.param({"*": (b"application/json", b'{"healthy": tru')}, id="broken JSON"),
        pytest.param({"*": (b"text/plain", HEALTHY[1])}, id="the right words of another type"),
        pytest.param({"/global/health": HEALTHY, "*": PAGE}, id="healthy, and then web pages"),
        pytest.param(
            {"/global/health": HEALTHY, "*": (b"application/json", b"[]")}, id="healthy, then any JSON"
        ),
    ],
)


@STRANGERS
async def test_another_service_on_the_port_is_not_opencode(
    stranger: type[_Stranger], answers: dict[str, tuple[bytes, bytes]]
) -> None:
    stranger.answers = answers
    outcome = await dispatch(stranger.url, task_of_its_own("@say secret plan"))
    assert (outcome.state, outcome.reason_code) == (State.REFUSED, "not_opencode")
    assert stranger.asked
    assert {method for method, _ in stranger.asked} == {"GET"}


def test_a_dispatch_to_another_service_is_refused(
    fleet: Fleet, tmp_path: Path, stranger: type[_Stranger]
) -> None:
    stranger.answers = {"/global/health": HEALTHY, "*": PAGE}
    completed = fleet.seen_at(tmp_path, epyc6=stranger.url).dispatch(
        "epyc6", "affordabot", "@say secret plan"
    )
    result = completed.result()
    assert (completed.code, result["state"], result["reason_code"]) == (4, "refused", "not_opencode")
    assert "epyc6" in result["next_action"]
    assert stranger.asked
    assert {method for method, _ in stranger.asked} == {"GET"}


@pytest.mark.parametrize("fault", [html(), status(200, {"id": "ses_another"}), truncate_json()])
@pytest.mark.parametrize("path", ["/api/session$", "/prompt_async$"])
async def test_a_stranger_that_comes_between_never_makes_a_success(
    proxy: FaultProxy, model: ScriptedModel, path: str, fault: Fault
) -> None:
    proxy.add("POST", path, fault, times=None)
    outcome = await dispatch(proxy.url, task_of_its_own("@say between"))
    if fault == truncate_json():  # the server did what it was asked
        assert (outcome.state, len(model.prompts("between"))) == (State.COMPLETED, 1)
        return
    assert (outcome.state, outcome.reason_code) == (State.UNREACHABLE, "effect_unknown")
    assert model.prompts("between") == []


def test_a_dispatch_that_a_stranger_came_between_is_no_success(
    fleet_behind: Fleet, proxy: FaultProxy, model: ScriptedModel
) -> None:
    proxy.add("POST", "/prompt_async$", html(), times=None)
    completed = fleet_behind.dispatch("epyc6", "affordabot", "@say between")
    result = completed.result()
    assert (completed.code, result["state"], result["reason_code"]) == (5, "unreachable", "effect_unknown")
    assert model.prompts("between") == []


def task_of_its_own(task: str) -> Request:
    return Request(dispatch=fresh_id(), task=task, vm="epyc6", repo="affordabot")
