# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the delivery needs of Slack."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from .message import SlackMessage

__all__ = ["Found", "Page", "Posted", "Slack"]


@dataclass(frozen=True)
class Posted:
    """Where a message is: the channel's id, and its ts.

    ``detached`` says that it was meant for a thread and is not in it: the head was deleted, and Slack posts
    at the channel's top level then.
    """

    channel: str
    ts: str
    detached: bool = False


@dataclass(frozen=True)
class Found:
    """A message of ours that was read back. ``headline`` is what a root begins with; what is neither a root
    nor ``in_thread`` is a reply that lost its head."""

    ts: str
    thread_key: str
    records: tuple[str, ...]
    is_root: bool
    headline: str | None = None
    in_thread: bool = False


@dataclass(frozen=True)
class Page:
    """Messages of ours among those of a page, and where the next one begins."""

    found: tuple[Found, ...]
    cursor: str | None


class Slack(Protocol):
    """What the delivery needs of Slack. Every method raises :class:`SlackError`."""

    async def post(self, channel: str, message: SlackMessage, thread: str | None = None) -> Posted:
        """Post a message, into a thread if there is one."""

    async def update(self, channel: str, ts: str, message: SlackMessage) -> None:
        """Put another message in the place of one of ours."""

    async def delete(self, channel: str, ts: str) -> None:
        """Take one of our messages away."""

    async def history(self, channel: str, cursor: str | None = None) -> Page:
        """The latest messages of a channel."""

    async def replies(self, channel: str, thread: str, cursor: str | None = None) -> Page:
        """The messages of a thread, the first ones first."""
