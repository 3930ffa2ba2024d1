# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person does about a channel for which Slack takes nothing."""

from __future__ import annotations

__all__ = ["mending"]

_MENDING = {
    "not_in_channel": "invite the bot to the channel (/invite)",
    "channel_not_found": "check slack_audit_channel, and invite the bot to the channel (/invite)",
    "is_archived": "unarchive the channel, or choose another",
    "invalid_auth": "set SLACK_BOT_TOKEN to the token of the app",
    "token_revoked": "install the app again and set SLACK_BOT_TOKEN to its token",
    "token_expired": "install the app again and set SLACK_BOT_TOKEN to its token",
    "account_inactive": "install the app again and set SLACK_BOT_TOKEN to its token",
    "missing_scope": "give the app the scopes of docs/slack-app-manifest.yml and install it again",
}


def mending(channel: str, code: str) -> str:
    """One line: what Slack said, and what to do next."""
    return (
        f"Slack takes nothing for the channel {channel}: {code}. Everything is kept."
        f" Next: {_MENDING.get(code, 'see docs/slack.md')}, then dx-fleet audit flush"
    )
