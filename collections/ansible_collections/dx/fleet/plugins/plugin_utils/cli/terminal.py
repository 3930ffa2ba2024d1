# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person sees while a dispatch runs, and at its end."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, TextIO

from ..domain.event_kind import EventKind
from ..domain.input_request import InputQuestion, InputRequest
from ..domain.outcome import Outcome, State, shown_state
from ..domain.progress import ProgressEvent
from ..domain.progress_wording import line_of, words_of
from ..domain.task import shortened

__all__ = ["Followed", "following", "printable", "question_lines", "summary_lines"]


class _View(Protocol):
    def show(self, event: ProgressEvent) -> None:
        """Show one change."""

    def hold(self) -> None:
        """Leave the screen to somebody else for a while."""

    def go_on(self) -> None:
        """Take it back."""

    def close(self) -> None:
        """Leave the screen in order."""


class Followed:
    """What the progress of a run shows, by VM: ``sent`` holds those that have the task."""

    def __init__(self, view: _View) -> None:
        self.sent: set[str] = set()
        self._view = view
        self._showing = threading.Lock()
        self._held: list[ProgressEvent] | None = None

    def take(self, event: ProgressEvent) -> None:
        """Take one event, and show it."""
        if event.kind is EventKind.TASK_SENT:
            self.sent.add(event.vm)
        with self._showing:
            if self._held is not None:
                self._held.append(event)
            else:
                self._show(event)

    def hold(self) -> None:
        """Show nothing while a person is asked."""
        with self._showing:
            self._held = []
            self._view.hold()

    def go_on(self) -> None:
        """Show what came meanwhile, and go on."""
        with self._showing:
            held, self._held = self._held or [], None
            self._view.go_on()
            for event in held:
                self._show(event)

    def _show(self, event: ProgressEvent) -> None:
        try:
            self._view.show(event)
        except (OSError, ValueError):
            self._view = _Silent()  # nobody reads the screen any more; what happens is still taken

    def close(self) -> None:
        """Show nothing more, after the line that is being shown."""
        shown = self._showing.acquire(timeout=1)  # but a screen that takes nothing more is not waited for
        view, self._view = self._view, _Silent()
        view.close()
        if shown:
            self._showing.release()


@contextmanager
def following(
    vms: Sequence[str], *, quiet: bool, out: TextIO | None = None, as_json: TextIO | None = None
) -> Iterator[Followed]:
    """Show the progress that it is given: live on a terminal, in lines elsewhere.

    Args:
        vms: The VMs of the run.
        quiet: Show nothing.
        out: Where to; default: standard output.
        as_json: Print each event there, as a line of JSON, and nothing else.
    """
    followed = Followed(_JsonLines(as_json) if as_json else _view(vms, quiet, out or sys.stdout))
    try:
        yield followed
    finally:
        followed.close()


def _view(vms: Sequence[str], quiet: bool, out: TextIO) -> _View:
    if quiet:
        return _Silent()
    if out.isatty() and os.environ.get("TERM") != "dumb":
        try:
            return _Live(vms, out)
        except ImportError:
            pass  # without rich, lines are enough
    return _Lines(out)


class _Plain:
    """What needs no part of the screen for itself."""

    def hold(self) -> None:
        pass

    def go_on(self) -> None:
        pass

    def close(self) -> None:
        pass


class _Silent(_Plain):
    def show(self, event: ProgressEvent) -> None:
        pass


class _Lines(_Plain):
    """A line per change, for pipes and logs; the outcome comes with the summary."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def show(self, event: ProgressEvent) -> None:
        if event.kind.is_end:
            return
        print(printable(line_of(event), self._out), file=self._out, flush=True)


class _JsonLines(_Plain):
    """A line of JSON per event, for programs."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def show(self, event: ProgressEvent) -> None:
        print(json.dumps(event.as_dict()), file=self._out, flush=True)


