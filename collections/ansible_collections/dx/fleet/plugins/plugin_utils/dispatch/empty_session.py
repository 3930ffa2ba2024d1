# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Taking away a session of ours that nothing was sent to."""

from __future__ import annotations

from ..opencode.client import OpenCode
from ..opencode.errors import NotFound, OpenCodeError

__all__ = ["delete_if_empty"]


async def delete_if_empty(server: OpenCode, session: str) -> bool:
    """Delete a session that has no message; returns whether it is gone. One that stays does no harm."""
    try:
        messages, _ = await server.messages(session, limit=1)
        if messages:
            return False
        await server.delete_session(session)
    except NotFound:
        return True
    except OpenCodeError:
        return False
    return True
