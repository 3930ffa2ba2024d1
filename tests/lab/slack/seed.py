# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who and what is in the workspace when it starts."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

__all__ = ["APP_ID", "BOT_ID", "BOT_USER", "CHANNEL", "OTHER_CHANNEL", "PRIVATE_CHANNEL", "Identity", "Seed"]

APP_ID = "A0DXFLEET01"
BOT_ID = "B0DXFLEET01"
BOT_USER = "U0DXFLEET01"
BOT_NAME = "dx-fleet"

CHANNEL = "agent-coordination"
"""Public; the bot is in it."""
PRIVATE_CHANNEL = "agent-private"
"""Private; the bot is in it."""
OTHER_CHANNEL = "random"
"""Public; the bot is not in it. The emulator makes it by itself."""

USERS = ("jane", "sam")

_BOT_SCOPES = ("chat:write", "channels:history", "groups:history", "users:read")
_READER_SCOPES = (
    *("channels:read", "groups:read", "users:read", "channels:history", "groups:history"),
    *("chat:write", "reactions:write", "reactions:read", "channels:manage", "groups:write"),
)

# The emulator takes 5000 requests an hour from a token, and then answers as no Slack does.
_SPARE_TOKENS = 40
_REQUESTS_PER_TOKEN = 4500


@dataclass
class Identity:
    """Who calls. The emulator knows it by many tokens, of which the next is taken before one is used up.

    ``user`` is the name or id of the account; ``is_app`` whether it is the app's bot.
    """

    user: str
    token: str
    scopes: tuple[str, ...]
    is_app: bool = False
    _spare: list[str] = field(default_factory=list)
    _used: int = 0

    def __post_init__(self) -> None:
        self._spare = [f"{self.token}-{number}" for number in range(_SPARE_TOKENS)]

    def next_token(self) -> str:
        """What to send to the emulator with one request.

        Raises:
            RuntimeError: all of them are used up.
        """
        place, self._used = self._used // _REQUESTS_PER_TOKEN, self._used + 1
        if place >= len(self._spare):
            raise RuntimeError(f"{self._used} requests are more than the emulator takes")
        return self._spare[place]

    def seeds(self) -> Iterable[dict[str, Any]]:
        """Its tokens as the emulator's seed file wants them."""
        for token in self._spare:
            yield {
                "token": token,
                "type": "bot" if self.is_app else "user",
                "user": self.user,
                "scopes": list(self.scopes),
                **({"app_id": APP_ID, "bot_id": BOT_ID, "bot_user_id": BOT_USER} if self.is_app else {}),
            }


class Seed:
    """The accounts of one workspace, with tokens of its own, and the emulator's seed file."""

    def __init__(self) -> None:
        self.bot = Identity(BOT_USER, f"xoxb-{secrets.token_hex(12)}", _BOT_SCOPES, is_app=True)
        self.reader = Identity("jane", f"xoxp-{secrets.token_hex(12)}", _READER_SCOPES)
        self.other = Identity("sam", f"xoxp-{secrets.token_hex(12)}", _READER_SCOPES)
        self.app_token = f"xapp-1-{APP_ID}-{secrets.token_hex(12)}"
        self.team_id = ""  # the emulator's; known when it has started

    def identity(self, token: str) -> Identity | None:
        """Whose token that is."""
        return next((one for one in (self.bot, self.reader, self.other) if one.token == token), None)

    def document(self) -> dict[str, Any]:
        """The emulator's seed file."""
        app = {
            "app_id": APP_ID,
            "bot_id": BOT_ID,
            "bot_user_id": BOT_USER,
            "bot_name": BOT_NAME,
            "name": "dx-fleet",
            "client_id": "1.1",
            "client_secret": secrets.token_hex(8),
            "redirect_uris": ["http://127.0.0.1/"],
            "scopes": list(_BOT_SCOPES),
        }
        identities = (self.bot, self.reader, self.other)
        return {
            "slack": {
                "team": {"name": "Fleet lab", "domain": "fleet-lab"},
                "users": [{"name": name, "real_name": name.capitalize()} for name in USERS],
                "channels": [
                    {"name": CHANNEL, "topic": "What the fleet does"},
                    {"name": PRIVATE_CHANNEL, "is_private": True},
                ],
                "oauth_apps": [app],
                "tokens": [seed for identity in identities for seed in identity.seeds()],
                "strict_scopes": True,
            }
        }
