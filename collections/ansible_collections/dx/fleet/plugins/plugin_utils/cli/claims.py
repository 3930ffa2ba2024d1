# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The claims of a tracker, as commands show them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..domain.outcome import Outcome
from ..launch.collected import Collected

__all__ = ["claim_lines", "claims_of"]


def claims_of(collected: Collected) -> tuple[list[dict[str, Any]] | None, list[Outcome]]:
    """The claims that the tracker told of (None: it was not asked, or could not say), and what went wrong."""
    told = collected.tracker
    if told is None:
        return None, []
    failed = [Outcome.from_dict(told["outcome"])] if "outcome" in told else []
    if not failed and "claims" not in told:
        raise RuntimeError(str(told.get("msg") or "the tracker told nothing"))
    return told.get("claims"), failed


def claim_lines(claims: Sequence[dict[str, Any]] | None) -> list[str]:
    """A line for each."""
    return [f"[{claim['vm']}] {claim['summary']}" for claim in claims or ()]
