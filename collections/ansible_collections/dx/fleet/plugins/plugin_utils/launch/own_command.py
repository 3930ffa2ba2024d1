# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Running a command of ours for somebody in Slack, in a process of its own.

A listener that dies does not take the command along: it goes on to its end, and the listener that follows
runs it again, which joins the first or finds that it was done.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..domain.outcome import ExitCode
from .plan import Plan

__all__ = ["run"]

_ENTRY = "from ansible_collections.dx.fleet.plugins.plugin_utils.cli.entry import {0}; {0}()"
_ENTRIES = {"dx-dispatch": _ENTRY.format("main"), "dx-fleet": _ENTRY.format("fleet_main")}
MOST_BYTES = 1 << 24

Document = Mapping[str, Any]


async def run(plan: Plan, *, inventory: Path) -> Document:
    """Run it to its end; returns the JSON document that it prints, or one that says why there is none.

    Where the plan prints for people, the document's ``text`` is what it printed.

    Args:
        plan: What to run.
        inventory: Of the fleet that it is about.
    """
    program, *words = plan.argv
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        _ENTRIES[program],
        *_with_inventory(program, words, inventory),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
        limit=MOST_BYTES,
    )
    out, err = await child.communicate((plan.stdin or "").encode())
    if plan.prints:
        return {"text": out.decode(errors="replace"), "exit_code": child.returncode}
    try:
        found = json.loads(out)
    except ValueError:
        return _broken(plan, child.returncode, err)
    return found if isinstance(found, dict) else _broken(plan, child.returncode, err)


def _with_inventory(program: str, words: Sequence[str], inventory: Path) -> Sequence[str]:
    command = 1 if program == "dx-fleet" else 0
    return [*words[:command], f"--inventory={inventory}", *words[command:]]


def _broken(plan: Plan, code: int | None, err: bytes) -> Document:
    last = (err.decode(errors="replace").strip().splitlines() or ["without a word"])[-1]
    error = {
        "reason_code": "own_fault",
        "message_to_human": f"{plan.argv[0]} ended with {code}: {last}",
        "next_action": None,
    }
    return {"exit_code": int(ExitCode.OWN_FAULT), "results": [], "error": error}