class _Live:
    """One line per VM that is rewritten in place."""

    def __init__(self, vms: Sequence[str], out: TextIO) -> None:
        from rich.console import Console

        self._started = time.monotonic()
        self._last = dict.fromkeys(vms, "looking")
        self._console = Console(file=out)
        self._live = self._begun()

    def _begun(self) -> Any:
        from rich.live import Live

        live = Live(get_renderable=self._table, console=self._console, refresh_per_second=4, transient=True)
        live.start()
        return live

    def show(self, event: ProgressEvent) -> None:
        self._last[event.vm] = words_of(event)

    def hold(self) -> None:
        self._live.stop()

    def go_on(self) -> None:
        self._live = self._begun()

    def close(self) -> None:
        self._live.stop()

    def _table(self) -> Any:
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, 2))
        elapsed = f"{time.monotonic() - self._started:.0f} s"
        for vm, text in self._last.items():
            # Text, not markup: what an agent writes must not colour or link anything.
            table.add_row(Text(vm, style="bold"), Text(elapsed, style="dim"), Text(shortened(text, 200)))
        return table


_MARKS = {
    State.VERIFIED: "verified",
    State.PLANNED: "plan",
    State.RUNNING: "sent",
}
_COLOURS = {State.VERIFIED: "32", State.COMPLETED: "33", State.PLANNED: "36", State.RUNNING: "36"}


def summary_lines(outcome: Outcome, out: TextIO) -> list[str]:
    """The end of one VM's dispatch, for people: what became of it, the evidence, what to do next.

    Everything is made printable for ``out`` before a colour is added, on a terminal, to the mark alone.
    """
    mark = _MARKS.get(outcome.state, shown_state(outcome.state))
    shown = f"\033[{_COLOURS.get(outcome.state, '31')}m{mark}\033[0m" if out.isatty() else mark
    where = "" if outcome.vm is None else f"[{outcome.vm}] "
    lines = [f"{where}{shown}: {printable(outcome.message_to_human, out)}"]
    if facts := ", ".join(_facts(outcome)):
        lines.append(printable(f"    {facts}", out))
    asked = InputRequest.of(outcome.evidence.request) if outcome.state is State.NEEDS_INPUT else None
    if asked is not None:
        lines += [printable(line, out) for line in question_lines(asked.questions)]
    if outcome.reason_code not in (outcome.state.value, "sent"):
        lines.append(f"    reason: {outcome.reason_code}")
    if outcome.next_action:
        lines.append(printable(f"    next: {outcome.next_action}", out))
    return lines


def question_lines(questions: Iterable[InputQuestion]) -> Iterator[str]:
    """Each question that an agent asks, and its options, numbered."""
    for question in questions:
        several = " (several may be chosen, with commas)" if question.multiple else ""
        yield f"    {question.text}{several}"
        for number, each in enumerate(question.options, 1):
            yield f"      {number}. {each}"


def _facts(outcome: Outcome) -> Iterator[str]:
    evidence = outcome.evidence
    if outcome.state is State.RUNNING and outcome.dispatch:
        yield f"dispatch {outcome.dispatch}"
    if outcome.session:
        yield f"session {outcome.session}"
    if evidence.directory:
        yield f"in {evidence.directory}"
    for tool in (evidence.tools or ())[-3:]:
        ended = f"exit {tool.exit}" if tool.exit is not None else tool.status.replace("_", " ")
        yield f"{shortened(tool.title or tool.tool, 50)} -> {ended}"
    if evidence.tokens is not None:
        yield f"{evidence.tokens['input'] + evidence.tokens['output']} tokens"
    if evidence.cost:
        yield f"${evidence.cost:.4f}"
    if evidence.duration_s is not None:
        yield f"{evidence.duration_s:.1f} s"


def printable(text: str, out: TextIO) -> str:
    """The text as this stream's encoding can show it, without control characters."""
    clean = "".join(
        character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text
    )
    return clean.encode(out.encoding or "utf-8", "replace").decode(out.encoding or "utf-8", "replace")
