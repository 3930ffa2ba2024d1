# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""JSON out of what `bd` prints, also where lines for a person stand before or behind it."""

from __future__ import annotations

import json
import re
import typing as t

__all__ = ["json_in"]

TRIES = 50  # places at which JSON may begin
DEEPEST = 200  # brackets within brackets; a bead has fewer than ten

# A line that begins with a bracket; a notice such as "Note: ..." does not.
_BEGINS = re.compile(r"^[ \t]*([\[{])", re.MULTILINE)
_BRACKETS = re.compile(r'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]', re.DOTALL)


def json_in(text: str) -> t.Any:
    """The JSON in an answer: the whole of it, else the last list or object that begins on a line of its own.

    Raises:
        ValueError: There is none, or it is nested more deeply than any answer of `bd`: what Ansible does with
            a result, and Python's parser itself, call themselves for each bracket.
    """
    _check_depth(text)
    try:
        return _whole_or_last(text)
    except RecursionError:  # a quote in a notice hid the brackets from the check
        raise ValueError("nested too deeply") from None


def _whole_or_last(text: str) -> t.Any:
    try:
        return json.loads(text)
    except ValueError as error:
        first = error
    decoder, found, end = json.JSONDecoder(), [], 0
    for begin in list(_BEGINS.finditer(text))[:TRIES]:
        if begin.start(1) < end:
            continue  # inside the one before
        try:
            data, end = decoder.raw_decode(text, begin.start(1))
        except ValueError:
            continue
        found.append(data)
    if not found:
        raise first
    return found[-1]


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
