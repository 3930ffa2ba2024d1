# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A command as one line that a person can copy into a shell."""

from __future__ import annotations

import shlex
from collections.abc import Iterable

__all__ = ["command_line"]


def command_line(words: Iterable[str]) -> str:
    """One printable line of which a shell (bash, ksh or zsh) makes just these words again."""
    return " ".join(map(_quoted, words))


def _quoted(word: str) -> str:
    """Quoted as ever, if that is printable; a line break, say, would end the line that a person copies."""
    return shlex.quote(word) if word.isprintable() else f"$'{''.join(map(_escaped, word))}'"


def _escaped(character: str) -> str:
    if character in "\\'":
        return f"\\{character}"
    if character.isprintable():
        return character
    named = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
    # In octal, which takes three digits and no more, whatever follows.
    return named.get(character) or "".join(f"\\{byte:03o}" for byte in character.encode())
