# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tools of the Model Context Protocol server. Each is a command of ours; its result is the JSON document.

A tool that takes long reports its progress. Where the agent cancels it, it detaches: the remote work goes on,
and ``join`` follows it again.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from mcp.server import MCPServer
from mcp.server.mcpserver import Context

from ..domain.progress import ProgressEvent
from ..domain.progress_wording import line_of
from ..launch.own_command import run_command

__all__ = ["server_of"]

INSTRUCTIONS = """\
Hands coding tasks to the machines of one person's fleet, each running an OpenCode server. Believe `state`
alone: `verified` is the one success; `completed` means that the agent says so and nothing checked it. Where
`next_action` is set, it is the exact command to run next, as a tool here or in a shell. One orchestrator
works at a time: do not start work on a bead that another one holds."""

Document = dict[str, Any]


def server_of(inventory: Path) -> MCPServer:
    """The server for the fleet of this inventory source."""
    server = MCPServer("dx-fleet", instructions=INSTRUCTIONS)
    tools = _Tools(inventory)
    for tool in (
        tools.dispatch,
        tools.join,
        tools.status,
        tools.stop,
        tools.answer,
        tools.retry,
        tools.fleet_test,
    ):
        server.tool()(tool)
    return server


class _Tools:
    """Each method is a tool, and its docstring what the agent reads about it."""

    def __init__(self, inventory: Path) -> None:
        self._inventory = inventory

    async def dispatch(
        self,
        context: Context,
        repo: str,
        task: str,
        vm: str | None = None,
        bead: str | None = None,
        branch: str | None = None,
        verify: str | None = None,
        push: bool = False,
    ) -> Document:
        """Send a task to a VM (without `vm`: the default one) and return what became of it in the end.

        With `bead` the bead is claimed first, and the work has a worktree of its own. `verify` is the shell
        command that decides whether the work is good; without it that of the repo's configuration decides.
        """
        given = {"--bead": bead, "--branch": branch, "--verify": verify}
        words = [f"{name}={value}" for name, value in given.items() if value]
        place = [vm, repo] if vm else [repo]
        return await self._follow(
            context, ["dx-dispatch", *words, *(["--push"] if push else []), "--json", "--", *place, "-"], task
        )

    async def join(
        self, context: Context, dispatch: str | None = None, bead: str | None = None, vm: str | None = None
    ) -> Document:
        """Follow a dispatch again, by its id or by its bead, and return what became of it. Sends nothing."""
        what = f"--bead={bead}" if bead else f"--id={dispatch}"
        return await self._follow(context, ["dx-dispatch", what, "--json", "--", *([vm] if vm else [])])

    async def status(self, context: Context, vm: str | None = None) -> Document:
        """What the VMs are doing, and who holds which bead. Changes nothing."""
        return await self._run(context, ["dx-fleet", "status", "--json", "--", *([vm] if vm else [])])

    async def stop(self, context: Context, target: str, reason: str) -> Document:
        """Stop a VM's work, a session, a bead's or a dispatch's, and return the proof that it has stopped."""
        words = ["dx-fleet", "stop", f"--reason={reason}", "--json", "--", target]
        return await self._run(context, words)

    async def answer(
        self,
        context: Context,
        target: str,
        reply: Literal["once", "always", "reject"] | str,
        request: str | None = None,
    ) -> Document:
        """Answer the permission or the question for which a session, bead or VM waits (state `needs_input`).

        A permission takes `once`, `always` or `reject`; a question takes `reject` or the text of the answer.
        With `request`, its id as `next_action` has it, nothing else is answered, whatever waits by then.
        """
        which = [f"--request={request}"] if request else []
        return await self._run(context, ["dx-fleet", "answer", *which, "--json", "--", target, reply])

    async def retry(
        self, context: Context, bead: str, branch: str | None = None, instruction: str | None = None
    ) -> Document:
        """Work once more on a bead that is blocked, in a new session that knows what happened before."""
        on = [f"--branch={branch}"] if branch else []
        words = ["dx-dispatch", f"--retry={bead}", *on, "--json", *(["--", "-"] if instruction else [])]
        return await self._follow(context, words, instruction)

    async def fleet_test(
        self, context: Context, repo: str, ref: str, command: str | None = None, vm: str | None = None
    ) -> Document:
        """Run a repo's tests at one commit on every VM (or on one), and return the matrix of what passed."""
        given = {"--ref": ref, "--command": command, "--vm": vm}
        words = [f"{name}={value}" for name, value in given.items() if value]
        return await self._follow(context, ["dx-fleet", "test", *words, "--json", "--", repo])

    async def _follow(self, context: Context, argv: Sequence[str], stdin: str | None = None) -> Document:
        """Run a command that follows a dispatch; each of its events is progress."""
        seen = 0

        async def report(event: ProgressEvent) -> None:
            nonlocal seen
            seen += 1
            await context.report_progress(seen, message=line_of(event))

        return dict(await run_command(argv, inventory=self._inventory, stdin=stdin, progress=report))

    async def _run(self, context: Context, argv: Sequence[str]) -> Document:
        await context.report_progress(0, message=" ".join(argv[:2]))
        return dict(await run_command(argv, inventory=self._inventory))
