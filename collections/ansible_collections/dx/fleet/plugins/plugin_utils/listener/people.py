# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Slack calls the people who give commands. Nothing depends on it: who may do what goes by their ids."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from slack_sdk.web.async_client import AsyncWebClient

from ..domain.clock import SYSTEM_CLOCK, Clock
from ..domain.person import slack_person
from .slack_faults import SLACK_FAULTS, reason_of

__all__ = ["People"]

PATIENCE_S = 1.0
"""A stop does not wait longer for a name."""
AGAIN_S = 3600.0

log = logging.getLogger("dx.fleet.listener")


class People:
    """Looks each person up once.

    Args:
        web: The bot's client; its token needs the scope ``users:read``.
        clock: By which a name that could not be read is asked for again.
    """

    def __init__(self, web: AsyncWebClient, clock: Clock = SYSTEM_CLOCK) -> None:
        self._web = web
        self._clock = clock
        self._names: dict[str, tuple[str | None, float]] = {}

    async def who(self, user: str) -> str:
        """``feng (slack:U0123ABCD)``; ``slack:U0123ABCD`` where Slack does not say the name now."""
        name, until = self._names.get(user, (None, 0.0))
        if name is None and self._clock.monotonic() >= until:
            name = await self._name(user)
            self._names[user] = (name, self._clock.monotonic() + AGAIN_S)
        return slack_person(user, name)

    async def _name(self, user: str) -> str | None:
        try:
            async with asyncio.timeout(PATIENCE_S):
                found: Any = (await self._web.users_info(user=user))["user"]
            profile = found["profile"]
            names = [profile.get("display_name"), profile.get("real_name"), found["name"]]
        except SLACK_FAULTS as error:
            log.warning("the name of %s can't be read: %s", user, reason_of(error))
            return None
        return next((name for name in names if isinstance(name, str) and name.strip()), None)
