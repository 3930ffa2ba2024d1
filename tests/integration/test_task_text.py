# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The task is data: whatever is in it reaches the model byte for byte, and nothing of it is run.

What can't be sent at all is in test_bad_input.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.command import Completed
from tests.lab import Lab, ScriptedModel

from .ahead import Ahead, ahead, chosen
from .fleet import Fleet

# Awkward wherever it stands in a text: all of it is sent as one.
ANYWHERE = {
    "templates": "{{ 7*7 }} {% for x in y %} {# note #} {{ lookup('pipe', 'touch x') }} {{",
    "quotes": "it's \"quoted\" `as` \\'this\\' and \\\\that\\\\",
    "lines": "one\ntwo\r\nthree\n\n\tfour\n",
    "shell": "$(touch x) `touch x`; touch x && touch x | touch x > x $HOME %PATH% !! * ~",
    "other scripts": "Grüße 👩‍💻🏴 é 你好 a\u2028b\u2029c\u0085d \u202eabc\u202c \ufeffend",
    "markup": "[bold]loud[/bold] [link=http://x]y[/link] \\[x] <b>&amp;</b> :smile:",
    "control characters": "bell\x07 escape\x1b[31mred\x1b[0m delete\x7f",
    "long": "long " * 20_000,
}
BETWEEN = "\n-----\n"
TOGETHER = BETWEEN.join(ANYWHERE.values())

# Awkward because there is nothing else.
ALONE = {
    "YAML": "key: value\n- item\n!!python/object:x {} # no comment\n---\n...",
    "numbers": "0123",
    "words of Ansible": "omit",
    "JSON": '{"task": "other", "target": "all"}',
    "surrounding space": "  padded  ",
    "a dash alone at the end": "read from - ",
    "a slash command": "/help",
    "a mention": "@file.txt and @unknown of something",
}


def _reached(model: ScriptedModel, session: str | None = None) -> str:
    """The text of the only prompt that the model got (of a session)."""
    (call,) = [call for call in model.prompts() if session in (None, call.session)]
    return call.last_user_text


def _untouched(fleet: Fleet, lab: Lab) -> bool:
    places = [lab.vms["epyc6"].repo("affordabot"), Path(fleet.env["HOME"]), Path("/"), Path.cwd()]
    return not any((place / "x").exists() for place in places)


@dataclass(frozen=True)
class Sent:
    """What a task led to: the exit code, what the model got, and what the server stored."""

    code: int
    reached: str
    stored: list[list[str]]


@pytest.fixture(scope="module")
def sent(request: pytest.FixtureRequest, lab: Lab, whole_fleet: Fleet) -> Iterator[Ahead[str, Sent]]:
    """What each task led to."""

    def run(task: str) -> Sent:
        completed = whole_fleet.dispatch("epyc6", "affordabot", task)
        session = completed.result()["session"]
        return Sent(completed.code, _reached(lab.model, session), whole_fleet["epyc6"].prompts(session))

    with ahead(run, [TOGETHER, *(ALONE[kind] for kind in chosen(request, "alone"))]) as sent:
        yield sent


@pytest.mark.parametrize("alone", ALONE)
def test_it_reaches_the_model_as_it_is(fleet: Fleet, lab: Lab, sent: Ahead[str, Sent], alone: str) -> None:
    task = ALONE[alone]
    assert sent[task] == Sent(0, task, [[task]])
    assert _untouched(fleet, lab)


@pytest.mark.parametrize("part", ANYWHERE)
def test_each_part_of_it_reaches_the_model_as_it_is(
    fleet: Fleet, lab: Lab, sent: Ahead[str, Sent], part: str
) -> None:
    found = sent[TOGETHER]
    place = list(ANYWHERE).index(part)
    assert found.code == 0
    assert found.reached.split(BETWEEN)[place] == ANYWHERE[part]
    assert [[text.split(BETWEEN)[place] for text in prompt] for prompt in found.stored] == [[ANYWHERE[part]]]
    assert _untouched(fleet, lab)


def test_it_may_begin_with_a_dash(fleet: Fleet, model: ScriptedModel) -> None:
    completed = fleet.dispatch("epyc6", "affordabot", "--", "--all -x")
    assert completed.code == 0, completed
    assert _reached(model) == "--all -x"


def test_it_may_come_from_standard_input(fleet: Fleet, model: ScriptedModel) -> None:
    completed = fleet.dispatch("epyc6", "affordabot", "-", stdin=TOGETHER)
    assert completed.code == 0, completed
    assert _reached(model) == TOGETHER


@pytest.fixture(scope="module")
def shown(whole_fleet: Fleet) -> Completed:
    """What a person sees of a task and of an answer that are both awkward."""
    answer = "@unicode\n@say {{ 1/0 }} [red]x[/red]\n"
    task = answer + ANYWHERE["control characters"] + ANYWHERE["lines"] + "[bold]x"
    return whole_fleet.command("epyc6", "affordabot", task)


def test_a_person_sees_it_on_one_harmless_line(shown: Completed) -> None:
    (line,) = [line for line in shown.out.splitlines() if "Task sent" in line]
    assert line.endswith("one two three four [bold]x")
    assert "\x1b" not in shown.out + shown.err


def test_what_the_agent_answers_is_harmless_too(fleet: Fleet, shown: Completed) -> None:
    as_json = fleet.dispatch("epyc6", "affordabot", "@unicode")
    assert "\U0001f469" in as_json.result()["evidence"]["text"]
    assert shown.code == 0, shown
    assert "{{ 1/0 }} [red]x[/red]" in shown.out.partition("Task sent")[2].partition("\n")[2]
    assert not any(character in shown.out for character in "\u2028\u2029\u0085\u202e\x01")


def test_the_other_options_are_data_as_well(fleet: Fleet, lab: Lab, model: ScriptedModel) -> None:
    title = "{{ 7*7 }} $(touch x) [bold]"
    result = fleet.dispatch("epyc6", "affordabot", "@say titled", "--title", title).result()
    assert fleet["epyc6"].session(result["session"])["title"] == title
    missing = fleet.dispatch("epyc6", "{{ lookup('pipe', 'touch x') }}", "@say never")
    assert missing.result()["reason_code"] == "repo_not_found"
    assert "{{ lookup" in missing.result()["message_to_human"]
    assert _untouched(fleet, lab)
