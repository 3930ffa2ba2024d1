# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A session is its family: itself and all the sessions of subagents below it."""

from __future__ import annotations

from .client import OpenCode
from .models import Session

__all__ = ["DEPTH", "descendants_of"]

DEPTH = 8


async def descendants_of(server: OpenCode, session: str, *, sure: bool = True) -> list[Session]:
    """The sessions of the subagents of a session, and of theirs, as deep as they go.

    Unless ``sure``, there may be more: see :meth:`.OpenCode.children`.

    Raises:
        OpenCodeError: They can't be read.
    """
    found: list[Session] = []
    known = {session}
    parents = [session]
    for _ in range(DEPTH):
        children = [child for parent in parents for child in await server.children(parent, sure=sure)]
        new = [child for child in children if child.id not in known]
        if not new:
            break
        found += new
        known.update(child.id for child in new)
        parents = [child.id for child in new]
    return found
