# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a command declares what may be typed after it: a dataclass, each field of which is an option.

A field has its flags, its type and its words of help; what was not typed has the field's default.
"""

from __future__ import annotations

import argparse
import re
import sys
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

__all__ = ["Options", "amount", "count", "flag", "moment", "option", "seconds", "takes_a_value", "words"]

N = TypeVar("N", int, float)

MOST = 1e9
LAST_MOMENT = 1e11
ANY_NUMBER = sys.maxsize
_UNITS_S = {"d": 86400, "h": 3600, "m": 60, "s": 1}
_TIME = re.compile("".join(rf"(?:(?P<{unit}>\d+(?:\.\d+)?){unit})?" for unit in _UNITS_S))


def option(*flags: str, default: Any = None, **settings: Any) -> Any:
    """An option with a value.

    Args:
        flags: How it is typed, such as ``--id``.
        default: Its value where it is not typed.
        settings: As of argparse's ``add_argument``; ``complete``: the words that a shell offers for it.
    """
    return field(default=default, metadata={"flags": flags, "settings": settings})


def flag(*flags: str, help: str) -> Any:  # noqa: A002 - as argparse calls it
    """An option that is there or not."""
    return option(*flags, default=False, action="store_true", help=help)


def words(metavar: str, *, most: int = ANY_NUMBER, **settings: Any) -> Any:
    """The words that are no options, ``most`` of them at most; see :func:`option`."""
    settings["metavar"] = metavar
    return field(default=(), metadata={"flags": (), "settings": settings, "most": most})


def seconds(text: str) -> float:
    """A time as a person writes it: ``90``, ``90s``, ``10m``, ``1h30m``, ``1.5h``.

    Raises:
        argparse.ArgumentTypeError: It is no time.
    """
    if text and (found := _TIME.fullmatch(text)):
        return _within(sum(float(found[unit] or 0) * factor for unit, factor in _UNITS_S.items()), text)
    return _number(text, float, "a time such as 90, 90s, 10m or 1h30m")


def amount(text: str) -> float:
    """An amount of money.

    Raises:
        argparse.ArgumentTypeError: It is none.
    """
    return _number(text, float, "an amount")


def moment(text: str) -> float:
    """A moment, in seconds since the epoch.

    Raises:
        argparse.ArgumentTypeError: It is none.
    """
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < LAST_MOMENT:
        raise argparse.ArgumentTypeError(f"{text!r} is no moment in seconds since the epoch")
    return value


def count(text: str) -> int:
    """A whole number.

    Raises:
        argparse.ArgumentTypeError: It is none.
    """
    return _number(text, int, "a number")


def _number(text: str, kind: type[N], what: str) -> N:
    try:
        value = kind(text)
    except ValueError:
        value = kind(-1)
    if not value >= 0:  # nor one that is no number
        raise argparse.ArgumentTypeError(f"{text!r} is not {what}, 0 or more")
    return _within(value, text)


def _within(value: N, text: str) -> N:
    if not value < MOST:
        raise argparse.ArgumentTypeError(f"{text!r} is too much")
    return value


@dataclass(frozen=True)
class Options:
    """What every command takes."""

    json: bool = flag("--json", help="print one JSON document and nothing else on standard output")
    inventory: Path | None = option(  # noqa: RUF009 - it is a field
        "-i",
        "--inventory",
        type=Path,
        metavar="FILE",
        help="vm-endpoints file or inventory (default: $DX_VM_ENDPOINTS,"
        " else ~/.agent-skills/vm-endpoints.json)",
    )
    verbose: int = option("-v", "--verbose", action="count", default=0, help="Ansible's verbosity")

    def check(self) -> None:
        """Raises UsageError for options that can't go together."""


def takes_a_value(options: type[Options], word: str) -> bool:
    """Whether a word is an option after which its value stands."""
    return any(
        word in each.metadata["flags"] and "action" not in each.metadata["settings"]
        for each in fields(options)
    )
