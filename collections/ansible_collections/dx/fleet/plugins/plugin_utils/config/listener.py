# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the listener is given: tokens, the channel, and who may do what."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from ..domain.errors import ConfigError
from ..domain.fleet import Fleet
from .slack import AuditConfig

__all__ = ["ListenerConfig"]

_CHANNEL_ID = re.compile(r"[CG][A-Z0-9]{6,}")


@dataclass(frozen=True)
class ListenerConfig:
    """``users`` is user id -> verbs."""

    audit: AuditConfig
    app_token: str = field(repr=False)
    channel: str
    users: Mapping[str, tuple[str, ...]]

    @classmethod
    def read(cls, environ: Mapping[str, str], fleet: Fleet) -> ListenerConfig:
        """The configuration.

        Args:
            environ: What :meth:`.AuditConfig.read` reads, and ``SLACK_APP_TOKEN``.
            fleet: Of the endpoints file, with its channel and its users.

        Raises:
            ConfigError: ``listener_not_configured``.
        """
        audit = AuditConfig.read(environ, fleet.slack_audit_channel, fleet.slack_users)
        token = environ.get("SLACK_APP_TOKEN", "").strip()
        if not audit.on:
            raise _error(str(audit.why_off))
        if not token.startswith("xapp-") or not token.isascii() or not token.isprintable():
            raise _error("SLACK_APP_TOKEN is not set to an app-level token (xapp-…)")
        if not _CHANNEL_ID.fullmatch(audit.channel or ""):
            raise _error(
                f"the channel {audit.channel!r} is no channel id; a name can be given to another channel"
            )
        return cls(audit, token, str(audit.channel), fleet.slack_users)


def _error(why: str) -> ConfigError:
    return ConfigError(
        f"the listener can't start: {why}",
        reason_code="listener_not_configured",
        next_action="see docs/slack.md, 'Commands from Slack'",
    )
