# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of a dispatch that exist before anything else.

From the dispatch id follow the ids of its OpenCode session and message, so that a replay addresses the
same session and the same message, whatever was lost in between.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import time

from .errors import UsageError

__all__ = ["check_dispatch_id", "message_id", "new_dispatch_id", "part_id", "session_id"]

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
MESSAGE_PREFIX = "msg_dx-"

_DISPATCH_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@:-]{0,127}")


def new_dispatch_id() -> str:
    """A fresh ULID: 48 bits of milliseconds, 80 random bits, sortable by time."""
    number = (time.time_ns() // 1_000_000) << 80 | secrets.randbits(80)
    return "".join(_CROCKFORD[number >> shift & 31] for shift in range(125, -1, -5))


def check_dispatch_id(text: str) -> str:
    """The id as it stands, if it can be one.

    Raises:
        UsageError: ``bad_dispatch_id``.
    """
    if not _DISPATCH_ID.fullmatch(text):
        raise UsageError(
            f"{text[:40]!r} can't be a dispatch id: at most 128 letters, digits or ._@:- beginning with a"
            " letter or digit",
            reason_code="bad_dispatch_id",
            next_action="leave --id out to get a new one",
        )
    return text


def session_id(dispatch: str) -> str:
    """The id of the session that a dispatch creates; OpenCode wants it to begin with ``ses``."""
    return f"ses_dx-{_stem(dispatch)}"


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
