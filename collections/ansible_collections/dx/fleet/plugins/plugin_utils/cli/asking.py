# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a person is asked for the answer that an agent waits for; :mod:`.prompt` does it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from ..domain.errors import UsageError
from ..domain.event_kind import EventKind
from ..domain.input_request import InputRequest
from ..domain.progress import ProgressEvent
from .dispatch_options import DispatchOptions
from .prompt import is_at_terminal
from .terminal import Followed

__all__ = ["Asking", "asking", "on_input_of"]

MODULE = "ansible_collections.dx.fleet.plugins.plugin_utils.cli.prompt"
LEAVES_WITHIN_S = 2.0


class Asking(Protocol):
    """Takes the events of a run, and asks for what an agent waits for."""

    def take(self, event: ProgressEvent) -> None:
        """Take one event of the run."""

    def close(self) -> None:
        """Leave the screen in order."""


class _Nobody:
    def take(self, event: ProgressEvent) -> None:
        pass

    def close(self) -> None:
        pass


class _Person:
    """Asks by a process that begins with the first question; nothing here waits for it.

    Args:
        inventory: The source of the fleet.
        screen: What shows the run's progress; it is held while something is asked.
    """

    def __init__(self, inventory: Path, screen: Followed) -> None:
        self._inventory = inventory
        self._screen = screen
        self._environ = dict(os.environ)  # before the run adds its own settings of Ansible
        self._process: subprocess.Popen[bytes] | None = None
        self._orders = -1
        self._waiting: set[str] = set()

    def take(self, event: ProgressEvent) -> None:
        if event.kind is EventKind.ASKED:
            asked = InputRequest.of(event.fields.get("request"))
            if asked is not None:  # else it was too long for the bus, and is answered elsewhere
                if not self._waiting:
                    self._screen.hold()
                self._waiting.add(asked.id)
                self._order({"ask": asked.as_request(), "vm": event.vm})
        elif event.kind is EventKind.ANSWERED and event.fields.get("request") in self._waiting:
            self._waiting.discard(event.fields["request"])
            self._order({"answered": event.fields["request"]})
            if not self._waiting:
                self._screen.go_on()

    def close(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        self._write({"over": True})  # a worker of the run may have the pipe open, so its end says nothing
        os.close(self._orders)
        with suppress(subprocess.TimeoutExpired):  # it may be about to answer
            process.wait(LEAVES_WITHIN_S)
        if self._waiting:
            self._waiting.clear()
            self._screen.go_on()

    def _order(self, order: Mapping[str, Any]) -> None:
        if self._process is None:
            self._begin()
        self._write(order)

    def _write(self, order: Mapping[str, Any]) -> None:
        with suppress(OSError):  # it is gone, as its terminal is: the answer comes from elsewhere
            os.write(self._orders, json.dumps(order).encode() + b"\n")

    def _begin(self) -> None:
        root = str(Path(__file__).parents[6])
        path = os.pathsep.join(filter(None, (root, self._environ.get("PYTHONPATH"))))
        theirs, self._orders = os.pipe()
        os.set_blocking(self._orders, False)  # a prompt that is busy must not hold the run
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", MODULE, str(theirs), str(self._inventory)],
                env={**self._environ, "PYTHONPATH": path},
                # By name: while it runs, Ansible (2.19) keeps them from processes that it begins.
                stdin=0,
                stdout=1,
                stderr=2,
                pass_fds=[theirs],
            )
        finally:
            os.close(theirs)


def on_input_of(options: DispatchOptions) -> str:
    """What is done when the agent waits for a person: ``ask``, ``fail`` or ``reject``.

    Raises:
        UsageError: ``no_terminal``: to ask is wanted where nobody can be asked.
    """
    can_ask = not options.json and not options.progress_json and is_at_terminal(sys.stdin, sys.stdout)
    if options.on_input == "ask" and not can_ask:
        raise UsageError(
            "--on-input ask needs a terminal to ask at, in the foreground and without --json",
            reason_code="no_terminal",
            next_action="use --on-input fail or --on-input reject, and dx-fleet answer",
        )
    return options.on_input or ("ask" if can_ask else "fail")


@contextmanager
def asking(inventory: Path, screen: Followed, *, at_all: bool) -> Iterator[Asking]:
    """Ask at the terminal for what the agents of a run wait for.

    Args:
        inventory: The source of the fleet.
        screen: What shows the run's progress.
        at_all: Whether anybody is to be asked.
    """
    asked: Asking = _Person(inventory, screen) if at_all else _Nobody()
    try:
        yield asked
    finally:
        asked.close()
