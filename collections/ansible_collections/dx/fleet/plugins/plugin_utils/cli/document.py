# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one JSON document that ``--json`` prints; its schema is docs/schemas/dispatch-result.schema.json."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from ..domain.errors import FleetError
from ..domain.outcome import Outcome

__all__ = ["document", "encoded"]

SCHEMA_VERSION = 1


def document(
    exit_code: int,
    results: Sequence[Outcome] = (),
    error: FleetError | None = None,
    vms: Sequence[dict[str, Any]] | None = None,
    claims: Sequence[dict[str, Any]] | None = None,
    trail: dict[str, Any] | None = None,
    fleet_test: dict[str, Any] | None = None,
    stops: Sequence[dict[str, Any]] | None = None,
    requests: Sequence[dict[str, Any]] | None = None,
    worktrees: Sequence[dict[str, Any]] | None = None,
    kept_stops: Sequence[dict[str, Any]] | None = None,
    listener: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """The document of a run: one result per VM, or the error that kept it from running.

    ``vms`` is only there for ``--list`` and ``--status``; ``claims`` for ``--reap``, and for ``--status``
    where Beads is used; ``trail`` for ``--audit`` and ``--flush-audit``; ``fleet_test`` for ``test``;
    ``stops`` for ``stop``; ``requests`` for ``answer``; ``worktrees`` for ``reap``; ``kept_stops`` for
    ``stop`` and ``status``, where a VM could not be reached; ``listener`` for ``status``, where one has run.
    """
    found: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "exit_code": int(exit_code),
        "results": [outcome.as_dict() for outcome in results],
        "error": None
        if error is None
        else {
            "reason_code": error.reason_code,
            "message_to_human": error.message,
            "next_action": error.next_action,
        },
    }
    if vms is not None:
        found["vms"] = list(vms)
    if claims is not None:
        found["claims"] = list(claims)
    if worktrees is not None:
        found["worktrees"] = list(worktrees)
    if requests is not None:
        found["requests"] = list(requests)
    if stops is not None:
        found["stops"] = list(stops)
    if listener is not None:
        found["listener"] = listener
    if kept_stops is not None:
        found["kept_stops"] = list(kept_stops)
    if trail is not None:
        found["trail"] = trail
    if fleet_test is not None:
        found["fleet_test"] = fleet_test
    return found


def encoded(data: dict[str, Any]) -> str:
    """As ASCII, so that no terminal or locale can break it."""
    return json.dumps(data, indent=2)
