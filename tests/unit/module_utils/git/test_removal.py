# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A removal loses no commit and no file, whatever the agent left there."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible_collections.dx.fleet.plugins.module_utils.git.errors import Refused, RescueFailed

from tests.git_clone import Clone

TAG = "Signature: 8a477f597d28d172789f06886806bc55\n"


def removed(clone: Clone, **options: object) -> list[str]:
    """Remove the worktree; it is gone, and the repository is whole. Returns the rescue refs."""
    result = clone.do(dispatch="d1", state="absent", **options)
    assert result["changed"]
    assert clone.registered() == []
    assert not Path(result["path"]).exists()
    clone.check()
    refs: list[str] = result["rescue_refs"]
    assert set(clone.refs("refs/dx-fleet/rescue")) == set(refs)
    return refs


@pytest.fixture
def tree(clone: Clone) -> Path:
    return Path(clone.do(dispatch="d1")["path"])


def test_of_one_that_was_not_worked_in_nothing_is_left(clone: Clone) -> None:
    before = clone.refs()
    clone.do(dispatch="d1")
    assert removed(clone) == []
    assert clone.refs() == before
    assert not clone.do(dispatch="d1", state="absent")["changed"]


def test_what_is_pushed_needs_no_rescue(clone: Clone, tree: Path) -> None:
    commit = clone.commit(tree)
    assert clone.do(dispatch="d1", state="pushed")["pushed"]
    assert removed(clone) == []
    assert clone.refs()["refs/heads/dx/a"] == commit


def test_commits_that_no_remote_has(clone: Clone, tree: Path) -> None:
    commit = clone.commit(tree)
    (ref,) = removed(clone)
    assert clone.refs()[ref] == clone.refs()["refs/heads/dx/a"] == commit


def test_a_branch_is_deleted_with_its_worktree_where_its_commits_are_kept(clone: Clone, tree: Path) -> None:
    commit = clone.commit(tree)
    removed(clone, delete_branch=True)
    assert "refs/heads/dx/a" not in clone.refs()
    assert clone.kept_commit(commit)
    assert not clone.refs("refs/dx-fleet/base")


def detached(clone: Clone, tree: Path) -> list[str]:
    clone.git("checkout", "--quiet", "--detach", at=tree)
    return [clone.commit(tree)]


def amended(clone: Clone, tree: Path) -> list[str]:
    first = clone.commit(tree)
    clone.git("commit", "--quiet", "--amend", "--message", "Better", at=tree)
    return [first, clone.git("rev-parse", "HEAD", at=tree)]


def reset_away(clone: Clone, tree: Path) -> list[str]:
    commits = [clone.commit(tree, f"{number}.txt") for number in range(3)]
    clone.git("reset", "--quiet", "--hard", "HEAD~3", at=tree)
    return commits


def in_a_merge(clone: Clone, tree: Path) -> list[str]:
    start = clone.git("rev-parse", "HEAD", at=tree)
    clone.git("checkout", "--quiet", "--detach", at=tree)
    theirs = clone.commit(tree, "README.md", "theirs\n")
    clone.git("checkout", "--quiet", start, at=tree)
    ours = clone.commit(tree, "README.md", "ours\n")
    subprocess.run(["git", "merge", "--quiet", theirs], cwd=tree, check=False, capture_output=True)
    assert clone.git("diff", "--name-only", "--diff-filter=U", at=tree) == "README.md"
    return [theirs, ours]


def under_a_ref_of_the_worktree(clone: Clone, tree: Path) -> list[str]:
    made = clone.git("commit-tree", "-m", "made", "-p", "HEAD", "HEAD^{tree}", at=tree)
    clone.git("update-ref", "refs/worktree/mine", made, at=tree)
    return [made]


def hidden_by_a_replaced_commit(clone: Clone, tree: Path) -> list[str]:
    commit = clone.commit(tree)
    clone.git("replace", commit, "origin/main", at=tree)
    return [commit]


