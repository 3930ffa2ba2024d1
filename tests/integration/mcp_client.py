# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A client of ``dx-fleet mcp`` by the official SDK: runs in an environment that has the SDK.

Each line that it reads is JSON, and so is each that it prints. First it reads ``{"server": [COMMAND, WORD ...]}`` and
prints ``{"tools": [NAME ...]}``; then, till there is no more, it reads a call, ``{"tool", "arguments",
"cancel_at"}``, and prints what came of it, ``{"result", "progress", "cancelled"}``. A call with ``cancel_at`` is
cancelled at the first progress that has these words.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from contextlib import suppress
from typing import Any

from mcp import Client, StdioServerParameters, stdio_client

LIMIT_S = 120


async def call(client: Client, tool: str, arguments: dict[str, Any], cancel_at: str | None) -> dict[str, Any]:
    """One call, and what was heard of it meanwhile."""
    progress: list[str] = []
    reached = asyncio.Event()

    async def heard(done: float, total: float | None, message: str | None) -> None:
        progress.append(str(message))
        if cancel_at is not None and cancel_at in str(message):
            reached.set()

    work = asyncio.create_task(client.call_tool(tool, arguments, progress_callback=heard))
    if cancel_at is not None:
        await reached.wait()
        work.cancel()
        with suppress(asyncio.CancelledError):
            await work
        return {"result": None, "progress": progress, "cancelled": work.cancelled()}
    return {"result": (await work).structured_content, "progress": progress, "cancelled": False}


async def main() -> None:
    """Call what is asked for, one after the other."""
    command, *words = json.loads(sys.stdin.readline())["server"]
    server = StdioServerParameters(command=command, args=words, env=dict(os.environ))
    async with Client(stdio_client(server)) as client:
        tell({"tools": sorted(tool.name for tool in (await client.list_tools()).tools)})
        while line := await asyncio.to_thread(sys.stdin.readline):
            asked = json.loads(line)
            async with asyncio.timeout(LIMIT_S):
                tell(await call(client, asked["tool"], asked["arguments"], asked["cancel_at"]))


def tell(answer: dict[str, Any]) -> None:
    """One line."""
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
