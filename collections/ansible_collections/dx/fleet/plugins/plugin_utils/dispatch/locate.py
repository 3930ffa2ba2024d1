# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which VM of the fleet has a dispatch: its id belongs to one of them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass

from ..domain.errors import FleetError
from ..opencode.client import OpenCode
from ..opencode.errors import NotFound, OpenCodeError

__all__ = ["Located", "locate"]


@dataclass(frozen=True)
class Located:
    """Where a session is: ``vm``, or None where no VM that could be asked has it.

    ``silent``: VM -> why it could not be asked.
    """

    vm: str | None
    silent: Mapping[str, str]


async def locate(session: str, servers: Mapping[str, OpenCode | FleetError], *, patience_s: float) -> Located:
    """Ask all servers at once for a session.

    Args:
        session: Its id.
        servers: VM -> its server, or why there is none to ask. They are closed at the end.
        patience_s: How long a silent server is waited for.
    """
    silent: dict[str, str] = {}

    async def has(vm: str, server: OpenCode | FleetError) -> bool:
        try:
            if isinstance(server, FleetError):
                raise server
            async with asyncio.timeout(patience_s):
                await server.session(session)
        except NotFound:
            return False
        except (FleetError, OpenCodeError) as error:
            silent[vm] = error.message
            return False
        except TimeoutError:
            silent[vm] = f"it was silent for {patience_s:g} s"
            return False
        return True

    async with AsyncExitStack() as stack:
        for server in servers.values():
            if isinstance(server, OpenCode):
                await stack.enter_async_context(server)
        found = await asyncio.gather(*(has(vm, server) for vm, server in servers.items()))
    return Located(next((vm for vm, there in zip(servers, found, strict=True) if there), None), silent)
