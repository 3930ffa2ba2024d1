# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The repository's remote: what is there, fetched in a bounded time, and pushed to, never by force.

What git says of a push is a hint; what the remote has after it counts.
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass

from .command import Call, shown
from .errors import EffectUnknown, FetchFailed, PushRefused, Refused
from .obstacles import uses_lfs
from .repository import Repository

__all__ = ["Pushed", "contains", "default_branch", "fetch", "fetch_commit", "pick", "push", "tip"]


@dataclass(frozen=True)
class Pushed:
    """A commit that the remote's branch has."""

    commit: str
    changed: bool


def pick(repository: Repository, name: str | None) -> str | None:
    """The remote to use: the named one, else ``origin``, else the only one; None: the clone has none.

    Raises:
        Refused: There is no such remote, or it is not clear which.
    """
    there = repository.remotes()
    if name is not None:
        if name in there:
            return name
        raise Refused(
            f"there is no remote {shown(name)!r}", "git remote -v shows those there are", "remote_unknown"
        )
    if "origin" in there or not there:
        return "origin" if there else None
    if len(there) == 1:
        return there[0]
    raise Refused(
        f"there are the remotes {', '.join(there)}, and none is origin",
        "set remote to one of them",
        "remote_unknown",
    )


def fetch(repository: Repository, remote: str, timeout_s: float) -> None:
    """Get what is new at the remote.

    Raises:
        FetchFailed: It did not come.
    """
    _fetched(repository, ("fetch", "--no-recurse-submodules", "--end-of-options", remote), timeout_s)


def fetch_commit(repository: Repository, remote: str, commit: str, timeout_s: float) -> None:
    """Get one commit by its full id; a remote gives the tips of its branches in any case.

    Raises:
        FetchFailed: It did not come.
    """
    words = ("fetch", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules", "--end-of-options")
    _fetched(repository, (*words, remote, commit), timeout_s)


def default_branch(repository: Repository, remote: str, timeout_s: float) -> str | None:
    """The branch that the remote's HEAD names, as the clone knows it, else as the remote says."""
    git = repository.git
    known = git.call("symbolic-ref", "--quiet", f"refs/remotes/{remote}/HEAD")
    if known.ok:
        return known.out.strip()[len(f"refs/remotes/{remote}/") :]
    asked = git.call(
        "ls-remote", "--symref", "--end-of-options", remote, "HEAD", timeout_s=timeout_s, holds_lock=False
    )
    found = re.match(r"ref: refs/heads/(\S+)\tHEAD", asked.out)
    return found.group(1) if found else None


def tip(repository: Repository, remote: str, branch: str, timeout_s: float) -> str | None:
    """The commit of a branch at the place that we push to; None: the remote has no such branch.

    Raises:
        EffectUnknown: The remote can't be asked.
    """
    git = repository.git
    url = git.out("remote", "get-url", "--push", remote).splitlines()[0]
    # By the environment: an address may hold a password, and arguments can be read by anyone.
    env = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "remote.dx-fleet-push.url", "GIT_CONFIG_VALUE_0": url}
    ref = f"refs/heads/{branch}"
    call = git.call("ls-remote", "dx-fleet-push", ref, env=env, timeout_s=timeout_s, holds_lock=False)
    if not call.ok:
        raise EffectUnknown(
            f"the remote {remote} can't be asked for {branch}: {call.error_text()}",
            f"when it answers again: git ls-remote {remote} {ref}",
            "remote_unreachable",
        )
    for line in call.out.splitlines():
        commit, _, name = line.partition("\t")
        if name == ref:
            return commit
    return None


def contains(repository: Repository, remote: str, branch: str, commit: str, timeout_s: float) -> bool:
    """Whether the remote's branch has a commit, by what the remote says now.

    Raises:
        EffectUnknown: The remote can't be asked.
    """
    there = tip(repository, remote, branch, timeout_s)
    if there is None or there == commit:
        return there == commit
    return repository.is_ancestor(commit, there)  # False also where that commit is not here


def push(repository: Repository, remote: str, branch: str, commit: str, timeout_s: float) -> Pushed:
    """Bring a commit to the remote's branch of that name, which may only go forward.

    Raises:
        PushRefused: The remote did not take it; the reason is its own.
        EffectUnknown: The remote can't be asked whether it did.
    """
    if contains(repository, remote, branch, commit, timeout_s):
        return Pushed(commit, changed=False)
    if uses_lfs(repository, commit):  # whose objects its hook would send, and hooks don't run here
        _push_lfs(repository, remote, branch, timeout_s)
    call = repository.git.call(
        "push", "--porcelain", "--no-follow-tags", "--recurse-submodules=check", "--end-of-options",
        remote, f"{commit}:refs/heads/{branch}",
        timeout_s=timeout_s, holds_lock=False,
    )  # fmt: skip
    if contains(repository, remote, branch, commit, timeout_s):
        return Pushed(commit, changed=True)
    raise _refused(call, remote, branch)


def _push_lfs(repository: Repository, remote: str, branch: str, timeout_s: float) -> None:
    call = repository.git.call("lfs", "push", remote, branch, timeout_s=timeout_s, holds_lock=False)
    if not call.ok:
        raise PushRefused(
            f"the files in Git LFS did not get to {remote}: {call.error_text()}",
            f"git lfs push {remote} {branch}",
            "lfs_push_failed",
        )


def _fetched(repository: Repository, words: t.Sequence[str], timeout_s: float) -> None:
    call = repository.git.call(*words, timeout_s=timeout_s, holds_lock=False)
    if not call.ok:
        why = f"not within {timeout_s:g} s" if call.code is None else call.error_text()
        raise FetchFailed(
            f"nothing could be fetched into {repository.git.directory}: {why}",
            "see that this host reaches the remote: git fetch; or set fetch to false",
        )


def _refused(call: Call, remote: str, branch: str) -> PushRefused:
    rejected = re.search(
        r"^!\t[^\t]*\t\[(?:remote )?rejected\] \((.*)\)$|^!\t[^\t]*\t(.*)$", call.out, re.MULTILINE
    )
    why = shown(next(filter(None, rejected.groups()), "")) if rejected else call.error_text()
    said = [line[len("remote:") :].strip() for line in call.err.splitlines() if line.startswith("remote:")]
    words = "; ".join([why, *(shown(line) for line in said if line)])[:600]
    if call.code is None:
        return PushRefused(
            f"{remote} did not take {branch} in time", f"git push {remote} {branch}", "push_timed_out"
        )
    if "fetch first" in why or "non-fast-forward" in why:
        return PushRefused(
            f"{remote} has other commits on {branch}; nothing is pushed by force",
            f"bring them together: git pull --rebase {remote} {branch}",
            "push_not_fast_forward",
        )
    if rejected:
        return PushRefused(f"{remote} refused {branch}: {words}", f"git push {remote} {branch}")
    return PushRefused(
        f"{branch} was not pushed to {remote}: {words}", f"git push {remote} {branch}", "push_failed"
    )
