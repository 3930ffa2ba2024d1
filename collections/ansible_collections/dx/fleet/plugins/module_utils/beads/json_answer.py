# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""JSON out of what `bd` prints, also where lines for a person stand before or behind it."""

from __future__ import annotations

import json
import re
import typing as t

__all__ = ["json_in"]

T = t.TypeVar("T")

DEEPEST = 200  # brackets within brackets; a bead has fewer than ten

_BEGINS = re.compile(r"[\[{]")
_BRACKETS = re.compile(r'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]', re.DOTALL)


def json_in(text: str, read: t.Callable[[t.Any], T]) -> T:
    """What is read out of the JSON in an answer: the whole of it, else its last list or object that fits.

    Lines for a person may stand before it and behind it, brackets and JSON of their own in them.

    Args:
        text: The answer.
        read: Reads what was parsed; it raises ValueError for what is none of its kind.

    Raises:
        ValueError: There is none of that kind. Or one was cut off: what is left of a list is not the list. Or
            it is nested more deeply than any answer of `bd`: what Ansible does with a result, and Python's
            parser itself, call themselves for each bracket.
    """
    _check_depth(text)
    try:
        return _last_of(_values_in(text), read)
    except RecursionError:  # a quote in a notice hid the brackets from the check
        raise ValueError("nested too deeply") from None


def _last_of(values: t.Sequence[t.Any], read: t.Callable[[t.Any], T]) -> T:
    first: ValueError | None = None
    for value in reversed(values):
        try:
            return read(value)
        except ValueError as error:  # noqa: PERF203 - which of them it is shows by reading them
            first = first or error
    raise first or ValueError("no JSON")


def _values_in(text: str) -> list[t.Any]:
    try:
        return [json.loads(text)]
    except ValueError:
        pass
    decoder, found, end = json.JSONDecoder(), [], 0
    begins = [begin.start() for begin in _BEGINS.finditer(text)]
    for begin, following in zip(begins, [*begins[1:], len(text)]):
        if begin < end:
            continue  # inside the one before
        try:
            data, end = decoder.raw_decode(text, begin)
        except json.JSONDecodeError as error:
            if error.pos > following:  # a notice is no JSON from its first bracket on
                raise ValueError("the JSON is cut off or damaged") from None
            continue
        found.append(data)
    return found


def _check_depth(text: str) -> None:
    depth = 0
    for bracket in _BRACKETS.finditer(text):
        first = bracket.group()[0]
        if first in "[{":
            depth += 1
        elif first in "]}":
            depth = max(0, depth - 1)
        if depth > DEEPEST:
            raise ValueError("nested too deeply")
