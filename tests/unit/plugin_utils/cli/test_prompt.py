# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a line at the prompt means, and when nobody is asked at all."""

from __future__ import annotations

import io

import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.cli.prompt import chosen, is_at_terminal
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.input_request import InputQuestion

COLOUR = InputQuestion("Which?", ("red", "blue", "3"))
PERMISSION = InputQuestion("May it?", ("once", "always", "reject"))


@pytest.mark.parametrize(
    ("question", "typed", "wanted"),
    [
        (COLOUR, "red\n", "red"),
        (COLOUR, " 2 \n", "blue"),
        (COLOUR, "3\n", "3"),  # an option goes before a number
        (COLOUR, "4\n", "4"),
        (COLOUR, "0\n", "0"),
        (COLOUR, "a dark red\n", "a dark red"),
        (COLOUR, "\n", None),
        (COLOUR, "a\0b\n", None),
        (COLOUR, "²\n", "²"),
        (PERMISSION, "once\n", "once"),
        (PERMISSION, "2\n", "always"),
        (PERMISSION, "reject\n", "reject"),
        (PERMISSION, "reject use make test\n", "use make test"),
        (PERMISSION, "onec\n", None),  # never a rejection by a slip
        (PERMISSION, "yes\n", None),
        (PERMISSION, "9\n", None),
        (PERMISSION, "reject \n", "reject"),
    ],
)
def test_what_a_line_means(question: InputQuestion, typed: str, wanted: str | None) -> None:
    assert chosen(question, typed, is_permission=question is PERMISSION) == wanted


def test_nobody_is_asked_where_nobody_sits() -> None:
    assert not is_at_terminal(io.StringIO(), io.StringIO())
    assert not is_at_terminal(None, None)
