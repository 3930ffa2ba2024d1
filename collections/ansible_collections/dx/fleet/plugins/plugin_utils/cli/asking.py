# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a person is asked for the answer that an agent waits for, and how it gets that answer."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from ..domain.errors import FleetError, UsageError
from ..domain.fleet import Fleet
from ..domain.input_request import InputRequest
from ..domain.progress import ProgressEvent
from ..launch.in_child import InChild
from .commands.answer import answer_playbook
from .dispatch_options import DispatchOptions
from .prompt import Prompt, is_at_terminal
from .terminal import Followed

__all__ = ["Asking", "asking", "on_input_of"]


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
def asking(fleet: Fleet, inventory: Path, screen: Followed, *, at_all: bool) -> Iterator[Asking]:
    """Ask at the terminal for what the agents of a run wait for.

    Args:
        fleet: The fleet.
        inventory: Its source.
        screen: What shows the run's progress.
        at_all: Whether anybody is to be asked.
    """
    if not at_all:
        yield _Nobody()
        return
    environ = dict(os.environ)  # before the run adds its own settings of Ansible

    def answer(vm: str, asked: InputRequest, answers: Sequence[str]) -> str:
        given = {"what": asked.session, "request_id": asked.id, "answers": list(answers)}
        try:
            found = InChild(environ).run(answer_playbook(fleet, inventory, [vm], given))
        except FleetError as error:
            return f"Not answered: {error.message}"
        states = [each["state"] for each in found.requests.get(vm, ())]
        if "answered" in states:
            return f"Answered: {'; '.join(answers)}"
        failed = found.outcomes.get(vm)
        return f"Not answered: {failed['message_to_human'] if failed else 'it waits for no answer any more'}"

    prompt = Prompt(sys.stdin, sys.stdout, screen, answer)
    try:
        yield prompt
    finally:
        prompt.close()
