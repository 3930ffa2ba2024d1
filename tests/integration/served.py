# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The unit tests' fake server at a real port, and peers that are no server at all."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx

from tests.unit.fake_opencode import FakeOpenCode

__all__ = ["closed_port", "hanging", "served"]

_HOST = "127.0.0.1"


@contextmanager
def served(fake: FakeOpenCode, *, tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """Serve the fake, but for its event stream; yields the port."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            request = httpx.Request(self.command, f"http://{_HOST}{self.path}", content=body)
            answer = asyncio.run(fake.handle(request))
            self.send_response(answer.status_code)
            for name in ("content-type", "x-next-cursor", "www-authenticate", "location"):
                if name in answer.headers:
                    self.send_header(name, answer.headers[name])
            self.send_header("content-length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        do_GET = do_POST = do_PATCH = do_DELETE = _answer

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer((_HOST, 0), Handler)
    server.daemon_threads = True
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def hanging() -> Iterator[int]:
    """A port at which connections are accepted and nothing is ever answered."""
    with socket.create_server((_HOST, 0), backlog=64) as listener:
        yield listener.getsockname()[1]


def closed_port() -> int:
    """A port at which nobody listens."""
    with socket.create_server((_HOST, 0)) as listener:
        port: int = listener.getsockname()[1]
    return port
