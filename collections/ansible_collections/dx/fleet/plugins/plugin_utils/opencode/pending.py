# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Telling a request that waits for a person from one that an aborted turn left behind."""

from __future__ import annotations

from .client import OpenCode
from .models import Pending

__all__ = ["is_left_over"]


async def is_left_over(server: OpenCode, request: Pending) -> bool:
    """Whether nobody waits for an answer to the request any more.

    OpenCode 1.18 lists the request of an aborted turn until it is replied to, also while its session works
    on the next task. The step that asked is over then; one that still waits is not.

    Raises:
        OpenCodeError: The step can't be read.
    """
    if request.tool is None:
        return False
    step = await server.message(request.session, request.tool.message)
    return step is None or step.info.time.completed is not None
