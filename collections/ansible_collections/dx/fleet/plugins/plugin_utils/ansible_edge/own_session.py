# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Work in a process of its own, which ends what it began also where this one is killed meanwhile."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any

__all__ = ["apart"]


def apart(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What the work returns, which must be JSON-ready; it is done in a fork of this process.

    A signal to this process, or to its group, does not reach it. This process must have no other thread that
    could hold a lock.

    Raises:
        RuntimeError: The work raised, or its process died; the text says which.
    """
    receiving, sending = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            os.close(receiving)
            with suppress(BrokenPipeError), open(sending, "wb") as stream:
                stream.write(json.dumps(_answer(work)).encode())
        finally:
            os._exit(0)
    os.close(sending)
    with open(receiving, "rb") as stream:
        told = stream.read()
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    try:
        answer = json.loads(told)
    except ValueError:
        raise RuntimeError(f"its process died ({code})") from None
    if "raised" in answer:
        raise RuntimeError(answer["raised"])
    found: dict[str, Any] = answer["found"]
    return found


def _answer(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return {"found": work()}
    except Exception as error:
        return {"raised": f"{type(error).__name__}: {error}"}
