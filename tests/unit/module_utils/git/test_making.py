# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A worktree is made once, found again, and refused where something stands in the way, which is named."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.dx.fleet.plugins.module_utils.git import obstacles
from ansible_collections.dx.fleet.plugins.module_utils.git.errors import GitError, GitFailed, Refused

from tests.git_clone import Clone


def test_it_is_made_at_the_remotes_default_branch_and_found_again(clone: Clone) -> None:
    made = clone.do(dispatch="d1")
    path = Path(made["path"])
    assert made["changed"]
    assert path.parent.parent == clone.root
    tip = clone.git("rev-parse", "main", at=clone.remote)
    assert (made["head"], made["base"], clone.git("rev-parse", "HEAD", at=path)) == (tip, tip, tip)
    assert clone.git("symbolic-ref", "--short", "HEAD", at=path) == made["branch"] == "dx/a"
    assert clone.git("status", "--porcelain", at=path) == ""
    assert "locked dx-fleet dispatch d1" in clone.git("worktree", "list", "--porcelain")
    again = clone.do(dispatch="d1")
    assert not again["changed"]
    assert {**again, "changed": True, "diff": made["diff"]} == made


def test_what_was_pushed_meanwhile_is_fetched(clone: Clone) -> None:
    other = clone.home / "other"
    clone.git("clone", "--quiet", str(clone.remote), str(other))
    newest = clone.commit(other)
    clone.git("push", "--quiet", at=other)
    assert clone.do(dispatch="d1")["head"] == newest
    assert clone.git("rev-parse", "main") != newest  # the person's own branch is left where it is


def test_the_branch_has_no_upstream(clone: Clone) -> None:
    clone.git("config", "branch.autoSetupMerge", "always")
    clone.do(base="origin/main")
    assert "branch.dx/a" not in clone.git("config", "--list")


@pytest.mark.parametrize("base", ["main", "origin/main", "refs/remotes/origin/main", "v1", "COMMIT"])
def test_it_begins_at_any_name_of_a_commit(clone: Clone, base: str) -> None:
    first = clone.git("rev-parse", "HEAD")
    clone.git("tag", "v1")
    assert clone.do(base=first if base == "COMMIT" else base)["base"] == first


def test_a_commit_that_only_the_remote_has_is_fetched_by_its_id(clone: Clone) -> None:
    other = clone.home / "other"
    clone.git("clone", "--quiet", str(clone.remote), str(other))
    only = clone.commit(other)
    clone.git("push", "--quiet", "origin", "HEAD:refs/elsewhere/x", at=other)
    clone.git("config", "uploadpack.allowAnySHA1InWant", "true", at=clone.remote)
    assert clone.do(base=only)["head"] == only


def test_hooks_of_the_repository_do_not_run(clone: Clone) -> None:
    ran = clone.home / "ran"
    for hook in ("post-checkout", "reference-transaction", "post-index-change", "pre-push"):
        path = clone.path / ".git" / "hooks" / hook
        path.write_text(f"#!/bin/sh\necho {hook} >> {ran}\nexit 7\n")
        path.chmod(0o755)
    made = clone.do(dispatch="d1")
    clone.do(dispatch="d1", state="pushed")
    clone.do(dispatch="d1", state="absent")
    assert made["changed"]
    assert not ran.exists()


def test_a_branch_that_is_there_is_gone_on_with(clone: Clone) -> None:
    path = clone.do()["path"]
    first = clone.git("rev-parse", "HEAD")
    work = clone.commit(path)
    clone.do(state="absent")
    found = clone.do()
    assert (found["head"], found["base"]) == (work, first)


@pytest.mark.parametrize("local", ["none", "behind", "ahead", "apart"])
def test_a_branch_of_the_remote_is_gone_on_with(clone: Clone, local: str) -> None:
    first = clone.git("rev-parse", "HEAD")
    other = clone.home / "other"
    clone.git("clone", "--quiet", str(clone.remote), str(other))
    clone.git("checkout", "--quiet", "-b", "dx/a", at=other)
    there = clone.commit(other)
    clone.git("push", "--quiet", "origin", "dx/a", at=other)
    expected = there
    if local == "behind":
        clone.git("branch", "dx/a", first)
    elif local in ("ahead", "apart"):
        clone.git("fetch", "--quiet")
        clone.git(
            "checkout", "--quiet", "--no-track", "-b", "dx/a", "origin/dx/a" if local == "ahead" else first
        )
        expected = clone.commit(clone.path, "mine.txt")
        clone.git("checkout", "--quiet", "main")
    found = clone.do()
    assert found["head"] == expected
    assert ("gone different ways" in " ".join(found["notes"])) == (local == "apart")


