# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The heartbeat of a dispatcher: a count in the metadata of its session, which any controller can read.

A process on another machine, or in a container, can't be seen. Who wants its claim watches the count instead:
one that goes on counting lives, whatever the clocks of the two machines say. It costs a request every ten
seconds to a server that both can reach; a note in the bead would cost a call of `bd` (0.35 CPU-s) each time.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from ..domain.clock import SYSTEM_CLOCK, Clock
from ..opencode.client import OpenCode
from ..opencode.errors import NotFound, OpenCodeError
from .dispatcher import Liveness

__all__ = ["Heart", "Heartbeat", "beating", "liveness_by_heartbeat"]

KEY = "dx_heartbeat"
EVERY_S = 10.0
MARGIN_S = 15.0  # a loaded server is silent for 10 s and more (OpenCode 1.18)
WATCHED_S = 60.0  # a longer silence is not waited for: the writer's clock says when it is over
LOOK_EVERY_S = 2.0


@dataclass(frozen=True)
class Heartbeat:
    """``count`` grows with each beat; the next one comes within ``silent_s`` seconds of ``at``, which is in
    seconds since the epoch by the dispatcher's clock.
    """

    dispatcher: str
    count: int
    at: float
    silent_s: float

    @classmethod
    def read(cls, metadata: Mapping[str, Any]) -> Heartbeat | None:
        """The heartbeat in a session's metadata; None where there is none, or something else."""
        kept = metadata.get(KEY)
        if not isinstance(kept, Mapping):
            return None
        numbers = [kept.get(name) for name in ("count", "at", "silent_s")]
        if not isinstance(kept.get("dispatcher"), str) or not all(map(_is_number, numbers)):
            return None
        count, at, silent_s = (float(number) for number in numbers if number is not None)
        return cls(kept["dispatcher"], int(count), at, silent_s)


class Heart:
    """Beats for one dispatcher in one session; what comes after it may be a long silence.

    Args:
        server: A client of the session's server, which is open.
        session: The session's id.
        dispatcher: Its dispatcher's name.
        clock: Time.
    """

    def __init__(self, server: OpenCode, session: str, dispatcher: str, clock: Clock) -> None:
        self._server = server
        self._session = session
        self._dispatcher = dispatcher
        self._clock = clock
        self._count = 0

    async def beat(self, silent_s: float = EVERY_S) -> None:
        """One beat; the next one will come within so many seconds.

        A beat that is lost is followed by the next. What a silent server means, who waits for it decides.
        """
        with suppress(OpenCodeError):
            found = await self._server.session(self._session)  # a change of metadata replaces all of it
            before = Heartbeat.read(found.metadata)
            self._count = max(self._count, before.count if before is not None else 0) + 1
            beat = {
                "dispatcher": self._dispatcher,
                "count": self._count,
                "at": self._clock.time(),
                "silent_s": silent_s,
            }
            await self._server.update_session(self._session, {"metadata": {**found.metadata, KEY: beat}})

    async def beat_for_ever(self) -> None:
        """Beat at the usual pace until cancelled."""
        while True:
            await self.beat()
            await self._clock.sleep(EVERY_S)


@asynccontextmanager
async def beating(
    server: OpenCode, session: str, dispatcher: str, *, clock: Clock = SYSTEM_CLOCK
) -> AsyncIterator[Heart]:
    """While the block runs, the session has the heartbeat of its dispatcher.

    Args:
        server: A client of the session's server, which is opened and closed here.
        session: The session's id.
        dispatcher: Its dispatcher's name.
        clock: Time.
    """
    async with server:
        heart = Heart(server, session, dispatcher, clock)
        beats = asyncio.create_task(heart.beat_for_ever())
        try:
            yield heart
        finally:
            beats.cancel()
            await asyncio.gather(beats, return_exceptions=True)


async def liveness_by_heartbeat(
    server: OpenCode, session: str, dispatcher: str, *, clock: Clock = SYSTEM_CLOCK
) -> Liveness:
    """Whether a dispatcher lives, by its heartbeat. It is watched for until its next beat is overdue.

    Args:
        server: A client of the session's server, which is open.
        session: The session of the claim.
        dispatcher: The dispatcher that the claim names.
        clock: Time.

    Returns:
        ``UNSEEN`` where the session has no heartbeat of this dispatcher.

    Raises:
        OpenCodeError: The server can't be asked.
    """
    first = await _read(server, session)
    if first is None or first.dispatcher != dispatcher:
        return Liveness.UNSEEN
    if first.silent_s > WATCHED_S:
        return Liveness.ALIVE if clock.time() < first.at + first.silent_s + MARGIN_S else Liveness.GONE
    deadline = clock.monotonic() + first.silent_s + MARGIN_S
    while clock.monotonic() < deadline:
        await clock.sleep(LOOK_EVERY_S)
        if await _read(server, session) != first:
            return Liveness.ALIVE
    return Liveness.GONE


async def _read(server: OpenCode, session: str) -> Heartbeat | None:
    try:
        return Heartbeat.read((await server.session(session)).metadata)
    except NotFound:
        return None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
