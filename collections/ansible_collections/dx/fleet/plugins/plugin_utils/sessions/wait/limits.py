# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Our own limits on a session. OpenCode 1.18 has none: neither steps, nor cost, nor time."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Limits"]


@dataclass(frozen=True)
class Limits:
    """Times in seconds, cost in US dollars; None is no limit.

    ``stall_timeout_s`` runs from the last event of substance: a step, a tool or text that moved.
    ``server_gone_s`` is how long a server may refuse connections, ``server_silent_s`` how long it may not
    answer (20 s were seen under load), before its sessions are given up.
    """

    timeout_s: float | None = 3600
    stall_timeout_s: float | None = 600
    max_cost: float | None = None
    max_steps: int | None = 300
    server_gone_s: float = 20
    server_silent_s: float = 60