def test_check_mode_says_what_would_be_and_does_nothing(clone: Clone) -> None:
    before = clone.refs(), sorted(os.listdir(clone.path / ".git"))
    told = clone.do(dispatch="d1", check=True)
    assert told["changed"]
    assert told["diff"]["before"] == {}
    assert told["diff"]["after"]["branch"] == "dx/a"
    assert (clone.refs(), sorted(os.listdir(clone.path / ".git"))) == before
    assert not clone.root.exists()
    made = clone.do(dispatch="d1")
    assert made["path"] == told["path"]
    assert not clone.do(dispatch="d1", check=True)["changed"]
    assert clone.do(dispatch="d1", state="absent", check=True)["changed"]
    assert Path(made["path"]).is_dir()


def test_the_diff_shows_the_lock(clone: Clone) -> None:
    clone.do()
    diff = clone.do(dispatch="d1")["diff"]
    assert (diff["before"]["locked"], diff["after"]["locked"]) == (None, "dx-fleet dispatch d1")


def test_a_lock_is_taken_over_only_from_a_dispatch_that_ended(clone: Clone) -> None:
    path = clone.do(dispatch="b-1@1-x")["path"]
    for state in ("present", "absent"):
        for dispatch in ("b-1@2-y", None):
            with pytest.raises(Refused, match="locked by dispatch b-1@1-x"):
                clone.do(dispatch=dispatch, state=state)
    assert clone.do(dispatch="b-1@2-y", ended_dispatches=["b-1@1-x"])["path"] == path
    assert "locked dx-fleet dispatch b-1@2-y" in clone.git("worktree", "list", "--porcelain")


def test_it_is_unlocked_when_its_dispatch_ends(clone: Clone) -> None:
    clone.do(dispatch="d1")
    assert clone.do(dispatch="d1", locked=False)["changed"]
    assert not clone.do(dispatch="d1", locked=False)["changed"]
    assert clone.do(dispatch="d2")["changed"]


def test_what_a_person_locked_stays(clone: Clone) -> None:
    path = clone.do()["path"]
    clone.git("worktree", "lock", "--reason", "mine\nfor now", path)
    for state in ("present", "absent"):
        with pytest.raises(Refused, match="a person") as refused:
            clone.do(dispatch="d1", state=state)
        assert refused.value.reason_code == "worktree_locked"
        assert "\n" not in refused.value.message
    assert Path(path).is_dir()


def test_an_agent_may_change_its_branch(clone: Clone) -> None:
    path = clone.do(dispatch="d1")["path"]
    clone.git("checkout", "--quiet", "-b", "other", at=path)
    again = clone.do(dispatch="d1")
    assert (again["changed"], again["branch"]) == (False, "other")
    assert "it has other, not dx/a" in again["notes"]
    clone.do(dispatch="d1", locked=False)
    with pytest.raises(Refused) as refused:
        clone.do(dispatch="d2")
    assert refused.value.reason_code == "branch_mismatch"


def refused_as(clone: Clone, branch: str = "dx/a", **options: Any) -> tuple[str, str]:
    """The reason of a refusal, which left no branch and no worktree behind."""
    before = clone.refs(), clone.registered()
    with pytest.raises(GitError) as refused:
        clone.do(branch, **options)
    with pytest.raises(GitError) as predicted:
        clone.do(branch, check=True, **options)
    assert predicted.value.reason_code == refused.value.reason_code
    assert (clone.refs(), clone.registered()) == before
    assert "\n" not in refused.value.message
    return refused.value.reason_code, refused.value.message


@pytest.mark.parametrize(
    "name",
    ["-x", "a..b", "x.lock", "a@{b", "@{-1}", "HEAD", "@", "", "a b", "a\nb", "refs/heads/x", "a/", "/a", "a//b", "a~1",
     "0" * 40, "x" * 240, "--help", "a\x1b[31m"],
)  # fmt: skip
def test_names_that_no_branch_can_have(clone: Clone, name: str) -> None:
    clone.git("checkout", "--quiet", "-b", "before")
    clone.git("checkout", "--quiet", "main")
    assert refused_as(clone, name)[0] == "branch_name_invalid"


@pytest.mark.parametrize(
    ("there", "name"),
    [("Dx/A", "dx/a"), ("dx", "dx/a"), ("dx/a/b", "dx/a"), ("DX", "dx/a"), ("caf\u00e9", "CAF\u00c9")],
)
def test_names_that_collide(clone: Clone, there: str, name: str) -> None:
    clone.git("branch", there)
    reason, message = refused_as(clone, name)
    assert reason == "branch_collides"
    assert there in message


