# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be the id of a bead."""

from __future__ import annotations

import pytest
from ansible_collections.dx.fleet.plugins.module_utils.beads.ids import is_bead_id
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    "text",
    ["bd-a1b2", "aff-33t.1", "bd-a.1.2", "my-repo-x1", "A-1", "a_b-c_d", "Flux.jl-31f9", "Flux.jl-31f9.2"],
)
def test_a_full_id(text: str) -> None:
    assert is_bead_id(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "33",
        "-x",
        "--help",
        "bd-",
        "bd",
        "bd-a b",
        "bd-a\n",
        "bd-a\0",
        "bd-\u0661",
        "bd-.1",
        "b-" + "a" * 127,
    ],
)
def test_what_is_none(text: str) -> None:
    assert not is_bead_id(text)


@given(st.text())
def test_an_id_is_neither_an_option_nor_a_path_nor_for_a_shell_or_a_template(text: str) -> None:
    if is_bead_id(text):
        assert not text.startswith("-")
        assert not set(text) & set(" \t\n\r\0/\\'\"$`;&|<>(){}[]*?!%@=:,~#")
        assert text.isascii()
        assert "-" in text
