# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the workspace is, by any of the ways in which `bd` finds it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ansible_collections.dx.fleet.plugins.module_utils.beads.errors import NoWorkspace, WorkspaceUnusable
from ansible_collections.dx.fleet.plugins.module_utils.beads.workspace import find_workspace, own_folder


@pytest.fixture(autouse=True)
def no_beads_dir(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BEADS_DIR", raising=False)


def test_it_is_the_nearest_at_or_above(tmp_path: Path) -> None:
    (tmp_path / ".beads").mkdir()
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    assert find_workspace(str(below)) == str(tmp_path / ".beads")
    assert find_workspace(str(tmp_path / ".beads")) == str(tmp_path / ".beads")
    (below / ".beads").mkdir()
    assert find_workspace(str(below)) == str(below / ".beads")


def test_a_given_folder_goes_before_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "other"):
        (tmp_path / name / ".beads").mkdir(parents=True)
    monkeypatch.setenv("BEADS_DIR", str(tmp_path / "other" / ".beads"))
    assert find_workspace() == str(tmp_path / "other" / ".beads")
    assert find_workspace(str(tmp_path / "one")) == str(tmp_path / "one" / ".beads")


def test_what_was_found_by_another_name_is_found_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The controller finds it by BEADS_DIR, and gives the folder to the module."""
    (tmp_path / ".beads").mkdir()  # of another project, above it
    named = tmp_path / "tracker-data"
    named.mkdir()
    (named / "metadata.json").write_text(json.dumps({"database": "dolt", "backend": "dolt"}))
    monkeypatch.setenv("BEADS_DIR", str(named))
    assert find_workspace(find_workspace()) == str(named)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"name": "a package"}', "[" * 100_000])
def test_another_file_of_that_name_is_no_workspace(tmp_path: Path, text: str) -> None:
    (tmp_path / ".beads").mkdir()
    package = tmp_path / "package"
    package.mkdir()
    (package / "metadata.json").write_text(text)
    assert find_workspace(str(package)) == str(tmp_path / ".beads")


def test_where_there_is_none_none_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NoWorkspace, match=str(tmp_path)):
        find_workspace(str(tmp_path))
    (tmp_path / "there" / ".beads").mkdir(parents=True)
    with pytest.raises(NoWorkspace, match="no folder"):
        find_workspace(str(tmp_path / "there" / "mistyped"))
    monkeypatch.setenv("BEADS_DIR", str(tmp_path / "none"))
    with pytest.raises(NoWorkspace, match="BEADS_DIR"):
        find_workspace()
    assert not (tmp_path / "none").exists()


def test_a_redirect_is_followed_once(tmp_path: Path) -> None:
    for name in ("main", "worktree"):
        (tmp_path / name / ".beads").mkdir(parents=True)
    redirect = tmp_path / "worktree" / ".beads" / "redirect"
    redirect.write_text("../main/.beads\n")
    (tmp_path / "main" / ".beads" / "redirect").write_text("../worktree/.beads\n")
    assert find_workspace(str(tmp_path / "worktree")) == str(tmp_path / "main" / ".beads")
    for target in (b"", b"../nowhere", b"\xff", b"a\0b"):
        redirect.write_bytes(target)
        assert find_workspace(str(tmp_path / "worktree")) == str(tmp_path / "worktree" / ".beads")


def test_our_folder_is_kept_from_git_and_made_once(tmp_path: Path) -> None:
    folder = own_folder(str(tmp_path))
    assert own_folder(str(tmp_path)) == folder
    assert (Path(folder) / ".gitignore").read_text() == "*\n"


def test_a_workspace_in_which_nothing_can_be_kept_is_named(tmp_path: Path) -> None:
    (tmp_path / "dx-fleet-locks").write_text("a file is in the way")
    with pytest.raises(WorkspaceUnusable, match="dx-fleet-locks") as unusable:
        own_folder(str(tmp_path))
    assert str(tmp_path) in unusable.value.next_action
