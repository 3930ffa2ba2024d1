# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible's table of moved plugins, by the real function on the real table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ansible
import pytest
from ansible.utils.collection_loader import _collection_finder as finder
from ansible_collections.dx.fleet.plugins.plugin_utils.launch.routing_cache import cache_routing

BUILTIN = ("ansible.builtin", "runtime.yml")
TABLE = Path(ansible.__file__).with_name("config") / "ansible_builtin_runtime.yml"


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the real function was called for."""
    calls: list[Any] = []
    real = finder._meta_yml_to_dict

    def counting(text: bytes, content_id: Any) -> Any:
        calls.append(content_id)
        return real(text, content_id)

    monkeypatch.setattr(finder, "_meta_yml_to_dict", counting)
    return calls


def read(folder: Path, text: bytes, content_id: Any = BUILTIN) -> Any:
    """As a new process would."""
    before = finder._meta_yml_to_dict
    cache_routing({"XDG_CACHE_HOME": str(folder)})
    try:
        return finder._meta_yml_to_dict(text, content_id)
    finally:
        finder._meta_yml_to_dict = before


def test_the_table_is_parsed_once_and_is_the_same_ever_after(parsed: list[Any], tmp_path: Path) -> None:
    text = TABLE.read_bytes()
    first, second = read(tmp_path, text), read(tmp_path, text)
    assert first == second == finder._meta_yml_to_dict(text, "direct")
    assert second["plugin_routing"]
    assert parsed == [BUILTIN, "direct"]


def test_another_table_is_another_entry(parsed: list[Any], tmp_path: Path) -> None:
    assert read(tmp_path, b"a: 1.10") == {"a": "1.10"}
    assert read(tmp_path, b"a: 1.20") == {"a": "1.20"}
    assert parsed == [BUILTIN, BUILTIN]


def test_a_collection_is_parsed_each_time(parsed: list[Any], tmp_path: Path) -> None:
    own = ("dx.fleet", "runtime.yml")
    assert [read(tmp_path, b"a: b", own) for _ in range(2)] == [{"a": "b"}] * 2
    assert parsed == [own, own]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", "null"])
def test_a_spoilt_entry_is_made_anew(parsed: list[Any], tmp_path: Path, content: str) -> None:
    read(tmp_path, b"a: b")
    (entry,) = (tmp_path / "dx-fleet").iterdir()
    entry.write_text(content)
    assert [read(tmp_path, b"a: b") for _ in range(2)] == [{"a": "b"}] * 2
    assert parsed == [BUILTIN, BUILTIN]


def test_a_folder_that_cannot_be_used_costs_nothing_but_time(parsed: list[Any], tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("in the way")
    assert [read(file, b"a: b") for _ in range(2)] == [{"a": "b"}] * 2
    assert parsed == [BUILTIN, BUILTIN]


def test_an_entry_is_written_whole_or_not_at_all(
    parsed: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    assert read(tmp_path, b"a: b") == {"a": "b"}
    assert list((tmp_path / "dx-fleet").iterdir()) == []


def test_without_a_cache_home_it_is_in_the_home(tmp_path: Path, parsed: list[Any]) -> None:
    cache_routing({"HOME": str(tmp_path), "XDG_CACHE_HOME": "relative"})
    finder._meta_yml_to_dict(b"a: b", BUILTIN)
    assert len(list((tmp_path / ".cache" / "dx-fleet").iterdir())) == 1
