#!/usr/bin/env python3
# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server in OpenCode's place, for tests of what becomes of a lab's processes.

It starts in a tenth of the time. It is healthy, has sessions, and runs the command of a prompt as OpenCode 1.18
does: in a process group of its own, which only an abort or a dispose ends, not the server's own end.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    """The routes that the lab and its tests use."""

    def do_GET(self) -> None:
        self._answer({"healthy": True})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = self.path.partition("?")[0]
        if path.endswith("/prompt_async"):
            _start(json.loads(body)["parts"][0]["text"].removeprefix("@bash "))
            self.send_response(204)
            self.end_headers()
            return
        if path.endswith(("/abort", "/dispose")):
            _end_all()
        self._answer({"id": "ses_1"})

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""

    def _answer(self, data: object) -> None:
        content = json.dumps(data).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


_started: list[subprocess.Popen[bytes]] = []


def _start(command: str) -> None:
    _started.append(subprocess.Popen(["bash", "-c", command], start_new_session=True))


def _end_all() -> None:
    for process in _started:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    _started.clear()


def main() -> None:
    """``serve --hostname HOST --port PORT --print-logs``."""
    parser = argparse.ArgumentParser()
    parser.add_argument("serve")
    parser.add_argument("--hostname")
    parser.add_argument("--port", type=int)
    parser.add_argument("--print-logs", action="store_true")
    options = parser.parse_args()
    ThreadingHTTPServer((options.hostname, options.port), Handler).serve_forever()


if __name__ == "__main__":
    main()
