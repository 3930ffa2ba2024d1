# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which way requests take to a VM's server: its port directly, or that port through SSH.

The first request decides, by whether a connection comes about: until then nothing was sent. From then on
every request takes the same way.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from ..domain.fleet import Transport
from ..text.urls import is_loopback
from .errors import NotSent, OpenCodeError, SshRefused
from .forward import Forward, SshConnection
from .transport import transport_error

__all__ = ["VMTransport"]

_LOST = (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError)


class VMTransport(httpx.AsyncBaseTransport):
    """An httpx transport to the OpenCode server of a VM that has SSH.

    Args:
        url: The server's base URL.
        mode: ``ssh``, or ``auto``: directly where a connection comes about, else through SSH.
        ssh_host: The VM, as `ssh` knows it.
        connection: Called for how `ssh` reaches it, once that is of interest.
        folder: For the forwarded socket.

    ``way`` is ``http`` or ``ssh``, None while it is not decided. Requests raise :class:`NotSent` as well as
    httpx's errors.
    """

    def __init__(
        self, url: str, mode: Transport, ssh_host: str, connection: Callable[[], SshConnection], folder: Path
    ) -> None:
        self.way: str | None = "ssh" if mode == "ssh" or _is_its_own(url, ssh_host) else None
        self._url = url
        self._connection = connection
        self._folder = folder
        self._context = ssl.create_default_context() if urlsplit(url).scheme == "https" else False
        self._direct = httpx.AsyncHTTPTransport(verify=self._context, trust_env=False)
        self._forwarded: _Forwarded | None = None
        self._deciding = asyncio.Lock()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self.way is None:
            async with self._deciding:
                if self.way is None:
                    return await self._decide(request)
        if self.way == "http":
            return await self._direct.handle_async_request(request)
        return await self._through_ssh().handle_async_request(request)

    async def aclose(self) -> None:
        await self._direct.aclose()
        if self._forwarded is not None:
            await self._forwarded.aclose()

    async def _decide(self, request: httpx.Request) -> httpx.Response:
        try:
            response = await self._direct.handle_async_request(request)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            direct = transport_error(error, f"{request.method} {self._url}{request.url.path}")
        except httpx.HTTPError:
            self.way = "http"
            raise
        else:
            self.way = "http"
            return response
        if direct.reason_code in ("tls_error", "tls_mismatch"):  # something listens there
            raise direct
        try:
            response = await self._through_ssh().handle_async_request(request)
        except NotSent as error:
            raise _neither(direct, error) from error
        self.way = "ssh"
        return response

    def _through_ssh(self) -> _Forwarded:
        if self._forwarded is None:
            is_tls = self._context is not False
            forward = Forward(self._connection(), _targets(self._url), self._folder, tls=is_tls)
            self._forwarded = _Forwarded(forward, self._context)
        return self._forwarded


class _Forwarded(httpx.AsyncBaseTransport):
    """Through a forwarded socket, made with the first request, and anew whenever it leads nowhere."""

    def __init__(self, forward: Forward, context: ssl.SSLContext | bool) -> None:
        self._forward = forward
        self._http = httpx.AsyncHTTPTransport(verify=context, trust_env=False, uds=str(forward.socket))

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        try:
            return await self._http.handle_async_request(request)
        except httpx.ConnectError:  # not made yet, or the SSH connection has died and the forward with it
            await self._forward.open()
        except _LOST as error:
            if request.method == "GET" and not await self._forward.is_answered():
                raise self._forward.refused() from error
            raise
        return await self._http.handle_async_request(request)

    async def aclose(self) -> None:
        await self._http.aclose()
        await self._forward.close()


def _is_its_own(url: str, ssh_host: str) -> bool:
    """Whether the URL is the VM's own loopback, which here would be another machine's.

    Not where SSH itself goes to a loopback address: then both are meant from here, as with a tunnel.
    """
    bracketed = f"[{ssh_host}]" if ":" in ssh_host else ssh_host
    return is_loopback(url) and not is_loopback(f"ssh://{bracketed}")


def _targets(url: str) -> Sequence[tuple[str, int]]:
    """Where the server may listen, as its VM sees it: as the URL says, else on the VM's loopback."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    named = (parts.hostname or "", port)
    return (named,) if is_loopback(url) else (named, ("127.0.0.1", port))


def _neither(direct: OpenCodeError, through_ssh: NotSent) -> NotSent:
    """The error where both ways fail."""
    words = f"{direct.message}; {through_ssh.message}"
    if isinstance(through_ssh, SshRefused):
        return SshRefused(words, reason_code=through_ssh.reason_code, next_action=through_ssh.next_action)
    # A refused connection alone does not mean that the server is gone: it may be there behind SSH.
    is_named = direct.reason_code != "dns_failure"
    return NotSent(words, reason_code=through_ssh.reason_code if is_named else direct.reason_code)
