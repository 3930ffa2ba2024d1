# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Placing a dispatch: its session and its prompt, each at most once, whatever answers get lost."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import stamina

from ..domain.clock import SYSTEM_CLOCK, Clock
from ..domain.errors import DispatchError
from ..domain.event_kind import EventKind
from ..domain.identity import session_id
from ..domain.next_action import dispatch_command
from ..domain.outcome import State
from ..domain.progress import Emit, ProgressEvent, discard
from ..domain.request import Request
from ..domain.stop import StopMark
from ..domain.task import shortened
from ..opencode.client import OpenCode
from ..opencode.errors import ConfigInvalid, NotFound, NotSent, OpenCodeError, OwnError
from ..opencode.models import Session
from ..opencode.reach import unusable
from .at_most_once import EffectUnknown, at_most_once
from .capacity import QUEUES_FOR, check_turn
from .empty_session import delete_if_empty
from .preflight import REPO, Plan

__all__ = ["place"]

TASK_WIDTH = 500  # of the task in a progress event
LOOK_S = 3.0  # for what a lost answer may have been about
LOOKS = 15  # for the session, one every 0.2 s
CONFIRM_S = 15.0  # a loaded server stores the message of an accepted prompt late

_ARRIVED = "task arrived"


async def place(
    server: OpenCode,
    request: Request,
    plan: Plan,
    *,
    emit: Emit = discard,
    clock: Clock = SYSTEM_CLOCK,
) -> bool:
    """Create the session and send the prompt, unless an earlier try already did.

    Args:
        server: The VM's server.
        request: What is asked.
        plan: What the preflight found.
        emit: Called when the session is there, and when the prompt is.
        clock: The time.

    Returns:
        Whether the prompt was sent by this call.

    Raises:
        DispatchError: It was not sent, or (``effect_unknown``) nobody can tell. Where the server refused
            the prompt, or has no room for it, an empty session that was made for it is deleted.
    """
    if plan.replay:
        return False
    try:
        if request.resume is None:
            await _ensure_session(server, request, plan, clock)
            emit(ProgressEvent(request.vm, EventKind.SESSION_CREATED, plan.session))
        async with _turn(server, request, plan, clock):
            await _send_prompt(server, request, plan, clock)
    except EffectUnknown as error:
        raise _unknown(request, error) from error
    except OpenCodeError as error:
        raise await _not_placed(server, request, error) from error
    task = shortened(request.task, TASK_WIDTH)
    emit(ProgressEvent(request.vm, EventKind.TASK_SENT, plan.session, {"task": task}))
    return True


@asynccontextmanager
async def _turn(server: OpenCode, request: Request, plan: Plan, clock: Clock) -> AsyncIterator[None]:
    """Within the block the task may be sent: the VM has room for it, and others see that it is taken.

    A task for an old session queues with an empty one, which goes again.
    """
    if request.max_concurrent is None:
        yield
        return
    queued = session_id(request.dispatch)
    if queued == plan.session:
        await check_turn(server, request, queued)
        yield
        return
    await _created(server, queued, plan.directory, clock)
    try:

        async def changes() -> Mapping[str, Any]:
            mark = {"dx_dispatch": request.dispatch, QUEUES_FOR: plan.session}
            return {"title": f"queues for {plan.session}", "metadata": mark}

        await _marked(server, queued, request.dispatch, changes, clock)
        await check_turn(server, request, queued)
        yield
    finally:
        await delete_if_empty(server, queued)


async def _created(server: OpenCode, session: str, directory: str, clock: Clock) -> str:
    """The directory of a session that is there now."""

    async def effect() -> str | None:
        found = await _session(server, session)
        return None if found is None else found.directory

    return await at_most_once(
        "session was made", lambda: server.create_session(session, directory), effect, clock
    )


async def _ensure_session(server: OpenCode, request: Request, plan: Plan, clock: Clock) -> None:
    directory = await _created(server, plan.session, plan.directory, clock)
    await _unless_stopped(server, request, plan)
    if directory.rstrip("/") != plan.directory.rstrip("/"):
        # Only a session of an earlier try can differ: it is not ours to delete.
        raise DispatchError(
            f"session {plan.session} works in {directory}, not in {plan.directory}",
            reason_code="wrong_directory",
            next_action="leave --id out to get a new dispatch",
            state=State.REFUSED,
        )
    await _label(server, request, plan, clock)


async def _unless_stopped(server: OpenCode, request: Request, plan: Plan) -> Mapping[str, Any]:
    """The session's metadata.

    Raises:
        DispatchError: Somebody stopped the task before it was sent.
        OpenCodeError: The session can't be read.
    """
    metadata = (await server.session(plan.session)).metadata
    mark = StopMark.read(metadata)
    if mark is not None and mark.is_about(request.dispatch, plan.message):
        raise _stopped(request, f"{mark.words()}, before the task was sent")
    return metadata


def _stopped(request: Request, words: str) -> DispatchError:
    return DispatchError(
        words, reason_code="stopped", next_action=dispatch_command(request), state=State.ABORTED
    )


async def _label(server: OpenCode, request: Request, plan: Plan, clock: Clock) -> None:
    """Title, our mark and permission rules in one request, so that the mark proves the rules.

    A repeat would only append the same rules again: harmless, as the last match wins.
    """
    changes: dict[str, Any] = {"title": request.title or shortened(request.task, 60)}
    if request.permission:
        changes["permission"] = [dict(rule) for rule in request.permission]

    async def with_metadata() -> Mapping[str, Any]:
        # Read anew for each try: what it replaces may be the note of a stop.
        metadata = await _unless_stopped(server, request, plan)
        named = {"dx_dispatch": request.dispatch, **_named_repo(request)}
        return changes | {"metadata": {**metadata, **named}}

    session = await _marked(server, plan.session, request.dispatch, with_metadata, clock)
    if session.metadata.get("dx_dispatch") != request.dispatch:
        raise DispatchError(
            f"the server did not keep the mark of session {plan.session}",
            reason_code="session_not_labelled",
            next_action=f"look at session {plan.session} on {request.vm}: dx-fleet status {request.vm}",
            state=State.REFUSED,
        )


