# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One real OpenCode server as a child process: starting, ending, and knowing when it answers."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

import aiohttp

from .plan import VMState
from .processes import ServerStartError, die_with_parent

__all__ = ["OpenCodeServer"]

_START_TIMEOUT_S = 120.0
_PROBE_TIMEOUTS_S = (0.5, 0.5, 1.0, 2.0, 4.0)
_PROBE_PAUSE_S = 0.05
_DISPOSE_TIMEOUT_S = 20.0
_TERM_TIMEOUT_S = 20.0
_PORT_TIMEOUT_S = 20.0


class OpenCodeServer:
    """The server of one VM. All methods must be used from one event loop, in the thread that starts it."""

    def __init__(self, state: VMState, binary: Path, environment: Mapping[str, str], log: Path) -> None:
        self.state = state
        self.log = log
        self._binary = binary
        self._environment = dict(environment)
        self._process: subprocess.Popen[bytes] | None = None
        self._ready = False
        self._exited = asyncio.Event()

    @property
    def pid(self) -> int | None:
        """The process id while it lives."""
        return self._process.pid if self._process is not None and self.alive else None

    @property
    def alive(self) -> bool:
        """Whether the process lives; it may not answer yet."""
        return self._process is not None and self._process.poll() is None

    def notice_exit(self) -> None:
        """To be called when some child has died."""
        if not self.alive:
            self._exited.set()

    async def start(self) -> None:
        """Start it and wait till it is healthy; nothing if it lives.

        Raises:
            ServerStartError: it ended, or was not healthy within 120 s.
        """
        if self.alive:
            return
        self._ready = False
        self._exited.clear()
        self._process = self._spawn()
        try:
            async with asyncio.timeout(_START_TIMEOUT_S):
                await self._become_healthy()
        except TimeoutError:
            raise ServerStartError(
                self._trouble(f"was not healthy within {_START_TIMEOUT_S:.0f} s")
            ) from None
        self._ready = True

    async def stop(self) -> None:
        """End all runs with their children, then the server; by SIGTERM alone it leaves them running."""
        if not self.alive:
            return
        await self.dispose()
        self.signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(_TERM_TIMEOUT_S):
                await self._exited.wait()
        except TimeoutError:
            await self.kill()
        await self._until_port_refuses()

    async def dispose(self) -> None:
        """Abort all runs, killing their children; gives up after some seconds."""
        if not (self.alive and self._ready):
            return
        timeout = aiohttp.ClientTimeout(total=_DISPOSE_TIMEOUT_S)
        try:
            async with (
                aiohttp.ClientSession(auth=self._auth(), timeout=timeout) as http,
                http.post(f"{self.state.url}/global/dispose"),
            ):
                pass
        except (aiohttp.ClientError, TimeoutError, OSError):
            # It hangs or is gone; its children are found by other means.
            return

    async def kill(self) -> None:
        """SIGKILL to the server alone; its children live on."""
        if not self.alive:
            return
        self.signal(signal.SIGKILL)
        await self._exited.wait()
        await self._until_port_refuses()

    async def _until_port_refuses(self) -> None:
        # On a busy machine a connection was still accepted, and reset, just after the process was reaped.
        with contextlib.suppress(TimeoutError, OSError):
            async with asyncio.timeout(_PORT_TIMEOUT_S):
                while True:
                    _, writer = await asyncio.open_connection(self.state.host, self.state.port)
                    writer.close()
                    await asyncio.sleep(_PROBE_PAUSE_S)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the server, if it lives."""
        if self._process is not None and self.alive:
            self._process.send_signal(number)

    def _spawn(self) -> subprocess.Popen[bytes]:
        # From the thread that lives as long as the process: the kernel takes its end for the parent's death.
        address = ("--hostname", self.state.host, "--port", str(self.state.port))
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [str(self._binary), "serve", *address, "--print-logs"],
                cwd=self.state.home,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=die_with_parent,
            )

    async def _become_healthy(self) -> None:
        # The port accepts connections about 1 s before the server is ready, and requests of that time are
        # never answered: hence a short timeout and a new connection per try. Later tries have more patience,
        # for a machine that is so busy that no answer comes in a short time.
        timeouts = iter(_PROBE_TIMEOUTS_S)
        timeout_s = next(timeouts)
        while self.alive:
            try:
                if await self._is_healthy(timeout_s):
                    return
            except TimeoutError:
                timeout_s = next(timeouts, timeout_s)
            await asyncio.sleep(_PROBE_PAUSE_S)
        raise ServerStartError(self._trouble("ended"))

    async def _is_healthy(self, timeout_s: float) -> bool:
        timeout = aiohttp.ClientTimeout(total=timeout_s)
        try:
            async with (
                aiohttp.ClientSession(auth=self._auth(), timeout=timeout) as http,
                http.get(f"{self.state.url}/global/health") as answer,
            ):
                return answer.status == 200 and bool((await answer.json()).get("healthy"))
        except TimeoutError:
            raise
        except (aiohttp.ClientError, OSError, ValueError):
            return False

    def _auth(self) -> aiohttp.BasicAuth | None:
        return aiohttp.BasicAuth("opencode", self.state.password) if self.state.password else None

    def _trouble(self, what: str) -> str:
        lines = self.log.read_text(errors="replace").splitlines()[-20:]
        tail = "\n".join(f"    {line}" for line in lines) or "    (its log is empty)"
        return f"the OpenCode server of {self.state.name} at {self.state.url} {what}; its log ends:\n{tail}"
