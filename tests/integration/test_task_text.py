# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The task is data: whatever is in it reaches the model byte for byte, and nothing of it is run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import Lab, ScriptedModel

from .ahead import Ahead, ahead, chosen
from .fleet import Fleet

AWKWARD = {
    "templates": "{{ 7*7 }} {% for x in y %} {# note #} {{ lookup('pipe', 'touch x') }} {{",
    "quotes": "it's \"quoted\" `as` \\'this\\' and \\\\that\\\\",
    "lines": "one\ntwo\r\nthree\n\n\tfour\n",
    "shell": "$(touch x) `touch x`; touch x && touch x | touch x > x $HOME %PATH% !! * ~",
    "other scripts": "Grüße 👩‍💻🏴 é 你好 a\u2028b\u2029c\u0085d \u202eabc\u202c \ufeffend",
    "markup": "[bold]loud[/bold] [link=http://x]y[/link] \\[x] <b>&amp;</b> :smile:",
    "control characters": "bell\x07 escape\x1b[31mred\x1b[0m delete\x7f",
    "YAML": "key: value\n- item\n!!python/object:x {} # no comment\n---\n...",
    "numbers": "0123",
    "words of Ansible": "omit",
    "JSON": '{"task": "other", "target": "all"}',
    "surrounding space": "  padded  ",
    "a dash alone at the end": "read from - ",
    "a slash command": "/help",
    "a mention": "@file.txt and @unknown of something",
    "long": "long " * 20_000,
}


def _reached(model: ScriptedModel, session: str | None = None) -> str:
    """The text of the only prompt that the model got (of a session)."""
    (call,) = [call for call in model.prompts() if session in (None, call.session)]
    return call.last_user_text


def _untouched(fleet: Fleet, lab: Lab) -> bool:
    places = [lab.vms["epyc6"].repo("affordabot"), Path(fleet.env["HOME"]), Path("/"), Path.cwd()]
    return not any((place / "x").exists() for place in places)


@pytest.fixture(scope="module")
def sent(request: pytest.FixtureRequest, lab: Lab, whole_fleet: Fleet) -> Iterator[Ahead[str, list[object]]]:
    """What each task led to: the exit code, what the model got, and what the server stored."""

    def run(kind: str) -> list[object]:
        completed = whole_fleet.dispatch("epyc6", "affordabot", AWKWARD[kind])
        session = completed.result()["session"]
        return [completed.code, _reached(lab.model, session), whole_fleet["epyc6"].prompts(session)]

    with ahead(run, chosen(request, "kind")) as sent:
        yield sent


@pytest.mark.parametrize("kind", AWKWARD)
def test_it_reaches_the_model_as_it_is(
    fleet: Fleet, lab: Lab, sent: Ahead[str, list[object]], kind: str
) -> None:
    assert sent[kind] == [0, AWKWARD[kind], [[AWKWARD[kind]]]]
    assert _untouched(fleet, lab)


def test_it_may_begin_with_a_dash(fleet: Fleet, model: ScriptedModel) -> None:
    completed = fleet.dispatch("epyc6", "affordabot", "--", "--all -x")
    assert completed.code == 0, completed
    assert _reached(model) == "--all -x"


@pytest.mark.parametrize("piped", ["lines", "other scripts"])
def test_it_may_come_from_standard_input(fleet: Fleet, model: ScriptedModel, piped: str) -> None:
    completed = fleet.dispatch("epyc6", "affordabot", "-", stdin=AWKWARD[piped])
    assert completed.code == 0, completed
    assert _reached(model) == AWKWARD[piped]


def test_a_person_sees_it_on_one_harmless_line(fleet: Fleet, model: ScriptedModel) -> None:
    completed = fleet.command(
        "epyc6", "affordabot", AWKWARD["control characters"] + AWKWARD["lines"] + "[bold]x"
    )
    (line,) = [line for line in completed.out.splitlines() if "Task sent" in line]
    assert line.endswith("one two three four [bold]x")
    assert "\x1b" not in completed.out + completed.err


def test_what_the_agent_answers_is_harmless_too(fleet: Fleet, model: ScriptedModel) -> None:
    as_json = fleet.dispatch("epyc6", "affordabot", "@unicode")
    assert "\U0001f469" in as_json.result()["evidence"]["text"]
    completed = fleet.command("epyc6", "affordabot", "@unicode\n@say {{ 1/0 }} [red]x[/red]")
    assert completed.code == 0, completed
    assert "{{ 1/0 }} [red]x[/red]" in completed.out
    assert not any(character in completed.out for character in "\u2028\u2029\u0085\u202e\x01")


def test_the_other_options_are_data_as_well(fleet: Fleet, lab: Lab, model: ScriptedModel) -> None:
    title = "{{ 7*7 }} $(touch x) [bold]"
    result = fleet.dispatch("epyc6", "affordabot", "@say titled", "--title", title).result()
    assert fleet["epyc6"].session(result["session"])["title"] == title
    missing = fleet.dispatch("epyc6", "{{ lookup('pipe', 'touch x') }}", "@say never")
    assert missing.result()["reason_code"] == "repo_not_found"
    assert "{{ lookup" in missing.result()["message_to_human"]
    assert _untouched(fleet, lab)


@pytest.mark.parametrize(
    ("task", "reason"),
    [("", "empty_task"), (" \n\t ", "empty_task"), ("x" * (256 * 1024 + 1), "task_too_large")],
)
def test_what_cannot_be_sent_is_said_before_anything_happens(
    fleet: Fleet, model: ScriptedModel, task: str, reason: str
) -> None:
    completed = fleet.dispatch("epyc6", "affordabot", "-", stdin=task)
    assert (completed.code, completed.document()["error"]["reason_code"]) == (2, reason)
    assert model.calls() == []
