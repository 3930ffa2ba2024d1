# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The process that holds a lab: it runs the model, the servers, Slack and their control, and leaves nothing behind.

``python -m tests.lab.keeper`` reads a :class:`LabPlan` as one line of JSON from its standard input and
answers with one line: ``{"state": {...}}`` when everything is up, or ``{"error": text}``. Then it waits.
Unless the plan says ``detached``, the end of its standard input means that whoever wanted the lab is gone,
be it by ``kill -9``: the lab ends. So it does on SIGTERM, SIGINT and ``POST /lab/shutdown``.
"""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

from aiohttp import web

from .addresses import Addresses
from .binaries import pinned_version
from .fleet_files import write_endpoints, write_inventory
from .model_server import ModelServer
from .opencode_home import make_tools, prepare_home, server_environment
from .opencode_server import OpenCodeServer
from .plan import LOCAL_VM, LabPlan, LabState, VMState
from .processes import ServerStartError, adopt_orphans, kill_lab, reap_adopted, remove_tree
from .sample_repos import clone, make_remotes
from .slack.server import SlackServer
from .ssh_server import SshFiles, SshServer

__all__ = ["main"]

_MAX_PROMPT_BYTES = 1 << 30
_STOP_TIMEOUT_S = 10.0


class Keeper:
    """One lab, from nothing to nothing."""

    def __init__(self, plan: LabPlan) -> None:
        self._plan = plan
        self._root = Path(plan.root)
        self._servers: dict[str, OpenCodeServer] = {}
        self._sshds: list[SshServer] = []
        self._addresses = Addresses()
        self._slack = SlackServer(self._root, plan.lab_id, self._addresses) if plan.slack else None
        self._stopping = asyncio.Event()
        self._state: LabState | None = None
        self._repos: asyncio.Future[None] | None = None
        self._runner = web.AppRunner(self._application(), handler_cancellation=True, access_log=None)

    async def run(self) -> int:
        """Bring the lab up, say so, wait for its end, take it down; returns the exit code."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, self._stopping.set)
        loop.add_signal_handler(signal.SIGCHLD, self._notice_children)
        parent = _Parent(self._stopping.set)
        try:
            await self._until_stopping(self._up())
            if self._state is not None and not self._stopping.is_set():
                _tell({"state": self._state.to_dict()})
                if self._plan.detached:
                    parent.forget()
            await self._stopping.wait()
            return 0
        except (ServerStartError, OSError) as error:
            _tell({"error": str(error)})
            return 1
        except Exception:
            # The log goes with the root; whoever wanted the lab is to know.
            _tell({"error": traceback.format_exc()})
            return 1
        finally:
            await self._down()

    async def _up(self) -> None:
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, shutdown_timeout=0.1)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        origin = f"http://{host}:{port}"
        chosen = self._addresses.choose(self._plan.vms)
        tools = make_tools(self._root / "bin")
        ssh = self._ssh_addresses(chosen)
        states = tuple(self._vm_state(name, chosen[name], ssh.get(name)) for name in self._plan.vms)
        for state in states:
            prepare_home(Path(state.home), state.name, f"{origin}/v1")
            self._servers[state.name] = self._server(state, tools)
        self._prepare_sshds(ssh, tools)
        async with asyncio.TaskGroup() as tasks:
            for server in self._servers.values():
                tasks.create_task(server.start())
            for sshd in self._sshds:
                tasks.create_task(sshd.start())
            slack = None if self._slack is None else tasks.create_task(self._slack.start(origin))
            # A thread can't be cancelled; what ends the lab has to wait for it.
            if self._plan.vms:
                self._repos = asyncio.get_running_loop().run_in_executor(None, self._make_repos)
                await asyncio.shield(self._repos)
        endpoints = write_endpoints(self._root, states)
        inventory = write_inventory(self._root, endpoints)
        self._state = LabState(
            lab_id=self._plan.lab_id,
            pid=os.getpid(),
            root=str(self._root),
            origin=origin,
            opencode_version=pinned_version(),
            endpoints=str(endpoints),
            inventory=str(inventory),
            vms=states,
            slack=None if slack is None else slack.result(),
        )
        path = LabState.path(self._root)
        path.touch(mode=0o600)
        path.write_text(json.dumps(self._state.to_dict(), indent=2) + "\n")

    def _ssh_addresses(self, chosen: Mapping[str, tuple[str, int]]) -> dict[str, tuple[str, int]]:
        remote = [name for name in self._plan.vms if name != LOCAL_VM and self._plan.sshd is not None]
        return {name: self._addresses.beside(chosen[name][0]) for name in remote}

    def _vm_state(self, name: str, address: tuple[str, int], ssh: tuple[str, int] | None) -> VMState:
        home = self._root / "homes" / name
        home.mkdir(parents=True)
        reached = None if ssh is None else f"{getpass.getuser()}@{ssh[0]}:{ssh[1]}"
        return VMState(name, *address, str(home), self._plan.passwords.get(name), reached)

    def _prepare_sshds(self, addresses: Mapping[str, tuple[str, int]], tools: Path) -> None:
        files = SshFiles(self._root / "ssh")
        if addresses:
            files.make()
        for name, address in addresses.items():
            home = self._root / "homes" / name
            environment = server_environment(home, self._plan.lab_id, name, None, tools)
            self._sshds.append(SshServer(name, address, Path(str(self._plan.sshd)), files, environment))

    def _server(self, state: VMState, tools: Path) -> OpenCodeServer:
        environment = server_environment(
            Path(state.home), self._plan.lab_id, state.name, state.password, tools
        )
        log = self._root / "logs" / f"{state.name}.log"
        log.parent.mkdir(exist_ok=True)
        return OpenCodeServer(state, Path(self._plan.binary), environment, log)

    def _make_repos(self) -> None:
        directory = self._root / "remotes"
        directory.mkdir()
        remotes = make_remotes(directory)
        for name in self._plan.vms:
            clone(remotes, self._root / "homes" / name, name)

    async def _down(self) -> None:
        """End everything. Bounded: whatever does not end by itself is killed."""
        self._stopping.set()
        for server in self._servers.values():
            server.signal(signal.SIGCONT)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_STOP_TIMEOUT_S):
                slack = () if self._slack is None else (self._slack.stop(),)
                await asyncio.gather(*slack, *(server.stop() for server in self._servers.values()))
        self._kill_all()
        if self._repos is not None:
            await asyncio.wait((self._repos,), timeout=_STOP_TIMEOUT_S)
        await self._runner.cleanup()
        # Once more, for what a control request that was under way may have started.
        self._kill_all()
        self._addresses.release()
        remove_tree(self._root)

    def _kill_all(self) -> None:
        kill_lab(self._plan.lab_id, descendants=True)

    async def _until_stopping(self, work: Coroutine[Any, Any, None]) -> None:
        """Do the work, but drop it when the lab is to end."""
        task = asyncio.ensure_future(work)
        stopping = asyncio.ensure_future(self._stopping.wait())
        await asyncio.wait((task, stopping), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not task.done():
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            return
        try:
            task.result()
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None

    def _notice_children(self) -> None:
        children = [*self._servers.values(), *(() if self._slack is None else (self._slack.emulator,))]
        for child in children:
            child.notice_exit()
        # Not before it is up: till then git's processes are children too, and somebody waits for them.
        if self._state is not None:
            own = [child.pid for child in (*children, *self._sshds)]
            reap_adopted({pid for pid in own if pid is not None})

    def _application(self) -> web.Application:
        application = web.Application(client_max_size=_MAX_PROMPT_BYTES)
        application.add_routes(ModelServer().routes())
        if self._slack is not None:
            application.add_routes(self._slack.routes())
        application.add_routes(
            [
                web.get("/lab/status", self._status),
                web.post("/lab/shutdown", self._shutdown),
                web.post("/lab/vms/{vm}/{verb}", self._control),
            ]
        )
        return application

    async def _status(self, request: web.Request) -> web.Response:
        vms = {
            name: {"url": server.state.url, "alive": server.alive, "pid": server.pid}
            for name, server in self._servers.items()
        }
        return web.json_response({"lab_id": self._plan.lab_id, "vms": vms})

    async def _shutdown(self, request: web.Request) -> web.Response:
        self._stopping.set()
        return web.json_response({})

    async def _control(self, request: web.Request) -> web.Response:
        server = self._servers.get(request.match_info["vm"])
        verb = request.match_info["verb"]
        if server is None or verb not in _VERBS or self._stopping.is_set():
            raise web.HTTPNotFound
        try:
            await _VERBS[verb](server)
        except ServerStartError as error:
            return web.json_response({"error": str(error)}, status=500)
        return web.json_response({"alive": server.alive, "pid": server.pid})


class _Parent:
    """Notices that the parent is gone: its end of the pipe is closed, or its process has ended.

    The second, where the system can tell (Linux), for a parent killed while a fork of it has the pipe.
    """

    def __init__(self, gone: Callable[[], None]) -> None:
        self._gone = gone
        self._loop = asyncio.get_running_loop()
        self._watched = [sys.stdin.fileno()]
        if sys.platform == "linux":
            with contextlib.suppress(OSError):
                self._watched.append(os.pidfd_open(os.getppid()))
        for descriptor in self._watched:
            self._loop.add_reader(descriptor, self._notice, descriptor)

    def forget(self) -> None:
        """Its end is no longer of interest."""
        for descriptor in self._watched:
            self._loop.remove_reader(descriptor)

    def _notice(self, descriptor: int) -> None:
        # A pidfd becomes readable by the end of its process, and has nothing to read.
        if descriptor == sys.stdin.fileno() and os.read(descriptor, 4096):
            return
        self.forget()
        self._gone()


async def _restart(server: OpenCodeServer) -> None:
    await server.stop()
    await server.start()


async def _pause(server: OpenCodeServer) -> None:
    server.signal(signal.SIGSTOP)


async def _resume(server: OpenCodeServer) -> None:
    server.signal(signal.SIGCONT)


_VERBS: dict[str, Callable[[OpenCodeServer], Coroutine[Any, Any, None]]] = {
    "start": OpenCodeServer.start,
    "stop": OpenCodeServer.stop,
    "kill": OpenCodeServer.kill,
    "restart": _restart,
    "pause": _pause,
    "resume": _resume,
}


def _tell(answer: dict[str, Any]) -> None:
    # Whoever asked may be gone already; then nobody is left to be told.
    with contextlib.suppress(BrokenPipeError):
        print(json.dumps(answer), flush=True)


async def _run(plan: LabPlan) -> int:
    return await Keeper(plan).run()


def main() -> int:
    """Read the plan and keep the lab."""
    adopt_orphans()
    # Not by sys.stdin's buffer: what follows the first line must stay visible to the event loop.
    line = bytearray()
    while not line.endswith(b"\n"):
        byte = os.read(sys.stdin.fileno(), 1)
        if not byte:
            return 0
        line += byte
    return asyncio.run(_run(LabPlan.from_json(line.decode())))


if __name__ == "__main__":
    sys.exit(main())
