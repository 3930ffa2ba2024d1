# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a click asks for: the same commands as words."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ..audit.slack.buttons import Button, without_request
from .grammar import Answer, Command, Retry, Stop

__all__ = ["command_of_click"]

_COMMANDS: Mapping[str, Callable[[str], Command]] = {
    Button.STOP: lambda value: Stop(value, None),
    Button.ALLOW_ONCE: lambda value: _answer(value, "once"),
    Button.REJECT: lambda value: _answer(value, "reject"),
    Button.RETRY: Retry,
}


def _answer(value: str, reply: str) -> Answer:
    dispatch, request = without_request(value)
    return Answer(dispatch, reply, request=request)


def command_of_click(action: str, value: str) -> Command | None:
    """The command of one of our buttons; None for another one."""
    make = _COMMANDS.get(action)
    return make(value) if make is not None and value else None