@pytest.mark.parametrize(
    "work",
    [detached, amended, reset_away, in_a_merge, under_a_ref_of_the_worktree, hidden_by_a_replaced_commit],
)
def test_commits_that_only_the_worktree_knows(
    clone: Clone, tree: Path, work: Callable[[Clone, Path], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    commits = work(clone, tree)
    monkeypatch.setenv("GIT_NO_REPLACE_OBJECTS", "1")
    assert removed(clone)
    for path in (clone.path / ".git" / "logs").rglob("*"):  # no reflog holds them either
        path.unlink() if path.is_file() else None
    assert all(map(clone.kept_commit, commits))


Files = dict[str, bytes]


def written(tree: Path, files: Files) -> Files:
    for name, data in files.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(data)
    return files


def untracked(clone: Clone, tree: Path) -> Files:
    return written(
        tree, {"new.txt": b"new", "a/b/c.txt": b"deep", "caf\u00e9 \n\t.txt": b"awkward", "-x": b"option"}
    )


def changed(clone: Clone, tree: Path) -> Files:
    return written(tree, {"README.md": b"changed"})


def ignored(clone: Clone, tree: Path) -> Files:
    (tree / ".git" if (tree / ".git").is_dir() else clone.path / ".git" / "info" / "exclude").write_text(
        "*.log\nout/\n.env\n"
    )
    return written(
        tree, {"run.log": b"a log", "out/result.bin": bytes(range(256)), ".env": b"KEY=1", "out/x/y": b"y"}
    )


def staged_and_changed_again(clone: Clone, tree: Path) -> Files:
    files = written(tree, {"README.md": b"staged"})
    clone.git("add", "README.md", at=tree)
    written(tree, {"README.md": b"later"})
    return {**files, "README.md ": b"later"}


def hidden_by_a_flag(clone: Clone, tree: Path) -> Files:
    clone.git("update-index", "--assume-unchanged", "README.md", at=tree)
    clone.git("update-index", "--skip-worktree", "Makefile", at=tree)
    return written(tree, {"README.md": b"hidden", "Makefile": b"hidden too"})


def hidden_by_the_configuration(clone: Clone, tree: Path) -> Files:
    for name, value in (
        ("status.showUntrackedFiles", "no"), ("core.fsmonitor", "true"), ("core.trustctime", "false"),
        ("core.checkStat", "minimal"), ("core.ignoreStat", "true"), ("core.fileMode", "false"),
    ):  # fmt: skip
        clone.git("config", name, value)
    clone.git("status", at=tree)
    before = os.stat(tree / "README.md")
    size = len((tree / "README.md").read_bytes())
    files = written(tree, {"README.md": b"x" * size, "new.txt": b"new"})
    os.utime(tree / "README.md", ns=(before.st_atime_ns, before.st_mtime_ns))
    return files


def of_any_line_ends(clone: Clone, tree: Path) -> Files:
    files = written(
        tree, {".gitattributes": b"* text=auto eol=lf\n*.txt filter=upper\n", "a.txt": b"one\r\ntwo\n"}
    )
    clone.git("config", "filter.upper.clean", "tr a-z A-Z")
    return files


def after_a_stale_lock_of_the_index(clone: Clone, tree: Path) -> Files:
    Path(clone.git("rev-parse", "--git-dir", at=tree), "index.lock").write_text("")
    return written(tree, {"new.txt": b"new"})


def with_a_broken_index(clone: Clone, tree: Path) -> Files:
    Path(clone.git("rev-parse", "--git-dir", at=tree), "index").write_text("nonsense")
    return written(tree, {"new.txt": b"new", "README.md": b"changed"})


def without_its_link(clone: Clone, tree: Path) -> Files:
    (tree / ".git").unlink()
    return written(tree, {"new.txt": b"new"})


def that_no_one_may_write(clone: Clone, tree: Path) -> Files:
    files = written(tree, {"kept/file": b"kept", "kept/deep/file": b"deep"})
    for folder in ("kept/deep", "kept"):
        os.chmod(tree / folder, 0o500)
    return files


@pytest.mark.parametrize(
    "work",
    [untracked, changed, ignored, staged_and_changed_again, hidden_by_a_flag, hidden_by_the_configuration,
     of_any_line_ends, after_a_stale_lock_of_the_index, with_a_broken_index, without_its_link, that_no_one_may_write],
)  # fmt: skip
def test_files_in_no_commit(clone: Clone, tree: Path, work: Callable[[Clone, Path], Files]) -> None:
    files = work(clone, tree)
    refs = removed(clone)
    assert len(refs) == 1
    for name, data in files.items():
        assert clone.kept_blob(data), name


def test_a_rescue_brings_everything_back(clone: Clone, tree: Path) -> None:
    clone.commit(tree, "committed.txt")
    written(tree, {"README.md": b"changed", "new/file.txt": b"new", "run.sh": b"#!/bin/sh\n"})
    (tree / "run.sh").chmod(0o755)
    (tree / "link").symlink_to("README.md")
    (tree / "dangling").symlink_to("/nowhere\n")
    (tree / "Makefile").unlink()
    os.mkfifo(tree / "pipe")
    (ref,) = removed(clone)
    back = clone.home / "back"
    clone.git("worktree", "add", "--quiet", "--detach", str(back), ref)
    assert (back / "README.md").read_bytes() == b"changed"
    assert (back / "new" / "file.txt").read_bytes() == b"new"
    assert (back / "committed.txt").is_file()
    assert os.access(back / "run.sh", os.X_OK)
    assert os.readlink(back / "link") == "README.md"
    assert os.readlink(back / "dangling") == "/nowhere\n"
    assert not (back / "Makefile").exists()
    assert not (back / "pipe").exists()


def test_what_a_tool_makes_again_is_not_kept(clone: Clone, tree: Path) -> None:
    (clone.path / ".git" / "info" / "exclude").write_text("node_modules\n.venv\n.cache\n__pycache__\nbuild\n")
    written(
        tree,
        {
            "node_modules/.package-lock.json": b"{}", "node_modules/x/index.js": b"made again 1",
            ".venv/pyvenv.cfg": b"home = /usr", ".venv/bin/x": b"made again 2",
            ".cache/CACHEDIR.TAG": TAG.encode(), ".cache/x": b"made again 3",
            "__pycache__/x.pyc": b"made again 4",
            "build/notes.txt": b"kept",
        },
    )  # fmt: skip
    assert len(removed(clone)) == 1
    assert clone.kept_blob(b"kept")
    assert not any(clone.kept_blob(f"made again {number}".encode()) for number in (1, 2, 3, 4))


@pytest.mark.parametrize(
    "files",
    [{"node_modules/mine.js": b"x"}, {".venv/mine": b"x"}, {".cache/CACHEDIR.TAG": b"no", ".cache/mine": b"x"},
     {"__pycache__/mine.py": b"x"}],
)  # fmt: skip
def test_a_folder_that_only_has_the_name_is_kept(clone: Clone, tree: Path, files: Files) -> None:
    (clone.path / ".git" / "info" / "exclude").write_text("node_modules\n.venv\n.cache\n__pycache__\n")
    written(tree, files)
    assert len(removed(clone)) == 1
    assert clone.kept_blob(b"x")


def refused(clone: Clone, tree: Path, reason: str) -> str:
    """A removal is refused, and everything is there as before."""
    before = clone.refs(), clone.registered(), sorted(tree.rglob("*"))
    with pytest.raises((Refused, RescueFailed)) as error:
        clone.do(dispatch="d1", state="absent")
    assert (clone.refs(), clone.registered(), sorted(tree.rglob("*"))) == before
    assert error.value.reason_code == reason
    return error.value.message


def test_files_that_are_too_large_to_keep(clone: Clone, tree: Path) -> None:
    with (tree / "huge.bin").open("wb") as file:
        file.truncate(600 << 20)
    assert "huge.bin (600 MiB)" in refused(clone, tree, "rescue_too_large")


@pytest.mark.parametrize("where", ["inside", "ignored", "in its place"])
def test_a_repository_of_its_own(clone: Clone, tree: Path, where: str) -> None:
    folder = {"inside": tree / "nested", "ignored": tree / "out" / "nested", "in its place": tree}[where]
    if where == "in its place":
        (tree / ".git").unlink()
    (clone.path / ".git" / "info" / "exclude").write_text("out\n")
    clone.git("init", "--quiet", str(folder))
    clone.commit(folder)
    assert str(folder) in refused(clone, tree, "nested_repository")


@pytest.mark.parametrize("work", ["changed", "committed", "untracked", "stashed", "not a repository"])
def test_a_submodule_with_work_of_its_own(clone: Clone, work: str) -> None:
    clone.git("config", "--global", "protocol.file.allow", "always", at=clone.home)
    clone.git("submodule", "--quiet", "add", str(clone.remote.parent / "prime-radiant.git"), "sub")
    clone.git("commit", "--quiet", "--message", "Add sub")
    clone.git("push", "--quiet", "origin", "main")
    tree = Path(clone.do(dispatch="d1", submodules=work != "not a repository")["path"])
    sub = tree / "sub"
    if work == "committed":
        clone.commit(sub)
    else:
        (sub / ("README.md" if work in ("changed", "stashed") else "new.txt")).write_text("changed")
        if work == "stashed":
            clone.git("stash", at=sub)
    assert str(sub) in refused(clone, tree, "submodule_changed")


def test_a_place_where_a_process_works(clone: Clone, tree: Path) -> None:
    (tree / "deep").mkdir()
    sleeper = subprocess.Popen(["sleep", "60"], cwd=tree / "deep")
    try:
        assert f"{sleeper.pid} (sleep 60)" in refused(clone, tree, "worktree_busy")
    finally:
        sleeper.kill()
        sleeper.wait()
    removed(clone)


def test_a_folder_that_is_no_worktree_is_left_alone(clone: Clone, tree: Path) -> None:
    clone.commit(tree)
    admin = Path(clone.git("rev-parse", "--git-dir", at=tree))
    subprocess.run(["rm", "-rf", admin], check=True)
    assert str(tree) in refused(clone, tree, "not_a_worktree")


def test_the_main_checkout_is_never_removed(clone: Clone) -> None:
    for options in ({"path": str(clone.path)}, {"path": ".", "worktrees_root": str(clone.path)}):
        with pytest.raises(Refused) as error:
            clone.do(None, state="absent", **options)
        assert error.value.reason_code == "path_in_clone"
    with pytest.raises(Refused) as error:  # by its branch: that has a place of its own, where nothing is
        clone.do("main", state="present")
    assert error.value.reason_code == "branch_in_use"
    assert not clone.do("main", state="absent")["changed"]
    assert (clone.path / "README.md").is_file()


def test_what_would_be_removed_is_said_in_check_mode(clone: Clone, tree: Path) -> None:
    clone.commit(tree)
    written(tree, {"new2.txt": b"x"})
    before = clone.refs()
    told = clone.do(dispatch="d1", state="absent", check=True)
    assert told["changed"]
    assert told["notes"] == ["would keep 1 files and the commits of 1 heads under a rescue ref"]
    assert tree.is_dir()
    assert clone.refs() == before


def test_a_worktree_whose_folder_is_gone(clone: Clone, tree: Path) -> None:
    commits = detached(clone, tree)
    subprocess.run(["rm", "-rf", tree], check=True)
    assert removed(clone)
    assert all(map(clone.kept_commit, commits))


def test_a_large_worktree_does_not_take_long(clone: Clone, tree: Path) -> None:
    written(tree, {f"many/{number}.txt": b"%d" % number for number in range(2000)})
    began = time.monotonic()
    removed(clone)
    assert time.monotonic() - began < 30
