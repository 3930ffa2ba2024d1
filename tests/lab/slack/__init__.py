# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Slack workspace on this machine: a third-party emulator of the Web API behind our front.

The front adds what Slack does and the emulator does not, as far as our code can notice, and spoils calls on
demand. ``Lab(slack=True)`` has one; :class:`SlackWorkspace` is what tests hold of it.
"""

from __future__ import annotations

from .workspace import Message, SlackRequest, SlackWorkspace, Thread

__all__ = ["Message", "SlackRequest", "SlackWorkspace", "Thread"]
