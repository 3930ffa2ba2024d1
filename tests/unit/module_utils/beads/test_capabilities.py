# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which `bd` is refused, and that it is asked once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from ansible_collections.dx.fleet.plugins.module_utils.beads.capabilities import capabilities_of
from ansible_collections.dx.fleet.plugins.module_utils.beads.errors import BdFailed, BdTooOld


class Asked:
    """A `bd` of a version; ``words`` are what it was asked."""

    def __init__(self, tmp_path: Path, version: str, help_text: str = "--claim") -> None:
        self.words: list[Sequence[str]] = []
        self.answers = {"version": version, "update": help_text}
        self.folder = tmp_path
        self.executable = tmp_path / "bd"
        self.executable.write_text("one")

    def __call__(self, words: Sequence[str]) -> str:
        self.words.append(words)
        return self.answers[words[0]]

    def capabilities(self) -> tuple[str, bool]:
        found = capabilities_of(str(self.executable), str(self.folder), self)
        return found.version, found.guards


def version(number: str) -> str:
    return json.dumps({"version": number, "build": "x", "schema_version": 1})


@pytest.mark.parametrize(
    "number", ["0.57.0", "0.63.3", "1.0.3", "1.0.4", "1.1.0", "1.2.2", "1.3.1", "v1.0.4-dev", "2.0.0"]
)
def test_a_bd_whose_claims_are_a_lock(tmp_path: Path, number: str) -> None:
    assert Asked(tmp_path, version(number)).capabilities() == (number, False)


@pytest.mark.parametrize(
    "number", ["0.56.9", "0.49.4", "0.9.100", "1.0.5", "1.1.1", "1.2.0", "1.2.1", "v1.0.5", "dev", "", "1.3"]
)
def test_one_that_is_refused_with_which_to_install(tmp_path: Path, number: str) -> None:
    asked = Asked(tmp_path, version(number))
    for _ in range(2):  # also by what was kept
        with pytest.raises(BdTooOld) as refused:
            asked.capabilities()
        assert "1.0.4" in refused.value.next_action


@pytest.mark.parametrize(
    "answer", ["", "<html>", "null", "[]", '{"version"', "bd version 1.0.4", "[" * 100_000]
)
def test_an_answer_that_is_no_version_is_said_and_not_kept(tmp_path: Path, answer: str) -> None:
    asked = Asked(tmp_path, answer)
    with pytest.raises(BdFailed, match="something else"):
        asked.capabilities()
    asked.answers["version"] = version("1.0.4")
    assert asked.capabilities() == ("1.0.4", False)


def test_guards_are_looked_for_and_not_concluded_from_the_version(tmp_path: Path) -> None:
    assert Asked(tmp_path, version("1.0.4"), "--if-assignee string").capabilities() == ("1.0.4", True)


def test_it_is_asked_once_per_binary(tmp_path: Path) -> None:
    asked = Asked(tmp_path, version("1.0.4"))
    assert asked.capabilities() == asked.capabilities()
    assert len(asked.words) == 2
    asked.executable.write_text("another one")
    asked.answers["version"] = version("1.3.1")
    assert asked.capabilities() == ("1.3.1", False)
    assert len(asked.words) == 4


@pytest.mark.parametrize("kept", ["", "null", "[]", "{}", '{"key": []}', "\0", "[" * 100_000])
def test_what_was_kept_and_is_spoiled_is_asked_again(tmp_path: Path, kept: str) -> None:
    asked = Asked(tmp_path, version("1.0.4"))
    (tmp_path / "bd-capabilities.json").write_text(kept)
    assert asked.capabilities() == ("1.0.4", False)


def test_an_answer_that_cannot_be_kept_is_used_all_the_same(tmp_path: Path) -> None:
    asked = Asked(tmp_path, version("1.0.4"))
    asked.folder = tmp_path / "missing"
    assert asked.capabilities() == ("1.0.4", False)
