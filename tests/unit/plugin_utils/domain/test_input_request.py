# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an agent asks is read in bounds, whatever a server or an agent sends."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.input_request import InputRequest


@pytest.mark.parametrize("data", [None, "x", [], {}, {"id": 5}, {"id": None, "questions": []}])
def test_what_is_no_request_is_none(data: Any) -> None:
    assert InputRequest.of(data) is None


@pytest.mark.parametrize(
    ("data", "words", "answers"),
    [
        (
            {"permission": "bash", "patterns": ["ls"]},
            "May the agent use bash: ls (once | always | reject)",
            ["once"],
        ),
        ({"permission": 7, "patterns": "ls"}, "May the agent use 7:", ["once"]),
        ({"questions": [{"question": "Why?", "options": []}]}, "Why?", ["TEXT"]),
        ({"questions": "x"}, "", ["TEXT"]),
        (
            {
                "questions": [
                    None,
                    {"question": "A\n\x1b[2J?", "options": [{"label": "a\x1b"}, {"label": "b"}, 7]},
                ]
            },
            "A \ufffd[2J? (b)",
            ["b"],
        ),
    ],
)
def test_it_is_shown_in_a_line(data: dict[str, Any], words: str, answers: list[str]) -> None:
    asked = InputRequest.of({"id": "r", "session": "ses_1", **data})
    assert asked is not None
    assert asked.words.startswith(words)
    assert asked.first_answers() == answers
    assert asked.words.isprintable()
    again = InputRequest.of(asked.as_request())
    assert again == asked


def test_it_fits_the_bus_however_much_is_asked() -> None:
    huge = {"question": "q" * 10**6, "options": [{"label": str(n)} for n in range(1000)]}
    asked = InputRequest.of({"id": "r", "questions": [huge] * 1000})
    assert asked is not None
    assert len(str(asked.as_request())) < 60_000