def _named_repo(request: Request) -> dict[str, str]:
    """What tells whoever joins by the id alone which policies hold."""
    return {} if request.repo is None else {REPO: request.repo}


async def _marked(
    server: OpenCode,
    session: str,
    dispatch: str,
    changes: Callable[[], Awaitable[Mapping[str, Any]]],
    clock: Clock,
) -> Session:
    """The session after changes that name the dispatch in its metadata; they are made anew for each try."""

    async def send() -> Session:
        return await server.update_session(session, await changes())

    async def effect() -> Session | None:
        found = await _session(server, session)
        return found if found and found.metadata.get("dx_dispatch") == dispatch else None

    return await at_most_once("session was labelled", send, effect, clock)


async def _send_prompt(server: OpenCode, request: Request, plan: Plan, clock: Clock) -> None:
    body: dict[str, Any] = {
        "messageID": plan.message,
        # OpenCode 1.18 adds the parts of a repeated prompt to its message; one with an id is stored once.
        "parts": [{"id": request.part, "type": "text", "text": request.task}],
    }
    if request.agent is not None:
        body["agent"] = request.agent
    if request.model is not None:
        provider, _, model = request.model.partition("/")
        body["model"] = {"providerID": provider, "modelID": model}

    async def send() -> bool:
        await _unless_stopped(server, request, plan)
        await server.prompt(plan.session, body)
        return False

    async def effect() -> bool | None:
        return await _is_stored(server, plan, clock, within_s=LOOK_S) or None

    seen = await at_most_once(_ARRIVED, send, effect, clock)
    try:
        stored = seen or await _is_stored(server, plan, clock, within_s=CONFIRM_S)
    except OpenCodeError as error:
        raise EffectUnknown(_ARRIVED, error) from error
    if not stored:
        raise DispatchError(
            "the server accepted the prompt (204) but never stored it: usually a default agent that does not"
            " exist, a directory that vanished, or an id that another of its sessions has",
            reason_code="prompt_not_stored",
            next_action=f"look into ~/.local/share/opencode/log on {request.vm}",
        )
    await _stop_if_stopped(server, request, plan)


async def _stop_if_stopped(server: OpenCode, request: Request, plan: Plan) -> None:
    """A stop that looked for the task before it arrived, and was noted after we looked for it, is done here.

    Whoever stops notes it first and looks for the task then; so one of the two sees the other.

    Raises:
        DispatchError: Somebody has stopped the task meanwhile.
    """
    try:
        mark = StopMark.read((await server.session(plan.session)).metadata)
    except OpenCodeError:
        return  # it is followed from here on, and its end says who stopped it
    if mark is not None and mark.is_about(request.dispatch, plan.message):
        await server.abort(plan.session)
        raise _stopped(request, mark.words())


async def _session(server: OpenCode, session: str) -> Session | None:
    """The session, if the server has it, asked again for some seconds.

    Raises:
        OpenCodeError: The server could not be asked; only its own word means no.
    """
    async for attempt in stamina.retry_context(
        on=_may_pass, attempts=LOOKS, timeout=None, wait_initial=0.2, wait_max=0.2, wait_jitter=0
    ):
        with attempt:
            try:
                return await server.session(session)
            except NotFound:
                return None
    raise AssertionError("unreachable")


def _may_pass(error: Exception) -> bool:
    """Whether an error is not the server's own word, which asking again would not change."""
    return isinstance(error, OpenCodeError) and not isinstance(error, OwnError)


async def _is_stored(server: OpenCode, plan: Plan, clock: Clock, *, within_s: float) -> bool:
    """Whether the server has our message, asked again until ``within_s`` seconds have passed.

    Raises:
        OpenCodeError: At the end the server could not be asked; only its own word means no.
    """
    deadline = clock.monotonic() + within_s
    pause_s = 0.02
    while True:
        trouble: OpenCodeError | None = None
        try:
            if await server.message(plan.session, plan.message) is not None:
                return True
        except OpenCodeError as error:
            trouble = error
        if clock.monotonic() >= deadline:
            if trouble is not None:
                raise trouble
            return False
        await clock.sleep(pause_s)
        pause_s = min(pause_s * 2, 0.5)


async def _not_placed(server: OpenCode, request: Request, error: OpenCodeError) -> DispatchError:
    """The error in the words of a dispatch, after taking away an empty session of ours."""
    if isinstance(error, OwnError) and request.resume is None:
        await delete_if_empty(server, request.session)
    state = State.UNREACHABLE if isinstance(error, NotSent) else State.REFUSED
    mend = unusable(server, request.vm, error).next_action if isinstance(error, ConfigInvalid) else None
    return DispatchError(
        error.message,
        reason_code=error.reason_code,
        next_action=mend or dispatch_command(request),
        state=state,
    )


def _unknown(request: Request, error: EffectUnknown) -> DispatchError:
    sent = "" if error.what == _ARRIVED else "; the task was not sent"
    return DispatchError(
        f"{error}; whether the {error.what} can't be known{sent} (the same id sends nothing twice)",
        reason_code="effect_unknown",
        next_action=dispatch_command(request),
        state=State.UNREACHABLE,
    )
