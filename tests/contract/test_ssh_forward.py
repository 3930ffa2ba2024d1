# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests to a server through a real SSH connection: which way they take, and what its troubles mean."""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import web
from ansible_collections.dx.fleet.plugins.plugin_utils.opencode.client import OpenCode
from ansible_collections.dx.fleet.plugins.plugin_utils.opencode.errors import (
    AnswerLost,
    NotSent,
    OpenCodeError,
    SshRefused,
)
from ansible_collections.dx.fleet.plugins.plugin_utils.opencode.forward import SshConnection
from ansible_collections.dx.fleet.plugins.plugin_utils.opencode.vm_transport import VMTransport

from tests.lab.ssh_server import SshFiles, SshServer, find_sshd, new_key

pytestmark = pytest.mark.skipif(
    find_sshd() is None, reason="needs OpenSSH's sshd: apt-get install openssh-server"
)

HOST = "127.0.0.1"


class Server:
    """An HTTP server of the VM that counts what it gets. ``silent``: it answers nothing."""

    def __init__(self) -> None:
        self.got: list[str] = []
        self.arrived = asyncio.Event()
        self.silent = asyncio.Event()
        self.port = 0
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listen, on the same port if it did before."""
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(application, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, HOST, self.port, reuse_address=True)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Listen no more."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        self.got.append(f"{request.method} {request.path}")
        if request.method == "POST":
            self.arrived.set()
        if self.silent.is_set():
            await asyncio.sleep(60)
        return web.json_response({"healthy": True, "version": "1"})


class VM:
    """A VM with an sshd and a server, and a person who reaches it by SSH."""

    def __init__(self, folder: Path, server: Server, sshd: SshServer, files: SshFiles) -> None:
        self.folder = folder
        self.sockets = folder / "run"
        self.server = server
        self.sshd = sshd
        self.files = files
        self.asked_for_ssh = 0

    def connection(self, **changed: object) -> SshConnection:
        options = {
            "Port": self.sshd.port, "ControlMaster": "auto", "ControlPersist": 60, "ConnectTimeout": 5,
            "ControlPath": self.folder / "master", "StreamLocalBindUnlink": "yes", **changed,
        }  # fmt: skip
        words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        return SshConnection(
            ("ssh", "-F", str(self.files.config), *words), HOST, f"-p {self.sshd.port} {HOST}"
        )

    def transport(self, mode: str = "ssh", url: str | None = None, **changed: object) -> VMTransport:
        def connection() -> SshConnection:
            self.asked_for_ssh += 1
            return self.connection(**changed)

        url = url or f"http://{HOST}:{self.server.port}"
        return VMTransport(url, mode, HOST, connection, self.sockets)  # type: ignore[arg-type]

    def client(self, mode: str = "ssh", url: str | None = None, **changed: object) -> OpenCode:
        url = url or f"http://{HOST}:{self.server.port}"
        return OpenCode(url, transport=self.transport(mode, url, **changed))

    def ssh(self, *words: str) -> int:
        connection = self.connection()
        return subprocess.run(
            [*connection.command, *words, connection.host], capture_output=True, check=False, timeout=30
        ).returncode

    def ssh_ends(self, patience_s: float) -> bool:
        """Whether the connection ends by itself."""
        until = time.monotonic() + patience_s
        while self.ssh("-O", "check") == 0:
            if time.monotonic() > until:
                return False
            time.sleep(0.2)
        return True

    def listening(self) -> list[str]:
        """The forwarded sockets on which somebody listens, by what the kernel says."""
        lines = Path("/proc/net/unix").read_text().splitlines()
        return [
            line.split()[-1] for line in lines if str(self.sockets) in line and line.split()[3] == "00010000"
        ]


@pytest_asyncio.fixture
async def vm(tmp_path: Path) -> AsyncIterator[VM]:
    folder = tmp_path / "s"
    folder.mkdir()
    files = SshFiles(folder / "ssh")
    files.make()
    server = Server()
    await server.start()
    probe = await asyncio.start_server(lambda reader, writer: None, HOST, 0)
    port = probe.sockets[0].getsockname()[1]
    probe.close()
    await probe.wait_closed()
    sshd = find_sshd()
    assert sshd is not None
    ssh = SshServer("vm", (HOST, port), sshd, files, {"HOME": str(folder)})
    await ssh.start()
    found = VM(folder, server, ssh, files)
    yield found
    found.ssh("-O", "exit")
    ssh.stop()
    await server.stop()


async def test_a_port_that_is_reachable_is_used_and_ssh_is_not_even_looked_for(vm: VM) -> None:
    async with vm.client("auto") as client:
        assert (await client.health()).healthy
        assert client.way == "http"
    assert vm.asked_for_ssh == 0
    assert not vm.sockets.exists()


async def test_a_port_that_is_not_reachable_is_reached_through_ssh_where_the_vm_s_own_loopback_has_it(
    vm: VM,
) -> None:
    async with vm.client("auto", f"http://vm.invalid:{vm.server.port}") as client:
        assert (await client.health()).healthy
        assert client.way == "ssh"
        (socket,) = vm.sockets.glob("*.sock")
        assert socket.stat().st_mode & 0o077 == 0
        assert vm.sockets.stat().st_mode & 0o077 == 0


async def test_nothing_is_left_but_the_connection_which_ends_by_itself(vm: VM) -> None:
    async with vm.client() as client:
        await client.health()
        assert len(vm.listening()) == 1
    assert vm.listening() == []
    assert list(vm.sockets.iterdir()) == []
    assert vm.ssh("-O", "check") == 0


async def test_many_requests_at_once_and_a_large_answer_pass(vm: VM) -> None:
    async with vm.client() as client:
        await asyncio.gather(*(client.health(30) for _ in range(20)))
    assert sum("GET /global/health" in line for line in vm.server.got) == 20 + 1, (
        "one look at whether it listens"
    )


async def test_a_connection_that_died_is_made_anew_and_nothing_is_sent_twice(vm: VM) -> None:
    async with vm.client() as client:
        await client.health()
        assert vm.ssh("-O", "exit") == 0
        with pytest.raises(OpenCodeError):  # the answer is none of OpenCode's
            await client.prompt("ses_1", {})
        assert vm.server.got.count("POST /session/ses_1/prompt_async") == 1
        assert (await client.health()).healthy


async def test_a_connection_that_dies_under_a_request_is_a_lost_answer(vm: VM) -> None:
    async with vm.client() as client:
        await client.health()
        vm.server.silent.set()
        asked = asyncio.create_task(client.prompt("ses_1", {}))
        await vm.server.arrived.wait()
        assert vm.ssh("-O", "exit") == 0
        with pytest.raises(AnswerLost):
            await asked
        assert vm.server.got.count("POST /session/ses_1/prompt_async") == 1


async def test_a_server_that_is_gone_from_its_port_is_told_from_a_connection_that_is_gone(vm: VM) -> None:
    async with vm.client() as client:
        await client.health()
        await vm.server.stop()
        with pytest.raises(NotSent, match="nothing listens") as caught:
            await client.health()
        assert caught.value.reason_code == "connection_refused"
        await vm.server.start()
        assert (await client.health()).healthy


async def test_a_server_that_accepts_and_is_silent_is_not_gone(vm: VM) -> None:
    vm.server.silent.set()
    async with vm.client() as client:
        with pytest.raises(AnswerLost) as caught:
            await client.health(0.3)
        assert caught.value.reason_code == "answer_timeout"


async def test_a_host_key_that_changed_is_final_and_named(vm: VM) -> None:
    new_key(vm.folder / "other")
    other = (vm.folder / "other.pub").read_text().split()
    known = vm.folder / "known_hosts"
    known.write_text(f"[{HOST}]:{vm.sshd.port} {other[0]} {other[1]}\n")
    await refused(vm, "ssh_host_key_changed", UserKnownHostsFile=known)


async def test_a_host_key_that_is_unknown_is_final_and_named(vm: VM) -> None:
    await refused(vm, "ssh_host_key_unknown", UserKnownHostsFile="/dev/null")


async def test_a_key_that_the_vm_does_not_accept_is_final_and_named(vm: VM) -> None:
    vm.files.identity.rename(vm.folder / "away")
    await refused(vm, "ssh_key_refused")


async def refused(vm: VM, reason: str, **changed: object) -> None:
    async with vm.client("auto", f"http://vm.invalid:{vm.server.port}", **changed) as client:
        with pytest.raises(SshRefused) as caught:
            await client.health()
    assert caught.value.reason_code == reason
    assert "\n" not in caught.value.message
    assert f"-p {vm.sshd.port} {HOST}" in caught.value.next_action
    assert vm.server.got == []


async def test_a_vm_that_ssh_does_not_reach_is_unreachable_and_not_gone(vm: VM) -> None:
    vm.sshd.stop()
    dead = f"http://{HOST}:1"
    async with vm.client("auto", dead) as client:
        with pytest.raises(NotSent) as caught:
            await client.health()
    assert not isinstance(caught.value, SshRefused)
    assert caught.value.reason_code == "ssh_unreachable"
    assert "Connection refused" in caught.value.message


async def test_the_socket_of_a_process_that_was_killed_is_removed_by_the_next(vm: VM) -> None:
    vm.sockets.mkdir(mode=0o700)
    ended = await asyncio.create_subprocess_exec("true")
    await ended.wait()
    (vm.sockets / f"{ended.pid}-00000000.sock").touch()
    mine = vm.sockets / f"{os.getppid()}-00000000.sock"
    mine.touch()
    async with vm.client() as client:
        await client.health()
    assert list(vm.sockets.iterdir()) == [mine]


async def test_a_folder_that_others_can_write_to_is_not_used(vm: VM) -> None:
    vm.sockets.mkdir()
    vm.sockets.chmod(0o777)
    async with vm.client() as client:
        with pytest.raises(NotSent) as caught:
            await client.health()
    assert caught.value.reason_code == "runtime_folder_unsafe"


async def test_a_loopback_url_of_another_machine_is_that_machine_s_own(vm: VM) -> None:
    for url, host, way in (
        ("http://localhost:4105", "epyc6", "ssh"),
        ("http://127.0.0.1:4105", "192.0.2.7", "ssh"),
        ("http://[::1]:4105", "epyc6", "ssh"),
        ("http://localhost:4105", "localhost", None),
        ("http://epyc6:4105", "epyc6", None),
    ):
        transport = VMTransport(url, "auto", host, vm.connection, vm.sockets)
        assert transport.way == way, (url, host)


async def test_an_open_stream_keeps_the_connection_beyond_its_time(vm: VM) -> None:
    vm.server.silent.set()
    async with vm.client(ControlPersist=1) as client:
        waits = asyncio.create_task(client.prompt("ses_1", {}))
        await vm.server.arrived.wait()
        await asyncio.sleep(2.5)  # longer than the connection would live by itself
        assert vm.ssh("-O", "check") == 0
        waits.cancel()
        await asyncio.gather(waits, return_exceptions=True)
    assert await asyncio.to_thread(vm.ssh_ends, 20)
