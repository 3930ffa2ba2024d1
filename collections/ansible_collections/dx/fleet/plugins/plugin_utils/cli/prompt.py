# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asking the person at the terminal what an agent wants to know, while its dispatch is followed.

It is a process of its own: no thread stands beside the forks of the run. It gets its orders in lines of JSON
through a pipe, and has the terminal as its standard input and output. The answer may as well come from
elsewhere: the prompt is withdrawn then. All that the agent wrote is shown without control characters, and
nothing is read but lines that were typed after the question stood there.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import termios
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

from ..domain.errors import FleetError
from ..domain.fleet import Fleet
from ..domain.input_request import InputQuestion, InputRequest
from ..launch.in_child import InChild
from ..text.printable import is_text, shortened
from .fleet_playbook import playbook_for
from .fleet_source import find_fleet
from .terminal import printable, question_lines

__all__ = ["Prompt", "chosen", "is_at_terminal", "main"]

FOREGROUND_EVERY_S = 0.5
LINE = 4096  # bytes, the longest line that a terminal hands over

Answer = Callable[[str, InputRequest, Sequence[str]], str | None]
"""Answers a request on a VM; returns why that was not possible."""


class Orders:
    """What the run says: ``{"ask": request, "vm": name}``, ``{"answered": id}``, ``{"over": true}``."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.asked: list[tuple[str, InputRequest]] = []
        self.answered: set[str] = set()
        self.over = False
        self._rest = b""

    def take(self) -> None:
        """Wait for the next order, and take all that came."""
        data = os.read(self.descriptor, 65536)
        self.over = self.over or not data
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            with suppress(ValueError):  # there was no room for the beginning of it
                self._take(json.loads(line))

    def is_wanted(self, asked: InputRequest) -> bool:
        """Whether a request still waits for its answer."""
        return not self.over and asked.id not in self.answered

    def _take(self, order: Mapping[str, Any]) -> None:
        if "over" in order:
            self.over = True
        elif "answered" in order:
            self.answered.add(order["answered"])
        elif (asked := InputRequest.of(order.get("ask"))) is not None:
            self.asked.append((order["vm"], asked))


class Prompt:
    """Asks for one answer at a time.

    Args:
        source: The terminal's input.
        out: Where the question is shown.
        orders: What to ask.
        answer: Answers the request.
    """

    def __init__(self, source: TextIO, out: TextIO, orders: Orders, answer: Answer) -> None:
        self._fd = source.fileno()
        self._out = out
        self._orders = orders
        self._answer = answer

    def run(self) -> None:
        """Ask until the run is over.

        Raises:
            OSError: The terminal is gone.
        """
        while not self._orders.over:
            if not self._orders.asked:
                self._orders.take()
                continue
            vm, asked = self._orders.asked.pop(0)
            if self._orders.is_wanted(asked):
                self._ask(vm, asked)

    def _ask(self, vm: str, asked: InputRequest) -> None:
        self._show(f"[{shortened(vm)}] The agent waits for an answer, here or by dx-fleet answer:")
        termios.tcflush(self._fd, termios.TCIFLUSH)  # what was typed before is no answer to this
        answers: list[str] = []
        for question in asked.questions:
            for line in question_lines([question]):
                self._show(line)
            answer = self._one_answer(asked, question)
            if answer is None:
                return
            answers.append(answer)
        why = self._answer(vm, asked, answers)
        if why is not None:
            self._show(f"Not answered: {why}")

    def _one_answer(self, asked: InputRequest, question: InputQuestion) -> str | None:
        """What was typed; None where the answer came from elsewhere, or the input has ended."""
        while True:
            line = self._line(asked)
            if line is None:
                return None
            answer = chosen(question, line, is_permission=asked.is_permission)
            if answer is not None:
                return answer
            self._show(_how_to_answer(asked, question))

    def _line(self, asked: InputRequest) -> str | None:
        print("> ", end="", file=self._out, flush=True)
        while self._orders.is_wanted(asked):
            ready, _, _ = select.select([self._fd, self._orders.descriptor], [], [], FOREGROUND_EVERY_S)
            if self._orders.descriptor in ready:
                self._orders.take()
            elif self._fd in ready and self._is_in_foreground():
                return self._read()
        termios.tcflush(self._fd, termios.TCIFLUSH)
        self._show("" if self._orders.over else "\nAnswered elsewhere.")
        return None

    def _read(self) -> str | None:
        data = os.read(self._fd, LINE)
        if data:
            return data.decode("utf-8", "replace")
        self._show("")
        self._show("Not answered here. The dispatch is followed on; Ctrl-C detaches from it.")
        return None

    def _is_in_foreground(self) -> bool:
        """Whether what is typed is for us: a job in the background that reads is stopped."""
        return os.tcgetpgrp(self._fd) == os.getpgrp()

    def _show(self, text: str) -> None:
        for line in text.split("\n"):
            print(printable(line, self._out), file=self._out, flush=True)


def main(descriptor: int, inventory: Path) -> int:
    """The process: ask what the orders say, until they end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the run, whose end is ours
    fleet, source = find_fleet(inventory)
    orders = Orders(descriptor)
    try:
        Prompt(sys.stdin, sys.stdout, orders, _answering(fleet, source)).run()
    except OSError:
        return 1  # the terminal is gone
    return 0


def _answering(fleet: Fleet, inventory: Path) -> Answer:
    def answer(vm: str, asked: InputRequest, answers: Sequence[str]) -> str | None:
        given = {"what": asked.session, "request_id": asked.id, "answers": list(answers)}
        try:
            found = InChild().run(playbook_for("answer", fleet, inventory, [vm], given))
        except FleetError as error:
            return error.message
        if "answered" in [each["state"] for each in found.requests.get(vm, ())]:
            return None
        failed = found.outcomes.get(vm)
        return str(failed["message_to_human"]) if failed else "it waits for no answer any more"

    return answer


def is_at_terminal(source: TextIO | None, out: TextIO | None) -> bool:
    """Whether a person can be asked there: both are a terminal, and this process is its foreground job."""
    if source is None or out is None:
        return False
    try:
        return source.isatty() and out.isatty() and os.tcgetpgrp(source.fileno()) == os.getpgrp()
    except (OSError, ValueError):
        return False


def chosen(question: InputQuestion, typed: str, *, is_permission: bool) -> str | None:
    """The answer that a line means: an option, its number, or any text; None: it must be typed again.

    A permission is granted by its own words alone, and rejected with a text for the agent by ``reject TEXT``.
    """
    text = typed.strip()
    if not text or not is_text(text):
        return None
    if text in question.options:
        return text
    if text.isascii() and text.isdigit():
        number = int(text)
        if 1 <= number <= len(question.options):
            return question.options[number - 1]
    if not is_permission:
        return text
    word, _, why = text.partition(" ")
    return why.strip() or None if word == "reject" else None


def _how_to_answer(asked: InputRequest, question: InputQuestion) -> str:
    if asked.is_permission:
        return "Type once, always or reject, or reject and a text for the agent."
    return "Type an option, its number, or a text." if question.options else "Type a text."


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), Path(sys.argv[2])))
