# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Starting the deliverer: a program of its own, in its own session, one at a time."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from ...config.slack import AuditConfig
from .lease import Lease

__all__ = ["log_path", "start_deliverer"]

MODULE = "ansible_collections.dx.fleet.plugins.plugin_utils.audit.slack.deliverer"
ROOT = Path(__file__).resolve().parents[7]
"""The folder in which ``ansible_collections`` lies."""

_started: list[subprocess.Popen[bytes]] = []


def start_deliverer(config: AuditConfig, outbox: Path) -> bool:
    """Start the deliverer of an outbox, unless one runs. It outlives this process.

    It inherits nothing but the lock, by which it is the only one, and the environment, which has the token.

    Args:
        config: Token and address.
        outbox: The outbox's file.

    Returns:
        True where one was started.

    Raises:
        OSError: It can't be.
    """
    lease = Lease(outbox)
    if lease.is_wanted() or not lease.take():
        return False
    try:
        if lease.fd is None:
            raise AssertionError
        log = os.open(log_path(outbox), os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            # Kept, so that those that have ended can be reaped.
            _started[:] = [process for process in _started if process.poll() is None]
            _started.append(
                subprocess.Popen(
                    [sys.executable, "-P", "-m", MODULE, str(lease.fd)],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=log,
                    pass_fds=(lease.fd,),
                    start_new_session=True,
                    cwd="/",
                    env=_environment(config, outbox),
                )
            )
        finally:
            os.close(log)
    finally:
        lease.give_back()
    return True


def log_path(outbox: Path) -> Path:
    """Where the deliverer writes what it can't tell anybody: it has no terminal."""
    return outbox.with_name("deliverer.log")


def _environment(config: AuditConfig, outbox: Path) -> Mapping[str, str]:
    before = os.environ.get("PYTHONPATH")
    return {
        **os.environ,
        "PYTHONPATH": f"{ROOT}{os.pathsep}{before}" if before else str(ROOT),
        "XDG_STATE_HOME": str(outbox.parent.parent),
        **config.as_environ(),
    }
