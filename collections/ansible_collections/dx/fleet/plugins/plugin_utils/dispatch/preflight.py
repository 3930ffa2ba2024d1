# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A look at a VM before anything is touched: is it there, is it OpenCode, can the request be done?"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass

from ..domain.errors import PreflightError
from ..domain.outcome import State
from ..domain.request import Request
from ..opencode.client import OpenCode
from ..opencode.errors import NotFound, NotSent, OpenCodeError, Rejected, ServerFault, Unauthorized
from ..opencode.models import Message, Session

__all__ = ["Plan", "check_server", "look"]

PATIENCE_S = 20.0  # a loaded server was silent that long (OpenCode 1.18)


@dataclass(frozen=True)
class Plan:
    """What a dispatch will do. ``replay``: the task was already sent, so nothing will be."""

    session: str
    message: str
    directory: str
    server_version: str
    replay: bool


async def look(server: OpenCode, request: Request, *, patience_s: float = PATIENCE_S) -> Plan:
    """Check everything that can be known without a change on the VM.

    Args:
        server: The VM's server.
        request: What is asked.
        patience_s: How long a server that accepts connections may stay silent.

    Raises:
        PreflightError: Why it can't be done; nothing was sent.
    """
    version = await check_server(server, request.vm, patience_s=patience_s)
    try:
        return await _plan(server, request, version)
    except OpenCodeError as error:
        raise _unusable(request.vm, error) from error


async def check_server(server: OpenCode, vm: str, *, patience_s: float = PATIENCE_S) -> str:
    """The version of the OpenCode server that answers for a VM.

    Raises:
        PreflightError: With the state ``unreachable``.
    """
    deadline = time.monotonic() + patience_s
    timeout_s = 1.0
    while True:
        try:
            return (await server.health(timeout_s)).version
        except OpenCodeError as error:
            silent = error.reason_code in ("answer_timeout", "connect_timeout")
            left_s = deadline - time.monotonic()
            if not silent or left_s <= 0:
                raise _unusable(vm, error) from error
            timeout_s = min(timeout_s * 2, max(left_s, 0.5))


async def _plan(server: OpenCode, request: Request, version: str) -> Plan:
    resumed = await _session_to_resume(server, request) if request.resume is not None else None
    sent = await server.message(request.session, request.message)
    if sent is not None:
        session = resumed or await server.session(request.session)
        if not request.join:
            await _check_same_request(server, request, session, sent)
        return Plan(request.session, request.message, session.directory, version, replay=True)
    if not request.enabled:
        raise PreflightError(
            f"{request.vm} is disabled in vm-endpoints.json",
            reason_code="vm_disabled",
            next_action=f"use another VM, or set enabled of {request.vm} to true",
            state=State.REFUSED,
        )
    if not request.task:
        raise PreflightError(
            f"{request.vm} has no trace of dispatch {request.dispatch}, and there is no task to send",
            reason_code="unknown_dispatch",
            next_action="give repo and task as well, or look with: dx-fleet status",
            state=State.FAILED,
        )
    directory = await _directory(server, request, resumed)
    if resumed is not None:
        await _check_resumable(server, request, resumed, directory)
    if request.max_concurrent is not None:
        await _check_capacity(server, request)
    await _check_agent_and_model(server, request, directory)
    return Plan(request.session, request.message, directory, version, replay=False)


async def _check_same_request(server: OpenCode, request: Request, session: Session, sent: Message) -> None:
    """An id stands for one request: what is asked now must be what was sent then."""
    # A prompt whose answer was lost may have been repeated: OpenCode then stores its text once more.
    texts = {part.text for part in sent.parts if part.type == "text" and not part.synthetic}
    differs = []
    if request.task and texts and texts != {request.task}:
        differs.append("task")
    if request.agent is not None and sent.info.agent != request.agent:
        differs.append("agent")
    if request.model is not None and sent.info.asked_model() != request.model:
        differs.append("model")
    if request.repo is not None or request.directory is not None:
        directory = await _directory(server, request, None)
        if directory.rstrip("/") != session.directory.rstrip("/"):
            differs.append(f"directory ({session.directory})")
    if differs:
        what = " and ".join(differs)
        raise PreflightError(
            f"dispatch {request.dispatch} was already used with another {what}",
            reason_code="dispatch_id_in_use",
            next_action="leave --id out to get a new one",
            state=State.REFUSED,
        )


async def _directory(server: OpenCode, request: Request, resumed: Session | None) -> str:
    """The directory in which to work, confirmed by the server."""
    if resumed is not None and request.repo is None and request.directory is None:
        return resumed.directory
    tried = []
    async for candidate in _candidates(server, request):
        if candidate in tried:
            continue
        if await server.directory_exists(candidate):
            return candidate
        tried.append(candidate)
    what = f"directory {request.directory!r}" if request.directory else f"repo {request.repo!r}"
    raise PreflightError(
        f"{request.vm} has no {what}; tried {', '.join(tried)}",
        reason_code="repo_not_found",
        next_action=f"clone it to {tried[-1]} on {request.vm}, or name its directory under repos of"
        f" {request.vm} in vm-endpoints.json",
        state=State.FAILED,
    )


