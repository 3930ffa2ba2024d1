# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The third-party emulator of Slack's Web API (npm ``emulate``) as a child process, and one call of it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp

from ..addresses import Addresses
from ..plan import LAB_ID_VARIABLE
from ..processes import ServerStartError, die_with_parent
from .seed import BOT_USER, Identity, Seed

__all__ = ["Emulator"]

_START_TIMEOUT_S = 60.0
_PROBE_PAUSE_S = 0.05
_PROBE_TIMEOUT_S = 2.0
_TERM_TIMEOUT_S = 3.0
_MOST_CONNECTIONS = 16


class Emulator:
    """The emulator's process. To be used from one event loop, in the thread that starts it.

    Its state is in its memory only.
    """

    def __init__(
        self,
        seed: Seed,
        node: Path,
        script: Path,
        directory: Path,
        lab_id: str,
        addresses: Addresses,
    ) -> None:
        self._seed = seed
        self._addresses = addresses
        self._command = [str(node), str(script), "start", "--service", "slack"]
        self._directory = directory
        self._log = directory / "emulator.log"
        self._lab_id = lab_id
        self._port = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._exited = asyncio.Event()

    @property
    def pid(self) -> int | None:
        """The process id while it lives."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def notice_exit(self) -> None:
        """To be called when some child has died."""
        if self.pid is None:
            self._exited.set()

    async def start(self) -> None:
        """Start it and wait till it answers.

        Raises:
            ServerStartError: it ended, or did not answer within 60 s.
        """
        self._port = self._addresses.port()
        self._process = self._spawn()
        self._http = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=_MOST_CONNECTIONS))
        try:
            async with asyncio.timeout(_START_TIMEOUT_S):
                await self._become_ready()
        except TimeoutError:
            raise self._trouble(f"did not answer within {_START_TIMEOUT_S:.0f} s") from None

    async def stop(self) -> None:
        """End it; nothing if it is not there."""
        if self._process is None:
            return
        await self._http.close()
        if self.pid is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(_TERM_TIMEOUT_S):
                await self._exited.wait()
        except TimeoutError:
            self._process.kill()

    async def call(
        self, identity: Identity, method: str, arguments: Mapping[str, object]
    ) -> tuple[int, dict[str, Any]]:
        """One call of a method: HTTP status and answer.

        Raises:
            aiohttp.ClientError, ValueError: it is gone, or does not answer with JSON.
        """
        async with self._http.post(
            f"http://127.0.0.1:{self._port}/api/{method}",
            json=dict(arguments),
            headers={"Authorization": f"Bearer {identity.next_token()}"},
        ) as answer:
            return answer.status, await answer.json()

    def _spawn(self) -> subprocess.Popen[bytes]:
        seed = self._directory / "seed.json"
        seed.touch(mode=0o600)
        seed.write_text(json.dumps(self._seed.document()))
        address = ("--host", "127.0.0.1", "--port", str(self._port), "--seed", str(seed))
        with self._log.open("ab") as log:
            return subprocess.Popen(
                [*self._command, *address],
                cwd=self._directory,
                env={
                    "PATH": os.environ.get("PATH", os.defpath),
                    "HOME": str(self._directory),
                    "LANG": "C.UTF-8",
                    LAB_ID_VARIABLE: self._lab_id,
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=die_with_parent,
            )

    async def _become_ready(self) -> None:
        while self.pid is not None:
            if await self._is_ready():
                return
            await asyncio.sleep(_PROBE_PAUSE_S)
        raise self._trouble("ended")

    async def _is_ready(self) -> bool:
        # By who our own token is, lest somebody else have the port.
        try:
            async with asyncio.timeout(_PROBE_TIMEOUT_S):
                _, answer = await self.call(self._seed.bot, "auth.test", {})
        except (aiohttp.ClientError, OSError, ValueError):
            return False
        return answer.get("user_id") == BOT_USER

    def _trouble(self, what: str) -> ServerStartError:
        lines = self._log.read_text(errors="replace").splitlines()[-20:]
        tail = "\n".join(f"    {line}" for line in lines) or "    (its log is empty)"
        return ServerStartError(f"the Slack emulator {what}; its log ends:\n{tail}")
