# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person sees; nothing that an agent writes reaches a terminal raw."""

from __future__ import annotations

import io
import re
from dataclasses import replace

import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.cli.terminal import following, printable, summary_lines
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.event_kind import EventKind
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.outcome import Evidence, Outcome, State, ToolRun
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.progress import ProgressEvent
from hypothesis import given
from hypothesis import strategies as st

EVIL = "\x1b]0;owned\x07\x1b[2J\x9b31m\r\n[macmini] ok: done\u202e [red]x[/red] \ud83d"
OUTCOME = Outcome(
    State.FAILED,
    "model_error",
    "the model failed",
    next_action="dx-dispatch epyc6 affordabot 'Continue work' --session ses_1",
    vm="epyc6",
    session="ses_1",
    evidence=Evidence(
        directory="/srv/a",
        tools=(ToolRun("bash", "make test", "completed", 2),),
        tokens={"input": 100, "output": 20},
        cost=0.25,
        duration_s=1.25,
    ),
)


class Screen(io.TextIOWrapper):
    """A stream that may be a terminal."""

    def __init__(self, *, tty: bool = False, encoding: str = "utf-8") -> None:
        self.raw_bytes = io.BytesIO()
        self._tty = tty
        super().__init__(self.raw_bytes, encoding=encoding, newline="\n", write_through=True)

    def isatty(self) -> bool:
        return self._tty

    @property
    def shown(self) -> str:
        return self.raw_bytes.getvalue().decode(self.encoding)


def plain(line: str) -> str:
    """The line without the colour that is ours."""
    return re.sub(r"\x1b\[3[1236]m([a-z_, ]+)\x1b\[0m", r"\1", line)


def running(title: str, vm: str = "epyc6") -> ProgressEvent:
    return ProgressEvent(vm, EventKind.TOOL_STARTED, "ses_1", {"tool": "bash", "title": title})


def told(*events: ProgressEvent, out: Screen, quiet: bool = False) -> str:
    with following(["epyc6", "macmini"], quiet=quiet, out=out) as followed:
        for each in events:
            followed.take(each)
    return out.shown


# -- the end --


def test_the_end_says_what_became_of_it_with_the_evidence_and_what_to_do_next() -> None:
    assert summary_lines(OUTCOME, Screen()) == [
        "[epyc6] failed: the model failed",
        "    session ses_1, in /srv/a, make test -> exit 2, 120 tokens, $0.2500, 1.2 s",
        "    reason: model_error",
        "    next: dx-dispatch epyc6 affordabot 'Continue work' --session ses_1",
    ]


def test_an_end_that_nothing_of_ours_checked_is_no_success() -> None:
    outcome = Outcome(State.COMPLETED, "completed", "the agent wrote: 3 passed", vm="epyc6")
    assert summary_lines(outcome, Screen()) == ["[epyc6] finished, not verified: the agent wrote: 3 passed"]


def test_an_outcome_of_no_vm_names_none() -> None:
    outcome = Outcome(State.REFUSED, "nothing_waits", "nothing of ses_1 waits for an answer")
    assert summary_lines(outcome, Screen())[0] == "refused: nothing of ses_1 waits for an answer"


@pytest.mark.parametrize("state", list(State))
def test_on_a_terminal_only_the_mark_is_coloured(state: State) -> None:
    lines = summary_lines(replace(OUTCOME, state=state), Screen(tty=True))
    assert lines[0].count("\x1b") == 2
    assert ("\x1b[32m" in lines[0]) is (state is State.VERIFIED)
    assert plain(lines[0]) == summary_lines(replace(OUTCOME, state=state), Screen())[0]
    assert all(line.isprintable() for line in lines[1:])


@pytest.mark.parametrize("tty", [True, False])
def test_whatever_an_agent_or_a_server_says_stays_in_its_line(tty: bool) -> None:
    outcome = replace(
        OUTCOME,
        message_to_human=EVIL,
        reason_code="x",
        next_action=EVIL,
        session=EVIL,
        evidence=replace(
            OUTCOME.evidence, directory=EVIL, tools=(ToolRun(EVIL, EVIL, EVIL), ToolRun(EVIL, "", EVIL, 1))
        ),
    )
    screen = Screen(tty=tty)
    lines = summary_lines(outcome, screen)
    assert len(lines) == 4
    for line in lines:
        assert plain(line).isprintable()
        print(line, file=screen)


@given(st.text(st.characters(exclude_categories=())))
def test_any_text_is_printable_in_any_encoding(text: str) -> None:
    for encoding in ("utf-8", "ascii", "latin-1"):
        line = printable(text, Screen(encoding=encoding))
        assert line.isprintable()
        line.encode(encoding)


# -- while it runs --


def test_elsewhere_than_on_a_terminal_there_is_a_line_per_change() -> None:
    shown = told(
        ProgressEvent("epyc6", EventKind.SESSION_CREATED, "ses_1"),
        running("make test", "macmini"),
        ProgressEvent("epyc6", EventKind.COMPLETED, "ses_1", {"message": "done"}),
        out=Screen(),
    )
    assert shown == "[epyc6] Session created: ses_1\n[macmini] bash: make test\n"


def test_quiet_shows_nothing_and_still_takes_what_was_sent() -> None:
    out = Screen(tty=True)
    with following(["epyc6", "macmini"], quiet=True, out=out) as followed:
        followed.take(ProgressEvent("epyc6", EventKind.TASK_SENT, "ses_1", {"task": "Run"}))
    assert followed.sent == {"epyc6"}
    assert out.shown == ""


def test_control_characters_of_an_agent_are_shown_as_such() -> None:
    shown = told(running(EVIL), out=Screen())
    assert shown.count("\n") == 1
    assert shown.rstrip("\n").isprintable()


def test_a_screen_of_another_encoding_is_written_to() -> None:
    shown = told(running("Grüße 😀"), out=Screen(encoding="ascii"))
    assert shown == "[epyc6] bash: Gr??e ?\n"


@pytest.mark.parametrize("text", [EVIL, "[bold red]x[/]", "[link=http://evil]x[/link]", "[/]"])
def test_on_a_terminal_markup_and_control_characters_of_an_agent_do_nothing(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("NO_COLOR", raising=False)
    out = Screen(tty=True)
    shown = told(running(text), out=out)
    # What rich itself writes: colours, moves of the cursor, erasing, hiding it. Nothing else may be there.
    rest = re.sub(r"\x1b\[(\?25[lh]|[0-9;]*[mAKG]|2K)", "", shown)
    assert all(character.isprintable() or character in "\r\n" for character in rest)
    assert "\x1b]" not in shown
    assert "evil" not in shown or "[link=http://evil]x[/link]" in rest
    assert "\x1b[1;31m" not in shown
    if "\x1b" not in text:
        assert text in rest


def test_a_dumb_terminal_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    assert told(running("y"), out=Screen(tty=True)) == "[epyc6] bash: y\n"


def test_a_reader_that_went_away_stops_neither_the_run_nor_its_end() -> None:
    class Closed(Screen):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    with following(["epyc6"], quiet=False, out=Closed()) as followed:
        for number in range(2000):
            followed.take(running(str(number)))
        followed.take(ProgressEvent("epyc6", EventKind.TASK_SENT, "ses_1", {"task": "Run"}))
    assert followed.sent == {"epyc6"}
