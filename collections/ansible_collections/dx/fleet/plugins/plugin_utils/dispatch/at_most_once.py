# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A write that takes effect at most once, whatever answers get lost."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from ..domain.clock import Clock
from ..opencode.errors import AnswerLost, NotSent, OpenCodeError, OwnError, ServerFault

__all__ = ["EffectUnknown", "at_most_once"]

TRIES = 4

T = TypeVar("T")


class EffectUnknown(Exception):
    """A write may have taken effect, and the server can't be asked whether it did. ``what`` names it."""

    def __init__(self, what: str, error: OpenCodeError) -> None:
        super().__init__(error.message)
        self.what = what


async def at_most_once(
    what: str,
    send: Callable[[], Awaitable[T]],
    effect: Callable[[], Awaitable[T | None]],
    clock: Clock,
) -> T:
    """Send a write. Where its answer is lost, look whether it took effect before it is sent again.

    Args:
        what: What it brings about: ``task arrived``.
        send: The write.
        effect: What it led to; None where the server itself says that it did not happen so far.
        clock: The time.

    Raises:
        EffectUnknown: It may have taken effect.
        OpenCodeError: It did not.
    """
    lost = False
    for left in reversed(range(TRIES)):
        try:
            return await send()
        except NotSent as error:
            trouble: OpenCodeError = error
        except (AnswerLost, ServerFault) as error:
            trouble = error
            try:
                found = await effect()
            except OpenCodeError as unanswered:
                raise EffectUnknown(what, unanswered) from error
            if found is not None:
                return found
            if isinstance(error, ServerFault) and not lost:
                raise  # OpenCode gave it up
            lost = True
        except OwnError as error:
            if lost:  # an earlier one may still be under way
                raise EffectUnknown(what, error) from error
            raise
        if not left:
            if lost:
                raise EffectUnknown(what, trouble) from trouble
            raise trouble
        await clock.sleep(0.1 * 2 ** (TRIES - left))
    raise AssertionError("unreachable")
