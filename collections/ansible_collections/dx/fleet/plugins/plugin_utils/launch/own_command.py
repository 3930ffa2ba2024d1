# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Running a command of ours in a process of its own, for orchestrating agents.

Where it is cancelled, the command is asked to detach, as by Ctrl-C: the remote work goes on, and can be
joined again. See :mod:`.kept_command` for commands that outlive whoever started them.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..domain.outcome import ExitCode
from ..domain.progress import ProgressEvent

__all__ = ["Document", "broken", "entry_of", "run_command", "with_options"]

_ENTRY = "from ansible_collections.dx.fleet.plugins.plugin_utils.cli.entry import {0}; {0}()"
_ENTRIES = {"dx-dispatch": _ENTRY.format("main"), "dx-fleet": _ENTRY.format("fleet_main")}
MOST_BYTES = 1 << 24

Document = Mapping[str, Any]
Progress = Callable[[ProgressEvent], Awaitable[None]]


async def run_command(
    argv: Sequence[str],
    *,
    inventory: Path,
    stdin: str | None = None,
    progress: Progress | None = None,
) -> Document:
    """Run it to its end; returns the JSON document that it prints, or one that says why there is none.

    Args:
        argv: ``dx-dispatch`` or ``dx-fleet``, and its words.
        inventory: Of the fleet that it is about.
        stdin: What it reads, such as the text of a task.
        progress: Gets each event; the command must be one that follows a dispatch.
    """
    program, *words = argv
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        entry_of(program),
        *with_options(program, words, inventory, progress_json=progress is not None),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
        limit=MOST_BYTES,
    )
    try:
        out, last = await asyncio.shield(work := asyncio.ensure_future(_talk(child, stdin, progress)))
    except asyncio.CancelledError:
        with suppress(ProcessLookupError):
            child.send_signal(signal.SIGINT)
        await work
        raise
    try:
        found = json.loads(out)
    except ValueError:
        return broken(program, child.returncode, last)
    return found if isinstance(found, dict) else broken(program, child.returncode, last)


async def _talk(
    child: asyncio.subprocess.Process, stdin: str | None, progress: Progress | None
) -> tuple[bytes, str]:
    """All of its standard output, and the last line of the other one."""
    if child.stdin is None:
        raise AssertionError
    if child.stdout is None:
        raise AssertionError
    if child.stderr is None:
        raise AssertionError
    with suppress(BrokenPipeError, ConnectionResetError):
        child.stdin.write((stdin or "").encode())
        await child.stdin.drain()
    child.stdin.close()
    out, last = await asyncio.gather(child.stdout.read(), _follow(child.stderr, progress))
    await child.wait()
    return out, last


async def _follow(stderr: asyncio.StreamReader, progress: Progress | None) -> str:
    last = "without a word"
    while line := (await stderr.readline()).decode(errors="replace"):
        event = _event(line)
        if event is None:
            last = line.strip() or last
        elif progress is not None:
            await progress(event)
    return last


def _event(line: str) -> ProgressEvent | None:
    try:
        return ProgressEvent.from_dict(json.loads(line))
    except (ValueError, KeyError, TypeError):
        return None


def entry_of(program: str) -> str:
    """What ``python -c`` takes to be ``dx-dispatch`` or ``dx-fleet``."""
    return _ENTRIES[program]


def with_options(
    program: str, words: Sequence[str], inventory: Path, *, progress_json: bool = False
) -> Sequence[str]:
    """The words of a command with the inventory that it is about, and with progress in JSON where wanted."""
    command = 1 if program == "dx-fleet" else 0
    options = [f"--inventory={inventory}", *(["--progress-json"] if progress_json else [])]
    return [*words[:command], *options, *words[command:]]


def broken(program: str, code: int | None, last: str) -> Document:
    """The document of a command that printed none; ``last`` is the last line of its standard error."""
    error = {
        "reason_code": "own_fault",
        "message_to_human": f"{program} ended with {code}: {last}",
        "next_action": None,
    }
    return {"exit_code": int(ExitCode.OWN_FAULT), "results": [], "error": error}
