# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which versions of OpenCode this collection works with. The documentation names the same ones.

The oldest was found with real servers: up to 1.18.14 messages are ordered by their id, so that a message with
an id of ours sorts behind the server's own, and the model is called without end. OpenCode 2 has other routes.
"""

from __future__ import annotations

import re

__all__ = ["NEWEST_TESTED", "OLDEST", "is_newer_than_tested", "is_supported"]

OLDEST = "1.18.15"
NEWEST_TESTED = "1.18.33"


def is_supported(version: str) -> bool:
    """Whether a server of that version gets tasks: OpenCode 1, not older than the oldest."""
    numbers = _numbers(version)
    return numbers is not None and numbers[0] == _known(OLDEST)[0] and numbers >= _known(OLDEST)


def is_newer_than_tested(version: str) -> bool:
    """Whether nobody has tried that version yet."""
    numbers = _numbers(version)
    return numbers is not None and numbers > _known(NEWEST_TESTED)


def _numbers(version: str) -> tuple[int, int, int] | None:
    """The three numbers of a version, if it has them; ``-beta.1`` behind them counts for nothing."""
    found = re.match(r"v?(\d{1,6})\.(\d{1,6})\.(\d{1,6})(?![\w.])", version)
    return None if found is None else (int(found[1]), int(found[2]), int(found[3]))


def _known(version: str) -> tuple[int, int, int]:
    numbers = _numbers(version)
    if numbers is None:
        raise AssertionError
    return numbers
