# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What happens while a dispatch runs, one event per change. Words are made where it is shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from .event_kind import EventKind

__all__ = ["Emit", "ProgressEvent", "discard"]


@dataclass(frozen=True)
class ProgressEvent:
    """One change that a person who follows the dispatch wants to see.

    ``fields`` are JSON-ready and belong to the kind (see :class:`.EventKind`). Much in them is written by an
    agent or a server: it is of any length and holds any character.
    """

    vm: str
    kind: EventKind
    session: str | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Any) -> ProgressEvent:
        """The reverse of :meth:`as_dict`.

        Raises:
            ValueError, KeyError, TypeError: The data is no progress event of this version.
        """
        session = data["session"]
        return cls(
            vm=str(data["vm"]),
            kind=EventKind(data["kind"]),
            session=session if session is None else str(session),
            fields=dict(data["fields"]),
        )


Emit = Callable[[ProgressEvent], None]


def discard(_: ProgressEvent) -> None:
    """An :data:`Emit` for a caller that follows nothing."""
