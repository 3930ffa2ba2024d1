# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The end of a run waits a moment for its trail. What is recorded is safe; another process delivers it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ...domain.clock import SYSTEM_CLOCK, Clock
from .outbox import Outbox

__all__ = ["DEFAULT_S", "TrailWait", "Undelivered"]

DEFAULT_S = 1.0
POLL_S = 0.02
START_EVERY_S = 0.2
UNANSWERED_S = 0.3
"""A call that Slack has not answered for so long is not waited for, unless somebody wants it to be."""


@dataclass(frozen=True)
class Undelivered:
    """How many of a run's facts are not in Slack yet, and why, where Slack gave a reason."""

    records: int
    trouble: str | None = None


class TrailWait:
    """What one run recorded for a channel, from now on.

    Args:
        outbox: Where it is recorded.
        channel: For which channel.
        start: Starts a deliverer unless one runs.
        clock: The time.
    """

    def __init__(
        self, outbox: Outbox, channel: str, start: Callable[[], object], clock: Clock = SYSTEM_CLOCK
    ) -> None:
        self._outbox = outbox
        self._channel = channel
        self._start = start
        self._clock = clock
        self._first = outbox.last_seq()

    def until_delivered(self, timeout_s: float = DEFAULT_S) -> Undelivered:
        """Wait till all of it is in Slack, and each thread's head shows it.

        Args:
            timeout_s: At most so long. Up to :data:`DEFAULT_S`, a Slack that does not answer is not waited
                for at all. With more, the whole time is: who says so knows that the deliverer ends with us.

        Raises:
            AuditError: The outbox can't be used.
        """
        began = self._clock.monotonic()
        start_at = began
        while True:
            left = self._outbox.undelivered_since(self._first, self._channel)
            channel = self._outbox.ledger.channel(self._channel)
            if left == (0, 0):
                return Undelivered(0)
            now = self._clock.monotonic()
            hopeless = channel.trouble is not None or (
                timeout_s <= DEFAULT_S
                and channel.unanswered_since is not None
                and self._clock.time() - channel.unanswered_since > UNANSWERED_S
            )
            if hopeless or now - began >= timeout_s:
                return Undelivered(left[0], channel.trouble)
            if now >= start_at:
                self._start()
                start_at = now + START_EVERY_S
            self._clock.block(POLL_S)
