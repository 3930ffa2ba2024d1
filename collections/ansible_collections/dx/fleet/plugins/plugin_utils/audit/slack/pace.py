# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How fast to talk to Slack, and how long to leave it alone after a failure."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Backoff", "Pace"]


@dataclass(frozen=True)
class Pace:
    """How fast to talk. Slack takes about one message a second and channel, and fifty updates a minute.

    The thread of a dispatch to many VMs grows slower with its age: the next reply comes when it is older by
    ``digest_growth``, or after ``digest_urgent_s`` where a person is waited for.
    """

    post_s: float = 1.1
    update_s: float = 1.2
    same_root_s: float = 3.0
    step_s: float = 15.0
    settle_s: float = 2.0
    first_retry_s: float = 1.0
    last_retry_s: float = 60.0
    first_hold_s: float = 30.0
    last_hold_s: float = 900.0
    digest_from: int = 9
    digest_growth: float = 0.8
    digest_urgent_s: float = 15.0
    max_pages: int = 10
    max_fallback_level: int = 2


@dataclass
class Backoff:
    """Until when a channel is left alone after a failure; longer each time.

    ``held`` says that somebody must mend it.
    """

    until: float = 0.0
    times: int = 0
    held: bool = False

    def again(self, now: float, first_s: float, last_s: float, *, held: bool) -> None:
        """It has failed once more."""
        if held is not self.held:
            self.times = 0
        self.held = held
        self.until = now + min(first_s * 2 ** min(self.times, 20), last_s)
        self.times += 1
