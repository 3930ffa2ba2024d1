# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asking the person at the terminal what an agent wants to know, while its dispatch is followed.

The answer may as well come from elsewhere: the prompt is withdrawn then. All that the agent wrote is shown
without control characters, and nothing is read but lines that were typed after the question stood there.
"""

from __future__ import annotations

import os
import queue
import select
import termios
import threading
from collections.abc import Callable, Sequence
from typing import Protocol, TextIO

from ..domain.event_kind import EventKind
from ..domain.input_request import InputQuestion, InputRequest
from ..domain.progress import ProgressEvent
from ..text.printable import is_text, shortened
from .terminal import printable, question_lines

__all__ = ["Prompt", "Screen", "chosen", "is_at_terminal"]

FOREGROUND_EVERY_S = 0.5
LINE = 4096  # bytes, the longest line that a terminal hands over

Answer = Callable[[str, InputRequest, Sequence[str]], str]
"""Answers a request on a VM; returns what became of that, in words."""


class Screen(Protocol):
    """What shows the progress of the run."""

    def hold(self) -> None:
        """Show nothing for now."""

    def go_on(self) -> None:
        """Show what came meanwhile, and go on."""


class Prompt:
    """Asks for one answer at a time, in a thread of its own.

    Args:
        source: The terminal's input.
        out: Where the question is shown.
        screen: Is held meanwhile.
        answer: Answers the request.
    """

    def __init__(self, source: TextIO, out: TextIO, screen: Screen, answer: Answer) -> None:
        self._fd = source.fileno()
        self._out = out
        self._screen = screen
        self._answer = answer
        self._asked: queue.SimpleQueue[tuple[str, InputRequest]] = queue.SimpleQueue()
        self._answered: set[str] = set()
        self._is_open = False
        self._woken, self._wake = os.pipe()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def take(self, event: ProgressEvent) -> None:
        """Take one event of the run; a question is put into the line of those to ask."""
        if event.kind is EventKind.ASKED:
            asked = InputRequest.of(event.fields.get("request"))
            if asked is not None:  # else it was too long for the bus, and is answered elsewhere
                self._asked.put((event.vm, asked))
        elif event.kind is EventKind.ANSWERED:
            self._answered.add(str(event.fields.get("request")))
            os.write(self._wake, b"x")

    def close(self) -> None:
        """Leave the line of a prompt that stands there; nothing is asked any more."""
        if self._is_open:
            self._is_open = False
            self._show("")

    def _run(self) -> None:
        while True:
            vm, asked = self._asked.get()
            if asked.id in self._answered:
                continue
            self._screen.hold()
            try:
                self._ask(vm, asked)
            except OSError:
                return  # the terminal is gone
            finally:
                self._screen.go_on()

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
        self._show(self._answer(vm, asked, answers))

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
        self._is_open = True
        try:
            while asked.id not in self._answered:
                ready, _, _ = select.select([self._fd, self._woken], [], [], FOREGROUND_EVERY_S)
                if self._woken in ready:
                    os.read(self._woken, 512)
                elif self._fd in ready and self._is_in_foreground():
                    return self._read()
        finally:
            self._is_open = False
        termios.tcflush(self._fd, termios.TCIFLUSH)
        self._show("")
        self._show("Answered elsewhere.")
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

    def _show(self, line: str) -> None:
        print(printable(line, self._out), file=self._out, flush=True)


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
