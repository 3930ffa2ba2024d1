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

__all__ = ["Apart", "apart"]


def apart(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What the work returns; see :class:`Apart`.

    Raises:
        RuntimeError: The work raised, or its process died; the text says which.
    """
    return Apart(work).result()


class Apart:
    """Work in a fork of this process, from now on. What it returns must be JSON-ready.

    A signal to this process, or to its group, does not reach it. This process must have no other thread that
    could hold a lock.
    """

    def __init__(self, work: Callable[[], dict[str, Any]]) -> None:
        receiving, sending = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            try:
                os.setsid()
                os.close(receiving)
                with suppress(BrokenPipeError), open(sending, "wb") as stream:
                    stream.write(json.dumps(_answer(work)).encode())
            finally:
                os._exit(0)
        os.close(sending)
        self._told = open(receiving, "rb")  # noqa: SIM115 - result() or leave() closes it

    def result(self) -> dict[str, Any]:
        """What it returned, when it has; once, here or in a fork of this process.

        Raises:
            RuntimeError: It raised, its process died, or its result was taken; the text says which.
        """
        with self._told:
            told = self._told.read()
        code: int | None = None
        with suppress(ChildProcessError):  # it is the child of the process that began it
            code = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
        try:
            answer = json.loads(told)
        except ValueError:
            raise RuntimeError(f"its process died ({code})") from None
        if "raised" in answer:
            raise RuntimeError(answer["raised"])
        found: dict[str, Any] = answer["found"]
        return found

    def leave(self) -> None:
        """What it returns is not wanted any more."""
        self._told.close()


def _answer(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return {"found": work()}
    except Exception as error:
        return {"raised": f"{type(error).__name__}: {error}"}