def test_a_name_is_composed_as_macos_would(clone: Clone) -> None:
    assert clone.do("dx/cafe\u0301")["branch"] == "dx/caf\u00e9"
    assert not clone.do("dx/caf\u00e9")["changed"]


def test_names_like_each_other_have_folders_of_their_own(clone: Clone) -> None:
    paths = {
        clone.do(name)["path"].casefold() for name in ("a/b-c", "a-b/c", "a-b-c", "a.b.c", "\u00fc", "\u00f6")
    }
    assert len(paths) == 6


def test_a_branch_that_is_out_elsewhere(clone: Clone) -> None:
    assert refused_as(clone, "main")[0] == "branch_in_use"
    clone.git("worktree", "add", "--quiet", "-b", "dx/a", str(clone.home / "elsewhere"))
    reason, message = refused_as(clone)
    assert (reason, str(clone.home / "elsewhere") in message) == ("branch_in_use", True)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"worktrees_root": "~/affordabot/trees"}, "path_in_clone"),
        ({"worktrees_root": "~/affordabot/.git"}, "path_in_clone"),
        ({"worktrees_root": "~", "path": "affordabot"}, "path_in_clone"),
        ({"worktrees_root": "/", "path": "~"}, "path_in_clone"),
        ({"path": "~/elsewhere"}, "path_outside_root"),
        ({"path": "../elsewhere"}, "path_outside_root"),
        ({"path": "."}, "path_outside_root"),
        ({"base": "nowhere"}, "base_unknown"),
        ({"base": "--all"}, "base_unknown"),
        ({"base": "0" * 39 + "1"}, "fetch_failed"),
        ({"remote": "nowhere"}, "remote_unknown"),
        ({"remote": "--upload-pack=touch x"}, "remote_unknown"),
        ({"repo": "~/nowhere"}, "not_a_repository"),
        ({"repo": "~"}, "not_a_repository"),
    ],
)
def test_what_must_not_be_a_worktree(clone: Clone, options: dict[str, Any], reason: str) -> None:
    with pytest.raises(GitError) as refused:
        clone.do(**options)
    assert refused.value.reason_code == reason
    assert clone.registered() == []
    assert not [ref for ref in clone.refs() if "dx" in ref]


def test_a_link_into_the_clone_is_seen_through(clone: Clone) -> None:
    clone.root.parent.mkdir(parents=True)
    clone.root.symlink_to(clone.path)
    assert refused_as(clone)[0] == "path_in_clone"


def test_a_folder_that_is_there(clone: Clone) -> None:
    path = Path(clone.do(check=True)["path"])
    path.mkdir(parents=True)
    (path / "file").write_text("a person's")
    assert refused_as(clone)[0] == "path_in_use"
    (path / "file").unlink()
    assert clone.do()["changed"]  # an empty one is none


def test_a_remote_that_does_not_answer(clone: Clone) -> None:
    clone.git("remote", "set-url", "origin", "ext::sleep 60")
    clone.git("config", "protocol.ext.allow", "always")
    with pytest.raises(GitError, match=r"not within 0\.3 s") as failed:
        clone.do(fetch_timeout=0.3)
    assert failed.value.reason_code == "fetch_failed"
    assert clone.registered() == []
    assert clone.do(fetch=False)["changed"]
    assert not clone.do()["changed"]  # nothing is fetched for one that is there


def test_a_clone_without_a_remote(clone: Clone) -> None:
    clone.git("remote", "remove", "origin")
    assert clone.do()["head"] == clone.git("rev-parse", "main")


def test_a_bare_clone(clone: Clone) -> None:
    assert clone.do(repo=str(clone.remote))["head"] == clone.git("rev-parse", "main")


