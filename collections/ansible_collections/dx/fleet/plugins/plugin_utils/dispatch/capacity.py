# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A VM's limit of sessions that work at once, kept also where dispatches come at the same moment.

A look before anything is sent is not enough: two dispatches may both look, and then both send. So a dispatch
queues first, with an empty session of its own on the server, and counts once more. Of those that queue, the
one whose session the server made first goes first: every controller reads the same order. Who finds no room
withdraws before its task is sent.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..domain.errors import DispatchError, FleetError, PreflightError
from ..domain.identity import SESSION_PREFIX
from ..domain.outcome import State
from ..domain.request import Request
from ..domain.stop import StopMark
from ..opencode.activity import working_families
from ..opencode.client import OpenCode
from ..opencode.errors import NotFound, NotOpenCode
from ..opencode.models import Message, Session
from ..opencode.recent import recent_sessions
from .empty_session import delete_if_empty

__all__ = ["QUEUES_FOR", "check_capacity", "check_turn"]

QUEUES_FOR = "dx_queues_for"  # in the metadata of a session that stands for a dispatch to an old session

QUEUES_MS = 120_000.0  # from its session to its prompt a dispatch takes less, or it has died


async def check_capacity(server: OpenCode, request: Request) -> None:
    """Whether the VM has room, as far as a look can tell.

    Raises:
        PreflightError: ``at_capacity``.
        OpenCodeError: The server can't be asked.
    """
    if request.max_concurrent is None:
        return
    busy = await working_families(server, await recent_sessions(server))
    if len(busy) >= request.max_concurrent:
        raise _full(request, len(busy), PreflightError)


async def check_turn(server: OpenCode, request: Request, queued: str) -> None:
    """Whether a dispatch that queues may send its task. Where it may not, its empty session is deleted.

    Args:
        server: The VM's server.
        request: What is asked.
        queued: The session with which it queues, which exists.

    Raises:
        DispatchError: ``at_capacity``.
        OpenCodeError: The server can't be asked.
    """
    if request.max_concurrent is None:
        return
    sessions = await recent_sessions(server)
    mine = next((session for session in sessions if session.id == queued), None)
    if mine is None:
        raise NotOpenCode(f"{server.url} does not list session {queued}, which it has")
    own = {queued, request.session}
    before = await working_families(server, sessions) - own
    for other in sessions:
        stands_for = str(other.metadata.get(QUEUES_FOR, other.id))
        if stands_for in own | before or other.id in own or not _counts(other, mine):
            continue
        if await _is_to_begin(server, other):
            before.add(stands_for)
    if len(before) < request.max_concurrent:
        return
    left = "" if await delete_if_empty(server, queued) else f"; its session {queued} is left, and empty"
    raise _full(request, len(before), DispatchError, left)


def _counts(other: Session, mine: Session) -> bool:
    """Whether the other one goes first. Of two sessions exactly one does, whoever asks.

    The earlier one goes first, unless it is so much older that its dispatcher must have died.
    """
    is_earlier = (other.time.created, other.id) < (mine.time.created, mine.id)
    is_near = abs(other.time.created - mine.time.created) <= QUEUES_MS
    return is_earlier if is_near else not is_earlier


async def _is_to_begin(server: OpenCode, session: Session) -> bool:
    """Whether a session was made by a dispatch that has yet to send its task, or just did.

    Raises:
        OpenCodeError: It can't be read.
    """
    if not session.id.startswith(SESSION_PREFIX) or StopMark.read(session.metadata) is not None:
        return False
    try:
        messages, _ = await server.messages(session.id, limit=1)
    except NotFound:
        return False  # it withdrew
    return not messages or _goes_on(messages)


def _goes_on(messages: Sequence[Message]) -> bool:
    last = messages[-1].info
    return last.role == "user" or last.time.completed is None


def _full(request: Request, count: int, kind: type[FleetError], more: str = "") -> FleetError:
    return kind(
        f"{request.vm} is at its capacity: {count} busy session(s), max_concurrent is"
        f" {request.max_concurrent}{more}",
        reason_code="at_capacity",
        next_action=f"dx-fleet status {request.vm}",
        state=State.REFUSED,
    )
