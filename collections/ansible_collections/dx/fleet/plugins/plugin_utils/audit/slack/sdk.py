# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""slack_sdk takes a while to import. It is imported beside the flow, while Ansible's process waits.

A worker that is forked in the middle of an import can never import the same module: the lock of the import is
held for good, by a thread that the worker does not have. So what workers may want to import too is imported
between forks, a little at a time, and the rest, which no worker wants, without stopping any.
"""

from __future__ import annotations

import os
import threading
from importlib import import_module

from ..store.database import no_fork

__all__ = ["SHARED", "forked", "import_sdk"]

SHARED = (
    "encodings.idna",  # which a look-up of a name imports
    "copy",
    "hmac",
    "json",
    "logging",
    "platform",
    "uuid",
    "concurrent.futures",
    "ssl",
    "asyncio",
    "http.client",
    "urllib.request",
    "mimetypes",
)
"""All that slack_sdk imports beside itself; a test holds this against it."""

forked = threading.Event()
"""Set at the first fork of this process: from then on it waits for its workers, and has time."""

os.register_at_fork(after_in_parent=forked.set)


def import_sdk() -> None:
    """Import slack_sdk, in a thread of a process that forks.

    Raises:
        ImportError: It is not installed, or broken.
    """
    for name in SHARED:
        with no_fork():
            import_module(name)
    import_module("slack_sdk")
