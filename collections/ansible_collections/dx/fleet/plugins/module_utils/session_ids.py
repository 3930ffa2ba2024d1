# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ids of a dispatch's OpenCode session, message and part, which follow from the dispatch id.

A module on the tracker host needs them as well as the controller: standard library only.
"""

from __future__ import annotations

import hashlib
import re

__all__ = ["MESSAGE_PREFIX", "SESSION_PREFIX", "message_id", "part_id", "session_id"]

MESSAGE_PREFIX = "msg_dx-"
SESSION_PREFIX = "ses_dx-"


def session_id(dispatch: str) -> str:
    """The id of the session that a dispatch creates; OpenCode wants it to begin with ``ses``."""
    return f"{SESSION_PREFIX}{_stem(dispatch)}"


def message_id(dispatch: str) -> str:
    """The id of the user message that carries the task; OpenCode wants it to begin with ``msg``.

    OpenCode 1.18 keeps message ids unique over all sessions of a server.
    """
    return f"{MESSAGE_PREFIX}{_stem(dispatch)}"


def part_id(dispatch: str, task: str) -> str:
    """The id of the part that holds the task's text; OpenCode wants it to begin with ``prt``.

    Another task has another one: OpenCode 1.18 puts a part in the place of that with its id.
    """
    return f"prt_dx-{_stem(dispatch)}-{hashlib.sha256(task.encode()).hexdigest()[:12]}"


def _stem(dispatch: str) -> str:
    """Readable, safe in a URL path, and different for any two dispatch ids."""
    digest = hashlib.sha256(dispatch.encode()).hexdigest()[:12]
    return f"{re.sub('[^A-Za-z0-9]+', '-', dispatch)[:40]}-{digest}"
