# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a call of Slack can go wrong, on demand; what each does to slack_sdk was measured.

======================  =====================================================================
kind                    what the caller gets
======================  =====================================================================
``hang``                nothing for ``seconds`` (or ever), then the answer
``drip``                the answer byte by byte, one in ``pause_s``
``ratelimited``         429 with ``Retry-After: retry_after`` (any text; None: without)
``http``                ``status``, with a web page
``html``                200 with a web page, as behind a captive portal
``empty``               200 without a body
``list``                200 with a JSON list
``text``                ``status``, with a word in plain text
``bad_utf8``            200 with bytes that are no UTF-8
``truncated``           the first half of the answer, as if it were whole
``short``               the first half of the answer, and the connection closed
``reset``               a TCP reset before anything is done
``commit_then_drop``    a TCP reset after everything is done
anything else           ``{"ok": false, "error": kind}``: ``invalid_auth``, ``msg_too_long`` ...
======================  =====================================================================

Nothing is done in the workspace, unless ``commit`` says so; by itself with ``drip``, ``truncated``, ``short``
and ``commit_then_drop``, and after ``hang``, if the caller still waits.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Fault", "Faults", "Limit"]

_COMMITTING = ("drip", "truncated", "short", "commit_then_drop")


@dataclass(frozen=True)
class Fault:
    """Which calls are spoiled, and how.

    Args:
        method: like ``chat.postMessage``; ``*`` for any.
        kind: see the module.
        times: so many calls; None for all.
        after: let so many pass first.
        contains: only those whose arguments, as JSON, contain this.
        commit: whether the call is carried out; None: as the kind says.
    """

    method: str
    kind: str
    times: int | None = 1
    after: int = 0
    contains: str = ""
    commit: bool | None = None
    seconds: float | None = None
    pause_s: float = 0.3
    status: int = 500
    retry_after: str | None = "1"

    @property
    def commits(self) -> bool:
        """Whether the workspace does what the call asks for."""
        return self.kind in _COMMITTING if self.commit is None else self.commit


@dataclass
class _Rule:
    fault: Fault
    passing: int
    left: int | None


class Faults:
    """The faults that are still to come; the first that fits a call is its."""

    def __init__(self) -> None:
        self._rules: list[_Rule] = []

    def add(self, fault: Fault) -> None:
        """From now on."""
        self._rules.append(_Rule(fault, fault.after, fault.times))

    def clear(self) -> None:
        """None any more."""
        self._rules.clear()

    def take(self, method: str, arguments: Mapping[str, object]) -> Fault | None:
        """What happens to this call; it counts."""
        for rule in self._rules:
            fits = rule.fault.method in ("*", method) and rule.left != 0
            if not fits or rule.fault.contains not in json.dumps(arguments, ensure_ascii=False):
                continue
            if rule.passing > 0:
                rule.passing -= 1
                continue
            if rule.left is not None:
                rule.left -= 1
            return rule.fault
        return None


@dataclass
class Limit:
    """Slack's leaking bucket, one for each channel: ``burst`` calls at once, then ``per_second``."""

    method: str
    per_second: float
    burst: int

    def __post_init__(self) -> None:
        self._level: dict[str, tuple[float, float]] = {}

    def take(self, channel: str, now: float) -> int | None:
        """None if the call may pass, else in how many seconds one may; a refused call costs nothing."""
        level, since = self._level.get(channel, (0.0, now))
        level = max(0.0, level - (now - since) * self.per_second)
        if level + 1 > self.burst:
            self._level[channel] = (level, now)
            return max(1, math.ceil((level + 1 - self.burst) / self.per_second))
        self._level[channel] = (level + 1, now)
        return None