def test_a_disk_that_is_too_small(clone: Clone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(obstacles, "RESERVE", 1 << 60)
    with pytest.raises(Refused) as refused:
        clone.do()
    assert refused.value.reason_code == "disk_full"
    assert "refs/heads/dx/a" not in clone.refs()


@pytest.mark.parametrize("state", ["missing", "not set up"])
def test_files_in_git_lfs_where_that_is_not_at_work(
    clone: Clone, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clone.commit(clone.path, ".gitattributes", "*.bin filter=lfs diff=lfs merge=lfs -text\n")
    clone.git("push", "--quiet", "origin", "main")
    found = clone.home / "bin"
    found.mkdir()
    for name in ("git", "sh"):
        (found / name).symlink_to(subprocess.check_output(["which", name], text=True).strip())
    if state == "not set up":
        (found / "git-lfs").write_text("#!/bin/sh\necho git-lfs/3.3.0\n")
        (found / "git-lfs").chmod(0o755)
    monkeypatch.setenv("PATH", str(found))
    core = clone.home / "core"
    core.mkdir()
    for each in Path(clone.git("--exec-path")).iterdir():
        if each.name != "git-lfs":
            (core / each.name).symlink_to(each)
    monkeypatch.setenv("GIT_EXEC_PATH", str(core))
    with pytest.raises(Refused) as refused:
        clone.do()
    assert refused.value.reason_code == ("lfs_missing" if state == "missing" else "lfs_not_set_up")
    assert clone.registered() == []


def test_a_clone_of_another_user(clone: Clone) -> None:
    if os.geteuid():
        pytest.skip("only root can give a file away")
    for folder, _, files in os.walk(clone.path):
        for path in [folder, *(os.path.join(folder, name) for name in files)]:
            os.chown(path, 12345, 12345)
    with pytest.raises(GitError, match="12345") as refused:
        clone.do()
    assert refused.value.reason_code == "repository_of_other_owner"
    clone.git("config", "--global", "--add", "safe.directory", str(clone.path), at=clone.home)
    with pytest.raises(GitError) as again:
        clone.do()
    assert again.value.reason_code == "repository_of_other_owner"


def test_submodules_are_named_or_fetched(clone: Clone) -> None:
    clone.git("config", "--global", "protocol.file.allow", "always", at=clone.home)
    clone.git("submodule", "--quiet", "add", str(clone.remote.parent / "prime-radiant.git"), "sub")
    clone.git("commit", "--quiet", "--message", "Add sub")
    clone.git("push", "--quiet", "origin", "main")
    made = clone.do()
    assert made["empty_submodules"] == ["sub"]
    assert clone.do(submodules=True)["empty_submodules"] == []
    assert Path(made["path"], "sub", "README.md").is_file()
    assert clone.do(state="absent")["rescue_refs"] == []


def test_an_add_that_fails_leaves_nothing(clone: Clone) -> None:
    clone.commit(clone.path, ".gitattributes", "*.txt filter=bad\n")
    clone.commit(clone.path)
    clone.git("push", "--quiet", "origin", "main")
    clone.git("config", "filter.bad.smudge", "false")
    clone.git("config", "filter.bad.required", "true")
    before = clone.refs()
    with pytest.raises(GitFailed, match="could not be made"):
        clone.do(dispatch="d1")
    assert (clone.refs(), clone.registered()) == (before, [])
    assert not list(clone.root.glob("*/*"))


def test_a_lock_file_of_git_is_named_and_left(clone: Clone) -> None:
    path = clone.do(dispatch="d1")["path"]
    lock = Path(clone.git("rev-parse", "--git-dir", at=path), "index.lock")
    lock.touch()
    assert any(str(lock) in note for note in clone.do(dispatch="d1")["notes"])
    assert lock.exists()


def test_a_worktree_whose_folder_was_deleted_by_hand_is_made_again(clone: Clone) -> None:
    path = clone.do(dispatch="d1")["path"]
    work = clone.commit(path)
    other = clone.git("worktree", "add", "--quiet", "-b", "mine", str(clone.home / "mine"))
    subprocess.run(["rm", "-rf", path, str(clone.home / "mine")], check=True)
    again = clone.do(dispatch="d1")
    assert (again["path"], again["head"], again["repaired"]) == (path, work, ["without its folder"])
    assert str(clone.home / "mine") in clone.registered(), (
        other
    )  # another's registration is not ours to prune


def test_a_registration_of_the_branch_at_a_place_that_is_gone_is_in_nobodys_way(clone: Clone) -> None:
    first = clone.do(dispatch="d1", worktrees_root=str(clone.home / "old"))["path"]
    subprocess.run(["rm", "-rf", str(clone.home / "old")], check=True)
    made = clone.do(dispatch="d1")
    assert made["path"] != first
    assert clone.registered() == [made["path"]]


def test_a_clone_with_an_awkward_name_and_worktrees_on_another_disk(clone: Clone, tmp_path: Path) -> None:
    disk = Path("/dev/shm")
    if not disk.is_dir() or disk.stat().st_dev == clone.home.stat().st_dev:
        pytest.skip("this machine has no second file system to write to")
    odd = clone.home / "-my \u00fc $(repo)"
    clone.path.rename(odd)
    with tempfile.TemporaryDirectory(dir=disk) as root:
        options = {"repo": str(odd), "worktrees_root": root, "dispatch": "d1"}
        made = clone.do(**options)
        path = Path(made["path"])
        assert path.is_relative_to(root)
        (path / "loose file").write_text("kept\n")
        gone = clone.do(state="absent", **options)
        assert not path.exists()
    (ref,) = gone["rescue_refs"]
    assert clone.git("show", f"{ref}:loose file", at=odd) == "kept"