async def _candidates(server: OpenCode, request: Request) -> AsyncIterator[str]:
    """Directories that a repo may be, the most specific first. Only the last step guesses."""
    resolution = request.resolution
    repo = request.repo or ""
    named = request.directory or resolution.repos.get(repo)
    if named is None and repo.startswith(("/", "~/")):
        named = repo
    if named is not None:
        yield await _expanded(server, named)
    elif resolution.repos_root is not None:
        yield await _expanded(server, f"{resolution.repos_root.rstrip('/')}/{repo}")
    else:
        for project in await server.projects():
            if project.worktree.rstrip("/").rpartition("/")[2] == repo:
                yield project.worktree.rstrip("/")
        yield await _expanded(server, f"~/{repo}")


async def _expanded(server: OpenCode, directory: str) -> str:
    """``~/`` is the home of the user that the server runs as."""
    if directory == "~" or directory.startswith("~/"):
        return (await server.paths()).home.rstrip("/") + directory[1:]
    return directory if directory == "/" else directory.rstrip("/")


async def _session_to_resume(server: OpenCode, request: Request) -> Session:
    try:
        return await server.session(request.session)
    except (NotFound, ServerFault, Rejected) as error:
        if isinstance(error, ServerFault) and request.session.startswith("ses"):
            raise  # a malformed id is a 500 in OpenCode 1.18; this one is well formed
        raise PreflightError(
            f"{request.vm} has no session {request.session!r}",
            reason_code="unknown_session",
            next_action=f"dx-fleet status {request.vm}",
            state=State.FAILED,
        ) from error


async def _check_resumable(server: OpenCode, request: Request, session: Session, directory: str) -> None:
    if session.directory.rstrip("/") != directory.rstrip("/"):
        raise PreflightError(
            f"session {session.id} on {request.vm} works in {session.directory}, not in {directory}",
            reason_code="session_elsewhere",
            next_action="leave the repo out to continue in the session's own directory,"
            " or --session to begin a new one",
            state=State.REFUSED,
        )
    status = (await server.statuses(session.directory)).get(session.id)
    if status is not None and status.type != "idle":
        raise PreflightError(
            f"session {session.id} on {request.vm} is busy; OpenCode would merge a second task into its"
            " running turn",
            reason_code="session_busy",
            next_action=f"dx-fleet status {request.vm}",
            state=State.REFUSED,
        )


async def _check_capacity(server: OpenCode, request: Request) -> None:
    sessions = await server.sessions()
    directories = sorted({session.directory for session in sessions})
    subagents = {session.id for session in sessions if session.parent is not None}
    busy = [
        session
        for statuses in await asyncio.gather(*map(server.statuses, directories))
        for session, status in statuses.items()
        if status.type != "idle" and session not in subagents
    ]
    if request.max_concurrent is not None and len(busy) >= request.max_concurrent:
        raise PreflightError(
            f"{request.vm} is at its capacity: {len(busy)} busy session(s), max_concurrent is"
            f" {request.max_concurrent}",
            reason_code="at_capacity",
            next_action=f"dx-fleet status {request.vm}",
            state=State.REFUSED,
        )


async def _check_agent_and_model(server: OpenCode, request: Request, directory: str) -> None:
    """OpenCode 1.18 accepts a prompt with an unknown agent or model (204), then does nothing."""
    if request.agent is not None:
        agents = await server.agents(directory)
        # A subagent can't lead a session; OpenCode's own hidden ones title and summarise.
        fit = [agent.name for agent in agents if agent.mode != "subagent" and not agent.hidden]
        _check_known(request.vm, "agent", request.agent, fit)
    if request.model is not None:
        _check_known(request.vm, "model", request.model, await server.model_names(directory))


def _check_known(vm: str, kind: str, name: str, known: Iterable[str]) -> None:
    names = sorted(known)
    if name not in names:
        shown = ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
        raise PreflightError(
            f"{vm} has no {kind} {name!r}; it has {shown or 'none'}",
            reason_code=f"unknown_{kind}",
            next_action=f"use --{kind} with one of them, or leave it out",
            state=State.FAILED,
        )


def _unusable(vm: str, error: OpenCodeError) -> PreflightError:
    return PreflightError(error.message, reason_code=error.reason_code, next_action=_remedy(vm, error))


def _remedy(vm: str, error: OpenCodeError) -> str:
    if isinstance(error, Unauthorized):
        return f"set password_env of {vm} in vm-endpoints.json and that variable in the environment"
    if error.reason_code == "dns_failure":
        return f"check the host name in opencode of {vm} in vm-endpoints.json, and that Tailscale is up"
    if isinstance(error, NotSent):
        return f"start the server on {vm}: opencode serve --hostname ADDRESS --port 4105"
    if isinstance(error, ServerFault) and error.log_ref:
        return f"look for {error.log_ref} in ~/.local/share/opencode/log on {vm}"
    return f"look at what answers on that port of {vm}"
