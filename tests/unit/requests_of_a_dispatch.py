# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a dispatch asks a server, as patterns of paths, for the tests in which others answer in its place."""

from __future__ import annotations

__all__ = ["BEFORE_THE_TASK", "READS_OF_A_DISPATCH", "WRITES_OF_A_DISPATCH"]

READS_OF_A_DISPATCH = {
    "health": (r"/global/health$", 0),
    "look for an earlier try": (r"^/session/[^/]+/message/[^/]+$", 0),
    "the projects": (r"^/project$", 0),
    "the home": (r"^/path$", 0),
    "does the directory exist": (r"^/file$", 0),
    "confirm that it is stored": (r"^/session/[^/]+/message/[^/]+$", 1),
    "follow the events": (r"^/global/event$", 0),
    "what works": (r"^/session/status$", 0),
    "what waits for permission": (r"^/permission$", 0),
    "what asks a question": (r"^/question$", 0),
    "read the messages": (r"^/session/[^/]+/message$", 0),
    "its subagents": (r"^/session/[^/]+/children$", 0),
}
WRITES_OF_A_DISPATCH = {
    "create the session": ("POST", r"^/api/session$"),
    "label the session": ("PATCH", r"^/session/[^/]+$"),
    "send the task": ("POST", r"/prompt_async$"),
}
BEFORE_THE_TASK = (
    "health",
    "look for an earlier try",
    "the projects",
    "the home",
    "does the directory exist",
)
