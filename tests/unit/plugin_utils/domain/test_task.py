# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which texts are sent, and how any text is shown in one line."""

from __future__ import annotations

import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.errors import UsageError
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.task import (
    MAX_TASK_BYTES,
    check_task,
    shortened,
)
from hypothesis import given
from hypothesis import strategies as st

anything = st.text(st.characters(exclude_categories=()))


def refused(text: str) -> UsageError:
    with pytest.raises(UsageError) as caught:
        check_task(text)
    error = caught.value
    assert "\n" not in error.message
    assert error.next_action
    return error


@pytest.mark.parametrize(
    "text", ["Run make test", " x ", "a\nb", "\N{LINE SEPARATOR}x", "{{ 7 * 7 }}", "😀", "'; rm -rf /"]
)
def test_a_task_is_data_and_is_kept_to_the_letter(text: str) -> None:
    assert check_task(text) == text


@pytest.mark.parametrize("text", ["", " ", "\n\t", "\N{NO-BREAK SPACE}"])
def test_a_task_without_a_word_is_refused(text: str) -> None:
    assert refused(text).reason_code == "empty_task"


def test_the_limit_is_in_bytes_and_includes_the_last_one() -> None:
    assert MAX_TASK_BYTES == 256 * 1024
    check_task("x" * MAX_TASK_BYTES)
    check_task("ü" * (MAX_TASK_BYTES // 2))
    assert refused("x" * (MAX_TASK_BYTES + 1)).reason_code == "task_too_large"
    assert refused("ü" * (MAX_TASK_BYTES // 2) + "x").reason_code == "task_too_large"


@pytest.mark.parametrize("text", ["a\0b", "\0", "a\ud83d", "\udcff"])
def test_nul_and_lone_surrogates_are_refused(text: str) -> None:
    assert refused(text).reason_code == "bad_task_text"


@given(anything)
def test_whatever_is_given_it_is_sent_as_it_stands_or_refused_in_one_line(text: str) -> None:
    try:
        sent = check_task(text)
    except UsageError as error:
        said = error.message
    else:
        said = ""
        assert sent == text
        sent.encode("utf-8")
    assert "\n" not in said


@given(anything, st.integers(1, 40))
def test_a_shortened_text_is_one_printable_line_of_the_width(text: str, width: int) -> None:
    line = shortened(text, width)
    assert len(line) <= width
    assert line.isprintable()
    line.encode("utf-8")


def test_a_short_line_is_shown_as_it_is_and_a_long_one_says_that_it_was_cut() -> None:
    assert shortened("Run  make\ntest", 20) == "Run make test"
    assert shortened("x" * 21, 20) == "x" * 19 + "…"
    assert shortened("\x1b[31mred", 20) == "\N{REPLACEMENT CHARACTER}[31mred"
