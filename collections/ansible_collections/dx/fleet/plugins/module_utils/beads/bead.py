# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A bead as `bd --json` tells it."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field, replace

from .json_answer import json_in

__all__ = ["Bead", "beads_in"]


_TEXTS = (
    "title",
    "description",
    "status",
    "assignee",
    "notes",
    "updated_at",
    "issue_type",
    "defer_until",
    "close_reason",
)
_BLOCKING = (
    "blocks",
    "conditional-blocks",
)  # dependencies that keep a bead from `bd ready` till they are closed


@dataclass(frozen=True)
class Bead:
    """One issue.

    ``assignee`` is "" where there is none; ``status`` is Beads' own (``in_progress``). ``waits_for`` are the
    ids of the beads that block it until they are closed, ``parents`` those that it is a part of.
    """

    id: str
    title: str = ""
    description: str = ""
    status: str = "open"
    assignee: str = ""
    notes: str = ""
    updated_at: str = ""
    issue_type: str = ""
    defer_until: str = ""
    close_reason: str = ""
    metadata: dict[str, t.Any] = field(default_factory=dict)
    waits_for: tuple[str, ...] = ()
    parents: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, data: t.Mapping[str, t.Any]) -> Bead:
        """A bead out of an issue object.

        Raises:
            ValueError: It is none.
        """
        if not isinstance(data.get("id"), str):
            raise ValueError("an issue without an id")
        texts: dict[str, t.Any] = {key: data.get(key) or "" for key in _TEXTS}
        if not all(isinstance(text, str) for text in texts.values()):
            raise ValueError("an issue of another shape")
        metadata = data.get("metadata") or {}
        if isinstance(metadata, str):  # older stores keep it as text
            metadata = json_in(metadata, _object)
        links = data.get("dependencies")
        return cls(
            id=data["id"],
            metadata=_object(metadata),
            waits_for=_linked(links, _BLOCKING),
            parents=_linked(links, ("parent-child",)),
            **texts,
        )

    def task(self) -> str:
        """Title and description, as the words of a task."""
        return "\n\n".join(filter(None, (self.title.strip(), self.description.strip())))

    def with_(self, **changes: t.Any) -> Bead:
        """A copy with some fields replaced."""
        return replace(self, **changes)

    def as_dict(self) -> dict[str, t.Any]:
        """JSON-ready form."""
        return {
            key: list(value) if isinstance(value, tuple) else value for key, value in self.__dict__.items()
        }


def beads_in(text: str) -> list[Bead]:
    """The beads in an answer of `bd`: a list, an envelope around one, or one object.

    Raises:
        ValueError: It is no such answer.
    """
    return json_in(text, _issues)


def _issues(data: t.Any) -> list[Bead]:
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


def _object(data: t.Any) -> dict[str, t.Any]:
    if not isinstance(data, dict):
        raise ValueError("metadata of another shape")
    return data


def _linked(dependencies: t.Any, kinds: t.Container[str]) -> tuple[str, ...]:
    """The other ends of an issue's dependencies of some kinds; `list` and `show` have them in two shapes."""
    found = []
    for each in dependencies if isinstance(dependencies, list) else ():
        if not isinstance(each, dict):
            continue
        other = each.get("depends_on_id", each.get("id"))
        if each.get("type", each.get("dependency_type")) in kinds and isinstance(other, str):
            found.append(other)
    return tuple(sorted(found))
