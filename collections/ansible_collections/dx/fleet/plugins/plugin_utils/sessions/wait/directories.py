# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where each followed session works: asked of another directory, a server would call it absent."""

from __future__ import annotations

from collections.abc import Mapping

from ...opencode.client import OpenCode

__all__ = ["Directories"]


class Directories:
    """The directories of sessions.

    Args:
        server: Their server.
        assumed: What was reported of some before; it is doubted where a session is absent from there.
    """

    def __init__(self, server: OpenCode, assumed: Mapping[str, str]) -> None:
        self._server = server
        self._assumed = dict(assumed)
        self._confirmed: dict[str, str] = {}

    def known(self, session: str) -> str | None:
        """Where the session works, as far as that is known without asking."""
        return self._confirmed.get(session) or self._assumed.get(session)

    async def of(self, session: str) -> str:
        """Where the session works.

        Raises:
            OpenCodeError: It can't be asked.
        """
        found = self.known(session)
        if found is None:
            found = self._confirmed[session] = (await self._server.session(session)).directory
        return found

    async def was_wrong(self, session: str) -> bool:
        """Whether what was assumed of the session is not so; asked once.

        Raises:
            OpenCodeError: It can't be asked.
        """
        assumed = self._assumed.pop(session, None)
        return assumed is not None and await self.of(session) != assumed
