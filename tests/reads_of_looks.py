# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``status`` and ``reap`` ask a server, for the tests in which others answer in its place."""

from __future__ import annotations

__all__ = ["READS"]

READS = {
    "status": (
        r"/global/health$",
        r"^/path$",
        r"^/experimental/session$",
        r"^/session/status$",
        r"^/permission$",
        r"^/question$",
    ),
    "reap": (
        r"/global/health$",
        r"^/session/[^/]+$",
        r"^/session/[^/]+/children$",
        r"^/session/status$",
        r"^/permission$",
        r"^/question$",
        r"^/session/[^/]+/message$",
        r"^/session/[^/]+/message/[^/]+$",
    ),
}
"""The paths of their GET requests, as patterns."""
