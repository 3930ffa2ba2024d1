# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The task text: data, never code. Its limits are ours, since OpenCode 1.18 has none."""

from __future__ import annotations

from ..text.printable import is_text, shortened
from .errors import UsageError

__all__ = ["MAX_TASK_BYTES", "check_task", "is_text", "shortened"]

MAX_TASK_BYTES = 256 * 1024


def check_task(text: str) -> str:
    """The text as it stands, if it can be sent.

    Raises:
        UsageError: ``empty_task``, ``task_too_large`` or ``bad_task_text`` (NUL, or a lone surrogate:
            such a text can't be UTF-8, and OpenCode would store it broken).
    """
    if not text.strip():
        raise UsageError(
            "the task is empty", reason_code="empty_task", next_action="dx-dispatch VM REPO 'what to do'"
        )
    try:
        size = len(text.encode("utf-8"))
    except UnicodeEncodeError as error:
        raise UsageError(
            f"the task is not valid text: a lone surrogate at character {error.start}",
            reason_code="bad_task_text",
            next_action="pass the task as UTF-8",
        ) from error
    if "\0" in text:
        raise UsageError(
            f"the task has a NUL at character {text.index(chr(0))}",
            reason_code="bad_task_text",
            next_action="remove the NUL character",
        )
    if size > MAX_TASK_BYTES:
        raise UsageError(
            f"the task has more than {MAX_TASK_BYTES} bytes",
            reason_code="task_too_large",
            next_action="put the long part into a file of the repository and name that file in the task",
        )
    return text
