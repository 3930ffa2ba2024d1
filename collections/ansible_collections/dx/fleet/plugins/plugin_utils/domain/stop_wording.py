# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The words in which a person reads what became of a stop, on the terminal and in Slack."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["stop_lines"]


def stop_lines(stopped: Mapping[str, Any]) -> Iterator[str]:
    """What became of one session, and each clause of the proof, by an entry of ``stops`` of the document."""
    what = stopped["bead"] or stopped["dispatch"] or stopped["session"]
    words = {
        "stopped": f"Stopped {what}, session {stopped['session']}",
        "prevented": f"Stopped {what} before its task began; session {stopped['session']} will get none",
        "already_ended": f"{what} had ended before: {stopped.get('why')}",
        "too_late": f"{what} is left alone: {stopped.get('why')}",
        "still_works": f"{what} still works, session {stopped['session']}",
    }
    yield f"[{stopped['vm']}] {words.get(stopped['state'], stopped['state'])}"
    for clause in stopped["clauses"]:
        shown = "proven" if clause["proven"] else "NOT PROVEN"
        yield f"    {shown:<11} {clause['name']}: {clause['evidence']}"
    if stopped.get("uncommitted"):
        yield f"    {stopped['uncommitted']}"
