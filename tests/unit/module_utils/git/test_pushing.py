# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A push goes forward only, and is believed when the remote has it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.dx.fleet.plugins.module_utils.git.errors import EffectUnknown, PushRefused, Refused

from tests.git_clone import Clone


@pytest.fixture
def tree(clone: Clone) -> Path:
    return Path(clone.do(dispatch="d1")["path"])


def at_the_remote(clone: Clone, branch: str = "dx/a") -> str | None:
    return (
        clone.git("for-each-ref", "--format=%(objectname)", f"refs/heads/{branch}", at=clone.remote) or None
    )


def push(clone: Clone, **options: object) -> dict[str, object]:
    return clone.do(dispatch="d1", state="pushed", **options)


def test_it_is_pushed_once(clone: Clone, tree: Path) -> None:
    commit = clone.commit(tree)
    told = push(clone, check=True)
    assert (told["changed"], told["pushed"], at_the_remote(clone)) == (True, False, None)
    first = push(clone, commit=commit)
    assert (first["changed"], first["pushed"], at_the_remote(clone)) == (True, True, commit)
    assert not push(clone)["changed"]
    assert not push(clone, check=True)["changed"]


def test_only_what_was_verified_is_pushed(clone: Clone, tree: Path) -> None:
    verified = clone.commit(tree)
    clone.commit(tree, "later.txt")
    with pytest.raises(Refused) as refused:
        push(clone, commit=verified)
    assert (refused.value.reason_code, at_the_remote(clone)) == ("head_moved", None)


def test_other_commits_there_are_never_overwritten(clone: Clone, tree: Path) -> None:
    other = clone.home / "other"
    clone.git("clone", "--quiet", str(clone.remote), str(other))
    clone.git("checkout", "--quiet", "-b", "dx/a", at=other)
    theirs = clone.commit(other, "theirs.txt")
    clone.git("push", "--quiet", "origin", "dx/a", at=other)
    clone.commit(tree)
    clone.git("config", "remote.origin.push", "+refs/heads/*:refs/heads/*")
    clone.git("config", "push.default", "matching")
    with pytest.raises(PushRefused) as refused:
        push(clone)
    assert (refused.value.reason_code, at_the_remote(clone)) == ("push_not_fast_forward", theirs)


def test_what_the_remote_has_and_more_is_pushed(clone: Clone, tree: Path) -> None:
    clone.commit(tree)
    push(clone)
    other = clone.home / "other"
    clone.git("clone", "--quiet", "--branch", "dx/a", str(clone.remote), str(other))
    clone.commit(other, "theirs.txt")
    clone.git("push", "--quiet", "origin", "dx/a", at=other)
    clone.git("fetch", "--quiet")
    assert push(clone)["changed"] is False


def refusing(clone: Clone, script: str) -> None:
    hook = clone.remote / "hooks" / "pre-receive"
    hook.write_text(f"#!/bin/sh\n{script}\n")
    hook.chmod(0o755)


def test_the_remotes_own_words_are_given(clone: Clone, tree: Path) -> None:
    clone.commit(tree)
    refusing(clone, "echo 'the branch is protected' >&2; exit 1")
    with pytest.raises(PushRefused, match="pre-receive hook declined; the branch is protected") as refused:
        push(clone)
    assert (refused.value.reason_code, at_the_remote(clone)) == ("push_refused", None)


def test_a_remote_that_takes_too_long(clone: Clone, tree: Path) -> None:
    clone.commit(tree)
    refusing(clone, "sleep 20; exit 1")
    with pytest.raises(PushRefused) as refused:
        push(clone, fetch_timeout=4)
    assert refused.value.reason_code == "push_timed_out"


def test_an_answer_that_was_lost_is_looked_for(
    clone: Clone, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A git that fails after the remote took it all."""
    commit = clone.commit(tree)
    tools = clone.home / "bin"
    tools.mkdir()
    real = os.path.join("/usr/bin", "git")
    (tools / "git").write_text(
        f'#!/bin/sh\n{real} "$@" || exit\ncase " $* " in *" push "*) exit 128;; esac\n'
    )
    (tools / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    assert push(clone)["pushed"] is True
    assert at_the_remote(clone) == commit


def test_success_of_a_push_that_did_nothing_is_not_believed(
    clone: Clone, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clone.commit(tree)
    tools = clone.home / "bin"
    tools.mkdir()
    (tools / "git").write_text(
        '#!/bin/sh\ncase " $* " in *" push "*) exit 0;; esac\nexec /usr/bin/git "$@"\n'
    )
    (tools / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    with pytest.raises(PushRefused):
        push(clone)


def test_a_remote_that_is_gone(clone: Clone, tree: Path) -> None:
    clone.commit(tree)
    clone.remote.rename(clone.remote.with_name("gone"))
    with pytest.raises(EffectUnknown) as unknown:
        push(clone)
    assert unknown.value.reason_code == "remote_unreachable"


def test_it_is_asked_where_it_pushes_to(clone: Clone, tree: Path) -> None:
    """Another address for pushes; the one for fetches already has the commit."""
    commit = clone.commit(tree)
    push(clone)
    other = clone.home / "mirror.git"
    clone.git("init", "--quiet", "--bare", str(other))
    clone.git("remote", "set-url", "--push", "origin", str(other))
    assert push(clone)["changed"] is True
    assert clone.git("rev-parse", "dx/a", at=other) == commit


def test_a_detached_head_has_nowhere_to_go(clone: Clone, tree: Path) -> None:
    clone.git("checkout", "--quiet", "--detach", at=tree)
    with pytest.raises(Refused) as refused:
        clone.do(None, state="pushed", path=str(tree))
    assert refused.value.reason_code == "head_detached"


def test_a_hook_of_the_agent_does_not_run(clone: Clone, tree: Path) -> None:
    commit = clone.commit(tree)
    clone.git("config", "core.hooksPath", str(clone.home))
    (clone.home / "pre-push").write_text("#!/bin/sh\nexit 1\n")
    (clone.home / "pre-push").chmod(0o755)
    push(clone)
    assert at_the_remote(clone) == commit
