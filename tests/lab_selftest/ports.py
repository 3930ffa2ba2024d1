# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a lab that has ended let go of its port."""

from __future__ import annotations

import socket
import time
from contextlib import suppress

import psutil

from tests.lab.plan import LAB_ID_VARIABLE

__all__ = ["assert_let_go"]

PATIENCE_S = 20.0


def assert_let_go(address: tuple[str, int], lab_id: str) -> None:
    """Nobody has the port, or another lab: those of tests that run at the same time take what is free."""
    deadline = time.monotonic() + PATIENCE_S
    while not _is_free(address):
        holders = _labs_that_listen(address)
        assert lab_id not in holders
        if holders:
            return
        assert time.monotonic() < deadline, f"somebody holds {address}, and it is no lab"
        time.sleep(0.1)


def _is_free(address: tuple[str, int]) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError:
            return False
    return True


def _labs_that_listen(address: tuple[str, int]) -> set[str]:
    labs = set()
    for connection in psutil.net_connections("tcp"):
        if connection.status == psutil.CONN_LISTEN and tuple(connection.laddr) == address and connection.pid:
            with suppress(psutil.Error, KeyError):
                labs.add(psutil.Process(connection.pid).environ()[LAB_ID_VARIABLE])
    return labs
