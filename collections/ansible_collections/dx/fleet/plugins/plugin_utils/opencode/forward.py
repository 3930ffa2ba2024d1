# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A port of a VM as a unix socket of this machine, through the SSH connection that Ansible uses as well.

The stock `ssh` forwards it within the connection's master (``-O forward``): no port is opened on either
side, and only this user can use the socket. The master outlives us by its ControlPersist; a forwarded
connection that is open keeps it alive (OpenSSH 9.2).
"""

from __future__ import annotations

import asyncio
import os
import secrets
import stat
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from .errors import NotSent, SshRefused

__all__ = ["Forward", "SshConnection", "remove_left_sockets"]

CONNECT_TIMEOUT_S = 20.0  # ssh has a shorter one of its own, for each address
CONTROL_TIMEOUT_S = 5.0
SILENCE_S = 3.0

_REQUEST = b"GET /global/health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


@dataclass(frozen=True)
class SshConnection:
    """How `ssh` reaches a VM.

    ``command`` is `ssh` with every option of the connection (its ControlPath too), ``host`` comes after it.
    ``login`` is what a person would type after `ssh`, with a port as ``-p``.
    """

    command: tuple[str, ...]
    host: str
    login: str


class Forward:
    """One port of a VM as a unix socket.

    Args:
        connection: How `ssh` reaches the VM.
        targets: Host and port as the VM sees them; the first at which something listens is taken.
        folder: For the socket; made if need be.
    """

    def __init__(
        self,
        connection: SshConnection,
        targets: Sequence[tuple[str, int]],
        folder: Path,
        *,
        tls: bool = False,
    ) -> None:
        self.socket = folder / f"{os.getpid()}-{secrets.token_hex(4)}.sock"
        self._ssh = connection
        self._targets = targets
        self._tls = tls
        self._open: str | None = None
        self._lock = asyncio.Lock()

    async def open(self) -> None:
        """Make the socket lead to the VM; nothing if it does. It is to be called again when it leads nowhere.

        Raises:
            SshRefused: The VM is not the one that we know, or does not accept us.
            NotSent: It is not reached (``ssh_unreachable``), or nothing listens there
                (``connection_refused``).
        """
        async with self._lock:
            if self._open is not None and await self._leads_on():
                return
            await self._close()
            _prepare(self.socket.parent)
            for host, port in self._targets:
                await self._forward(f"{self.socket}:{f'[{host}]' if ':' in host else host}:{port}")
                if await self.is_answered():
                    return
                await self._close()
        raise self.refused()

    async def is_answered(self) -> bool:
        """Whether something listens at the other end: the VM's sshd at once closes what it can't connect."""
        try:
            async with asyncio.timeout(SILENCE_S):
                reader, writer = await asyncio.open_unix_connection(self.socket)
                try:
                    if not self._tls:
                        writer.write(_REQUEST)
                    return bool(await reader.read(1))
                finally:
                    writer.close()
        except TimeoutError:
            return True  # it accepts connections, and says nothing yet
        except OSError:
            return False

    def refused(self) -> NotSent:
        """The error for a VM that is reached and has no server at the port."""
        where = " and ".join(f"{host}:{port}" for host, port in self._targets)
        return NotSent(
            f"{self._ssh.host} is reached by SSH, but there nothing listens at {where} (or its sshd forwards"
            " nothing): Connection refused",
            reason_code="connection_refused",
        )

    async def close(self) -> None:
        """End the forward and remove the socket; the SSH connection stays. Never raises."""
        async with self._lock:
            await self._close()

    async def _close(self) -> None:
        leading, self._open = self._open, None
        with suppress(FileNotFoundError):
            self.socket.unlink()
        if leading is not None:
            with suppress(NotSent):
                await self._run(CONTROL_TIMEOUT_S, "-O", "cancel", "-L", leading)

    async def _leads_on(self) -> bool:
        """Whether the master still takes connections on the socket."""
        try:
            _, writer = await asyncio.open_unix_connection(self.socket)
        except OSError:
            return False
        writer.close()
        return True

    async def _forward(self, leading: str) -> None:
        order = ("-O", "forward", "-L", leading)
        code, said = await self._run(CONTROL_TIMEOUT_S, *order)
        if code:  # there is no master, mostly
            code, said = await self._run(CONNECT_TIMEOUT_S, after=("true",))
            if code == 255:
                raise _failure(self._ssh, said)
            code, said = await self._run(CONTROL_TIMEOUT_S, *order)
        if code:
            raise NotSent(
                f"SSH to {self._ssh.host} forwards nothing: {_line(said)}", reason_code="ssh_unreachable"
            )
        self._open = leading

    async def _run(self, timeout_s: float, *words: str, after: Sequence[str] = ()) -> tuple[int, str]:
        """Exit code and standard error of `ssh`.

        Raises:
            NotSent: There is no `ssh`, or it did not end in time.
        """
        command = (*self._ssh.command, "-o", "BatchMode=yes", *words, self._ssh.host, *after)
        try:
            # A session of its own: the master that it may become serves other workers as well.
            process = await asyncio.create_subprocess_exec(
                *command, stdin=DEVNULL, stdout=DEVNULL, stderr=PIPE, start_new_session=True
            )
        except OSError as error:
            raise NotSent(f"{command[0]}: {error.strerror}", reason_code="ssh_unreachable") from error
        try:
            async with asyncio.timeout(timeout_s):
                _, said = await process.communicate()
        except TimeoutError as error:
            raise NotSent(
                f"SSH to {self._ssh.host}: no answer in {timeout_s:g} s", reason_code="ssh_unreachable"
            ) from error
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return int(process.returncode or 0), said.decode(errors="replace")


def _failure(ssh: SshConnection, said: str) -> NotSent:
    """`ssh` ends with 255 for everything; what was the matter is in its words (OpenSSH 9.2)."""
    if "IDENTIFICATION HAS CHANGED" in said:
        return SshRefused(
            f"the SSH host key of {ssh.host} is not the one that known_hosts has:"
            " another machine answers there, or it was set up anew",
            reason_code="ssh_host_key_changed",
            next_action="find out which; if it was set up anew, remove the old key as this command says:"
            f" ssh {ssh.login}",
        )
    if "Host key verification failed" in said:
        return SshRefused(
            f"the SSH host key of {ssh.host} is not known here",
            reason_code="ssh_host_key_unknown",
            next_action=f"connect once, compare the key and accept it: ssh {ssh.login}",
        )
    if "Permission denied (" in said:
        return SshRefused(
            f"SSH to {ssh.host}: {_line(said, 'Permission denied')}",
            reason_code="ssh_key_refused",
            next_action=f"have it accept your key: ssh-copy-id {ssh.login}",
        )
    return NotSent(f"SSH to {ssh.host}: {_line(said)}", reason_code="ssh_unreachable")


def _line(said: str, having: str = "") -> str:
    """The last line of what `ssh` said, of those that have a text."""
    lines = [line.strip() for line in said.splitlines() if line.strip() and having in line]
    return lines[-1] if lines else "it failed"


def _prepare(folder: Path) -> None:
    """Make the folder of the sockets, and remove those that others left.

    Raises:
        NotSent: Somebody else could have put a socket of theirs there.
    """
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700, parents=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise NotSent(
            f"{folder} is not a folder that only you can write to", reason_code="runtime_folder_unsafe"
        )
    remove_left_sockets(folder)


def remove_left_sockets(folder: Path) -> None:
    """Remove the sockets of processes that were killed. What leads to them ends with its SSH connection."""
    for socket in folder.glob("*-*.sock"):
        if _is_gone(socket.name.partition("-")[0]):
            socket.unlink(missing_ok=True)


def _is_gone(process: str) -> bool:
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return True
    except (ValueError, OverflowError, PermissionError):
        return False
    return False
