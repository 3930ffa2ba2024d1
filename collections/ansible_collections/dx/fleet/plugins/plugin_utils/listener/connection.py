# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The connection by which Slack tells what happens: Socket Mode, kept alive.

slack_sdk's aiohttp client, with a ping every two seconds: it notices a dead path within four seconds, where
the other clients take half a minute or for ever (measured).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from slack_sdk.errors import SlackApiError
from slack_sdk.socket_mode.aiohttp import SocketModeClient
from slack_sdk.socket_mode.async_client import AsyncBaseSocketModeClient
from slack_sdk.socket_mode.request import SocketModeRequest
from slack_sdk.socket_mode.response import SocketModeResponse
from slack_sdk.web.async_client import AsyncWebClient

from ..domain.clock import SYSTEM_CLOCK, Clock
from ..domain.errors import ConfigError
from .slack_faults import SLACK_FAULTS, reason_of

__all__ = ["Connection"]

PING_S = 2
SILENT_S = 30.0
RETRY_S = (1.0, 2.0, 5.0, 15.0, 30.0)
FATAL = ("invalid_auth", "not_allowed_token_type", "account_inactive", "token_revoked", "missing_scope")

log = logging.getLogger("dx.fleet.listener")

Hear = Callable[[str, Mapping[str, Any]], Awaitable[str | None]]
Greet = Callable[[Mapping[str, Any]], Awaitable[None]]


class Connection:
    """One connection to Slack, made anew whenever it is lost.

    Args:
        web: The bot's client, for the address of Slack.
        app_token: Of the app.
        hear: Gets type and payload of each envelope, which is acknowledged when this has returned; what it
            returns is shown at once to whoever gave a slash command.
        greet: Gets each ``hello``: from then on events come.
        clock: By which silence is measured.
    """

    def __init__(
        self, web: AsyncWebClient, app_token: str, hear: Hear, greet: Greet, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        self._clock = clock
        self._web = web
        self._app_token = app_token
        self._hear = hear
        self._greet = greet
        self._moved = self._clock.monotonic()
        self.is_up = False
        """Whether Slack can be heard now."""

    async def serve(self) -> None:
        """Hear until this is cancelled.

        Raises:
            ConfigError: ``slack_refused``: the token is not one that may listen.
        """
        failures = 0
        while True:
            client = self._client()
            try:
                async with asyncio.timeout(SILENT_S):  # the client would try one address for ever
                    await client.connect_to_new_endpoint(force=True)
                failures = 0
                await self._watch(client)
                log.warning("Slack has been silent for %.0f s: connecting anew", SILENT_S)
            except SlackApiError as error:
                self._raise_if_final(error)
                log.warning("Slack refuses the connection: %s", reason_of(error))
            except SLACK_FAULTS as error:
                log.warning("Slack can't be reached: %s", reason_of(error))
            finally:
                self.is_up = False
                await client.close()  # type: ignore[no-untyped-call] # slack_sdk has no type here
            await self._clock.sleep(RETRY_S[min(failures, len(RETRY_S) - 1)])
            failures += 1

    def _client(self) -> SocketModeClient:
        client = SocketModeClient(
            app_token=self._app_token,
            web_client=self._web,
            ping_interval=PING_S,
            logger=logging.getLogger("dx.fleet.slack"),
        )
        client.socket_mode_request_listeners.append(self._take)
        client.message_listeners.append(self._notice)
        return client

    async def _watch(self, client: SocketModeClient) -> None:
        """Come back when the client, which connects anew by itself, no longer does."""
        self._moved = self._clock.monotonic()
        while self._clock.monotonic() - self._moved < SILENT_S:
            self.is_up = await client.is_connected()
            if self.is_up:
                self._moved = self._clock.monotonic()
            await self._clock.sleep(PING_S)

    async def _take(self, client: AsyncBaseSocketModeClient, request: SocketModeRequest) -> None:
        """Hear, and acknowledge only then: what was not kept comes again."""
        answer = await self._hear(request.type, request.payload)
        await client.send_socket_mode_response(
            SocketModeResponse(request.envelope_id, {"text": answer} if answer else None)
        )

    async def _notice(self, _: AsyncBaseSocketModeClient, message: dict[str, Any], __: str | None) -> None:
        self._moved = self._clock.monotonic()
        if message.get("type") == "hello":
            await self._greet(message)

    def _raise_if_final(self, error: SlackApiError) -> None:
        reason = reason_of(error)
        if reason in FATAL:
            raise ConfigError(
                f"Slack does not let the listener in: {reason}",
                reason_code="slack_refused",
                next_action="set SLACK_APP_TOKEN to an app-level token with connections:write",
            ) from error
