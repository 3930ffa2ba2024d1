# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Text of others: what is text at all, and any of it in one line that does a terminal no harm."""

from __future__ import annotations

__all__ = ["is_text", "shortened"]


def is_text(text: str) -> bool:
    """Whether a string can be the name of anything: valid Unicode, without NUL."""
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)


def shortened(text: str, width: int = 100) -> str:
    """One printable line of at most ``width`` characters."""
    line = " ".join(text.split())
    line = "".join(
        character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in line
    )
    return line if len(line) <= width else line[: width - 1] + "…"
