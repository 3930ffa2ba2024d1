# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A look at a VM before anything is touched: is it there, is it OpenCode, can the request be done?"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from ..domain.errors import PreflightError
from ..domain.outcome import State
from ..domain.request import Request
from ..domain.task import is_text
from ..opencode.activity import activity_of_family
from ..opencode.client import OpenCode
from ..opencode.errors import ConfigInvalid, NotFound, OpenCodeError, Rejected, ServerFault
from ..opencode.models import Message, Session
from ..opencode.reach import PATIENCE_S, check_server, check_version, unusable
from .capacity import check_capacity
from .place_of_repo import directories_of, directory_of

__all__ = ["REPO", "Plan", "look"]

REPO = "dx_repo"  # in the metadata of a session of ours: the repo by the name that it was asked for


@dataclass(frozen=True)
class Plan:
    """What a dispatch will do.

    ``replay``: the task was already sent, so nothing will be. ``repo``: where it was asked for, or, as the
    session says, sent to. ``warning``: what a person should know of the server all the same.
    """

    session: str
    message: str
    directory: str
    server_version: str
    replay: bool
    repo: str | None = None
    warning: str | None = None


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
    warning = check_version(server, request.vm, version)
    try:
        return replace(await _plan(server, request, version), warning=warning)
    except OpenCodeError as error:
        raise unusable(server, request.vm, error) from error


async def _plan(server: OpenCode, request: Request, version: str) -> Plan:
    resumed = await _session_to_resume(server, request) if request.resume is not None else None
    if resumed is not None and request.isolated:
        request = _with_repo(request, resumed)
    sent = await server.message(request.session, request.message)
    if sent is not None:
        session = resumed or await server.session(request.session)
        if not request.join:
            await _check_same_request(server, request, session, sent)
        kept = session.metadata.get(REPO)
        repo = request.repo or (kept if isinstance(kept, str) and is_text(kept) else None)
        return Plan(request.session, request.message, session.directory, version, replay=True, repo=repo)
    if not request.enabled:
        raise PreflightError(
            f"{request.vm} is disabled in vm-endpoints.json",
            reason_code="vm_disabled",
            next_action=f"use another VM, or set enabled of {request.vm} to true",
            state=State.REFUSED,
        )
    if not request.task:
        raise PreflightError(
            f"{request.vm} has no trace of dispatch {request.dispatch}, and there is no task to send"
            " (one that resumed a session is joined with --session)",
            reason_code="unknown_dispatch",
            next_action="dx-fleet status",
            state=State.REFUSED,
        )
    directory = await _directory(server, request, resumed)
    if resumed is not None:
        await _check_idle(server, request, resumed)
    await check_capacity(server, request)
    await _check_agent_and_model(server, request, directory)
    return Plan(request.session, request.message, directory, version, replay=False, repo=request.repo)


def _with_repo(request: Request, session: Session) -> Request:
    """The request for a session that goes on in a worktree: the session may say of which repo it is."""
    if request.repo is not None or request.directory is not None:
        return request
    kept = session.metadata.get(REPO)
    if not isinstance(kept, str) or not is_text(kept):
        raise PreflightError(
            f"session {session.id} on {request.vm} names no repo, so the worktree of its branch is unknown",
            reason_code="repo_missing",
            next_action="name the repo: dx-dispatch VM REPO 'what to do'",
            state=State.REFUSED,
        )
    return replace(request, repo=kept)


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
    asked = (request.repo or request.directory) and not request.isolated
    if asked and not await _works_where_asked(server, request, session):
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
    """The directory in which to work, confirmed by the server; of a worktree that is to be made, the clone.

    Raises:
        PreflightError: ``repo_not_found``, ``repo_ambiguous``, ``directory_gone`` or ``session_elsewhere``.
    """
    if resumed is None or request.isolated:
        return await directory_of(server, request)
    return await _directory_of(server, request, resumed)


async def _directory_of(server: OpenCode, request: Request, session: Session) -> str:
    """The directory of the session that goes on. OpenCode 1.18 would make a lost one anew, and empty."""
    if not await server.directory_exists(session.directory):
        raise PreflightError(
            f"the directory of session {session.id} is gone: {session.directory}",
            reason_code="directory_gone",
            next_action="leave --session out to begin a new session, or bring the directory back",
            state=State.REFUSED,
        )
    if (request.repo or request.directory) and not await _works_where_asked(server, request, session):
        raise PreflightError(
            f"session {session.id} on {request.vm} works in {session.directory}, not in"
            f" {request.directory or request.repo}",
            reason_code="session_elsewhere",
            next_action="leave the repo out to continue in the session's own directory,"
            " or --session to begin a new one",
            state=State.REFUSED,
        )
    return session.directory


async def _works_where_asked(server: OpenCode, request: Request, session: Session) -> bool:
    own = session.directory.rstrip("/")
    return any(own == directory.rstrip("/") for directory in await directories_of(server, request))


async def _session_to_resume(server: OpenCode, request: Request) -> Session:
    try:
        return await server.session(request.session)
    except (NotFound, ServerFault, Rejected) as error:
        well_formed = request.session.startswith("ses")
        if isinstance(error, ConfigInvalid) or (isinstance(error, ServerFault) and well_formed):
            raise  # OpenCode 1.18 answers 500 to a malformed id only
        raise PreflightError(
            f"{request.vm} has no session {request.session!r}",
            reason_code="unknown_session",
            next_action=f"dx-fleet status {request.vm}",
            state=State.REFUSED,
        ) from error


async def _check_idle(server: OpenCode, request: Request, session: Session) -> None:
    if (await activity_of_family(server, session)).states:
        raise PreflightError(
            f"session {session.id} on {request.vm} is busy; OpenCode would merge a second task into its"
            " running turn",
            reason_code="session_busy",
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
            state=State.REFUSED,
        )
