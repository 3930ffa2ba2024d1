# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The messages where a module could not even begin."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["last_words"]


def last_words(details: Mapping[str, Any]) -> str:
    """What Python or the shell of the host said: an exception's last line, else the first."""
    said = f"{details.get('module_stderr') or ''}\n{details.get('module_stdout') or ''}"
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    if not lines:
        return ""
    return f": {lines[-1 if 'Traceback' in said else 0][:300]}"
