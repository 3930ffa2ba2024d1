# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether dispatches are posted to Slack, where, and with what token."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

from ..text.printable import shortened

__all__ = ["SLACK_API", "AuditConfig"]

SLACK_API = "https://slack.com/api/"

_NO = frozenset(("0", "false", "no", "off"))
_USER = re.compile(r"[UW][A-Z0-9]{1,30}", re.ASCII)
_YES = frozenset(("1", "true", "yes", "on"))


@dataclass(frozen=True)
class AuditConfig:
    """What the environment and the endpoints file say.

    ``why_off`` is None where dispatches are posted. ``wanted`` says that somebody asked for it, so that its
    absence is worth a warning. ``mention`` are the user ids that are called where an agent waits for a
    person; ``buttons`` says that somebody hears a click: the listener.
    """

    channel: str | None = None
    token: str | None = field(default=None, repr=False)
    api_url: str = SLACK_API
    wanted: bool = False
    why_off: str | None = "it is not configured"
    mention: tuple[str, ...] = ()
    buttons: bool = False

    @property
    def on(self) -> bool:
        """Whether dispatches are posted to Slack."""
        return self.why_off is None

    @classmethod
    def read(
        cls,
        environ: Mapping[str, str],
        channel: str | None = None,
        users: Mapping[str, Collection[str]] | None = None,
    ) -> AuditConfig:
        """The configuration.

        Args:
            environ: ``SLACK_BOT_TOKEN``, ``SLACK_AUDIT_CHANNEL``, ``DX_SLACK_API_URL``, ``SLACK_AUDIT``,
                ``DX_SLACK_MENTION`` and ``DX_SLACK_BUTTONS``.
            channel: Of the endpoints file; the environment's own wins.
            users: The endpoints file's ``slack_users``: those who may answer are called, and where anybody
                may do anything, there are buttons.
        """
        choice = environ.get("SLACK_AUDIT", "").strip().casefold()
        channel = environ.get("SLACK_AUDIT_CHANNEL", "").strip() or channel
        token = environ.get("SLACK_BOT_TOKEN", "").strip()
        api_url = environ.get("DX_SLACK_API_URL", "").strip() or SLACK_API
        return cls(
            channel=channel,
            token=token or None,
            api_url=api_url.rstrip("/") + "/",
            wanted=choice in _YES,
            why_off=_why_off(choice, channel, token, api_url),
            mention=_mention(environ.get("DX_SLACK_MENTION"), users or {}),
            buttons=(environ.get("DX_SLACK_BUTTONS") or str(bool(users))).strip().casefold() in _YES,
        )

    def as_environ(self) -> dict[str, str]:
        """The variables by which another process reads the same."""
        return {
            "SLACK_BOT_TOKEN": self.token or "",
            "DX_SLACK_API_URL": self.api_url,
            "DX_SLACK_MENTION": ",".join(self.mention),
            "DX_SLACK_BUTTONS": str(self.buttons),
        }

    @classmethod
    def for_delivery(cls, environ: Mapping[str, str]) -> AuditConfig:
        """What is needed to deliver what was recorded before, whatever may be recorded now."""
        found = cls.read(environ)
        return replace(found, why_off=_why_no_token(found.token or "") or _why_no_address(found.api_url))


def _mention(given: str | None, users: Mapping[str, Collection[str]]) -> tuple[str, ...]:
    """Ids only: a name calls nobody, and whatever else there is could call everybody."""
    if given:
        return tuple(name for name in re.split(r"[\s,]+", given) if _USER.fullmatch(name))
    may_answer = [name for name, verbs in users.items() if "answer" in verbs or "*" in verbs]
    return tuple(name for name in may_answer if _USER.fullmatch(name))


def _why_no_token(token: str) -> str | None:
    if not token:
        return "SLACK_BOT_TOKEN is not set"
    if not token.isascii() or not token.isprintable() or " " in token:
        return "SLACK_BOT_TOKEN is no token: it has characters that no token has"
    return None


def _why_off(choice: str, channel: str | None, token: str, api_url: str) -> str | None:
    if choice in _NO:
        return "SLACK_AUDIT turns it off"
    if choice and choice not in _YES:
        return f"SLACK_AUDIT is {shortened(choice, 20)!r}, which is neither true nor false"
    if not channel:
        return (
            "there is no channel: neither slack_audit_channel in the endpoints file nor SLACK_AUDIT_CHANNEL"
        )
    return _why_no_token(token) or _why_no_address(api_url)


def _why_no_address(url: str) -> str | None:
    """A token is not sent in clear, but for a server on this machine."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        _ = parts.port
    except ValueError:
        return "DX_SLACK_API_URL is no URL"
    if parts.scheme == "https" and host:
        return None
    if parts.scheme == "http" and (host == "localhost" or _is_loopback(host)):
        return None
    return "DX_SLACK_API_URL is neither an https URL nor on this machine"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
