# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A bead as `bd --json` tells it."""

from __future__ import annotations

import json
import typing as t
from dataclasses import dataclass, field

__all__ = ["Bead", "beads_in"]


@dataclass(frozen=True)
class Bead:
    """One issue. ``assignee`` is "" where there is none; ``status`` is Beads' own (``in_progress``)."""

    id: str
    title: str = ""
    description: str = ""
    status: str = "open"
    assignee: str = ""
    notes: str = ""
    updated_at: str = ""
    metadata: dict[str, t.Any] = field(default_factory=dict)

    @classmethod
    def from_json(cls, data: t.Mapping[str, t.Any]) -> Bead:
        """A bead out of an issue object.

        Raises:
            ValueError: It is none.
        """
        if not isinstance(data.get("id"), str):
            raise ValueError("an issue without an id")
        texts = {
            key: data.get(key) or ""
            for key in ("title", "description", "status", "assignee", "notes", "updated_at")
        }
        if not all(isinstance(text, str) for text in texts.values()):
            raise ValueError("an issue of another shape")
        metadata = data.get("metadata") or {}
        if isinstance(metadata, str):  # older stores keep it as text
            metadata = json.loads(metadata or "{}")
        if not isinstance(metadata, dict):
            raise ValueError("metadata of another shape")
        return cls(id=data["id"], metadata=metadata, **texts)

    def task(self) -> str:
        """Title and description, as the words of a task."""
        return "\n\n".join(filter(None, (self.title.strip(), self.description.strip())))

    def as_dict(self) -> dict[str, t.Any]:
        """JSON-ready form."""
        return dict(self.__dict__)


def beads_in(text: str) -> list[Bead]:
    """The beads in an answer of `bd`: a list, an envelope around one, or one object.

    Raises:
        ValueError: It is no such answer.
    """
    try:
        data = json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    while isinstance(data, dict) and "id" not in data:
        inner = [data[key] for key in ("data", "items") if key in data]
        if not inner:
            raise ValueError("neither issues nor an envelope")
        data = inner[0]
    if isinstance(data, dict):
        data = [data]
    if not isinstance(data, list) or not all(isinstance(item, dict) for item in data):
        raise ValueError("not a list of issues")
    return [Bead.from_json(item) for item in data]
