# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a worktree holds that no commit on a remote has.

Nothing the agent can set in the repository hides a file from it: files are compared by content, with an index
of our own.
"""

from __future__ import annotations

import os
import re
import tempfile
import typing as t
from dataclasses import dataclass, field

from .command import Git, command_line, shown
from .errors import RescueFailed
from .repository import Repository, Worktree

__all__ = ["OwnIndex", "Unsaved", "regenerable", "unsaved"]

_CACHE_TAG = b"Signature: 8a477f597d28d172789f06886806bc55"  # https://bford.info/cachedir/
_NODE_MODULES = (".package-lock.json", ".yarn-integrity", ".yarn-state.yml", ".modules.yaml")
_OTHER_HEADS = ("MERGE_HEAD", "CHERRY_PICK_HEAD", "REVERT_HEAD", "REBASE_HEAD", "ORIG_HEAD")


@dataclass(frozen=True)
class Unsaved:
    """What would be lost with a worktree.

    Attributes:
        head: Its commit; None before the first one.
        head_on_remote: Whether a remote has it.
        changed: Files that are not as HEAD has them, or are not in it: path -> whether it is there.
        ignored: Files that git ignores and that no tool would make again.
        others: Commits that only this worktree's index, reflog or unfinished operation knows.
    """

    head: str | None
    head_on_remote: bool
    changed: t.Mapping[bytes, bool] = field(default_factory=dict)
    ignored: tuple[bytes, ...] = ()
    others: tuple[str, ...] = ()

    @property
    def files(self) -> bool:
        """Whether there is a file to keep; one that is only missing is in HEAD."""
        return any(self.changed.values()) or bool(self.ignored)

    @property
    def nothing(self) -> bool:
        """Whether all of it is on a remote."""
        return not (self.files or self.others or not (self.head is None or self.head_on_remote))


def unsaved(repository: Repository, tree: Worktree, known: str | None = None) -> Unsaved:
    """What would be lost with a worktree.

    Args:
        repository: Its repository.
        tree: The worktree; its folder may be gone.
        known: A commit whose files are kept already, to compare with in HEAD's place.

    Raises:
        RescueFailed: It holds what can't be kept, such as another repository.
    """
    admin = repository.admin_dir(tree)
    on_remote = tree.head is not None and repository.on_remote(tree.head)
    if admin is None:
        return Unsaved(tree.head, on_remote)
    others = _others(repository, admin, tree)
    if not os.path.isdir(tree.path):
        return Unsaved(tree.head, on_remote, others=others)
    _check_link(tree.path, admin)
    git = repository.git.at(admin, tree.path)
    with OwnIndex(git, known or tree.head) as env:
        changed, ignored = _status(git, env)
        submodules = _submodules(git, env)
    for name in submodules:
        _check_submodule(git, name)
        changed.pop(name, None)
    for name in changed:
        if name.endswith(b"/"):  # git does not look into a repository that it does not know
            raise _nested(tree.path, name)
    return Unsaved(tree.head, on_remote, changed, tuple(_ignored_files(tree.path, ignored)), others)


def regenerable(folder: str) -> bool:
    """Whether a folder is one that a tool made and would make again, by the mark that the tool left in it."""
    if os.path.basename(folder) == "__pycache__":
        return all(name.endswith((".pyc", ".pyo", ".nbi", ".nbc")) for name in os.listdir(folder))
    if os.path.basename(folder) == "node_modules":
        return any(os.path.exists(os.path.join(folder, name)) for name in _NODE_MODULES)
    if os.path.isfile(os.path.join(folder, "pyvenv.cfg")):
        return True
    try:
        with open(os.path.join(folder, "CACHEDIR.TAG"), "rb") as file:
            return file.read(len(_CACHE_TAG)) == _CACHE_TAG
    except OSError:
        return False


class OwnIndex:
    """An index of our own, as a commit has it: no flag in it hides a file."""

    def __init__(self, git: Git, commit: str | None) -> None:
        self._git, self._commit = git, commit
        self._folder = tempfile.TemporaryDirectory(prefix="dx-fleet-")

    def __enter__(self) -> dict[str, str]:
        env = {"GIT_INDEX_FILE": os.path.join(self._folder.name, "index")}
        self._git.out("read-tree", *([self._commit] if self._commit else ["--empty"]), env=env)
        return env

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()


def _status(git: Git, env: t.Mapping[str, str]) -> tuple[dict[bytes, bool], list[bytes]]:
    """What differs from an index (path -> whether it is there), and what is ignored."""
    out = git.out(
        "status", "--porcelain", "-z", "--no-renames", "--untracked-files=all", "--ignored=matching",
        "--ignore-submodules=none", env=env,
    )  # fmt: skip
    changed: dict[bytes, bool] = {}
    ignored: list[bytes] = []
    for record in filter(None, out.split("\0")):
        kind, path = record[:2], os.fsencode(record[3:])
        if kind == "!!":
            ignored.append(path)
        elif kind[1] != " ":  # the first column compares the index with HEAD
            changed[path] = kind[1] != "D"
    return changed, ignored


def _check_link(path: str, admin: str) -> None:
    """Raises RescueFailed where the folder's ``.git`` is not the file that git made of it."""
    link = os.path.join(path, ".git")
    if not os.path.lexists(link):
        return
    try:
        with open(link, encoding="utf-8", errors="surrogateescape") as file:
            target = file.read().strip()
    except OSError:
        target = ""
    named = os.path.join(path, target[len("gitdir:") :].strip()) if target.startswith("gitdir:") else ""
    if not named or os.path.realpath(named) != os.path.realpath(admin):
        raise _nested(path, b".")


def _nested(path: str, name: bytes) -> RescueFailed:
    where = os.path.normpath(os.path.join(path, os.fsdecode(name)))
    return RescueFailed(
        f"{shown(where)} is a git repository of its own, and its commits would be lost",
        f"push what is in it, then remove or move {shown(where)}",
        "nested_repository",
    )


def _submodules(git: Git, env: t.Mapping[str, str]) -> set[bytes]:
    """The paths that a commit has as submodules."""
    listed = git.out("ls-files", "-s", "-z", env=env).split("\0")
    return {os.fsencode(entry.split("\t", 1)[1]) for entry in listed if entry.startswith("160000 ")}


def _check_submodule(git: Git, name: bytes) -> None:
    """Raises RescueFailed for a submodule with work of its own; its repository goes with the worktree."""
    path = os.path.join(git.directory, os.fsdecode(name))
    if not os.path.isdir(path) or not os.listdir(path):
        return
    inside = Git(path, git.timeout_s)
    own = os.path.lexists(os.path.join(path, ".git"))
    dirty = inside.call("status", "--porcelain", "--untracked-files=all")
    ahead = inside.call("rev-list", "--max-count=1", "HEAD", "--branches", "--not", "--remotes")
    stashed = inside.ok("rev-parse", "--verify", "--quiet", "refs/stash")
    if not (own and dirty.ok and ahead.ok) or dirty.out.strip() or ahead.out.strip() or stashed:
        raise RescueFailed(
            f"the submodule {shown(path)} has work of its own",
            f"commit and push it: {command_line('git', '-C', path, 'status')}",
            "submodule_changed",
        )


def _ignored_files(root: str, names: t.Iterable[bytes]) -> t.Iterator[bytes]:
    """The single files among what is ignored, without what tools would make again."""
    base = os.fsencode(root)
    for name in names:
        path = os.path.join(base, name.rstrip(b"/"))
        if not os.path.isdir(path) or os.path.islink(path):
            yield name
            continue
        for folder, folders, files in os.walk(path):
            if regenerable(os.fsdecode(folder)):
                folders[:] = []
                continue
            if b".git" in folders + files:
                raise _nested(root, os.path.relpath(folder, base))
            links = [each for each in folders if os.path.islink(os.path.join(folder, each))]
            for each in files + links:
                yield os.path.relpath(os.path.join(folder, each), base)


def _others(repository: Repository, admin: str, tree: Worktree) -> tuple[str, ...]:
    """Commits that only this worktree knows: of its reflog, of a merge under way, of refs of its own."""
    named: set[str] = set()
    files = [os.path.join(admin, name) for name in (*_OTHER_HEADS, os.path.join("logs", "HEAD"))]
    for folder in ("refs", "rebase-merge", "rebase-apply"):
        for base, _, names in os.walk(os.path.join(admin, folder)):
            files += [os.path.join(base, name) for name in names]
    for path in filter(os.path.isfile, files):
        with open(path, encoding="utf-8", errors="replace") as file:
            named.update(re.findall(r"\b[0-9a-f]{40}(?:[0-9a-f]{24})?\b", file.read(1 << 20)))
    named.discard(tree.head or "")
    there = [name for name in sorted(named) if name.strip("0") and repository.resolve(name) == name]
    if not there:
        return ()
    if tree.head:
        there.append(f"^{tree.head}")
    # Not --all, which takes this worktree's own refs for refs that stay.
    shared = ("--branches", "--tags", "--remotes", "--glob=refs/stash", "--glob=refs/dx-fleet/*")
    lost = repository.git.call("rev-list", "--stdin", "--not", *shared, stdin="\n".join(there).encode())
    unreachable = set(lost.out.split())
    if not unreachable:
        return ()
    parents = repository.git.call(
        "rev-list", "--no-walk", "--parents", "--stdin", stdin="\n".join(sorted(unreachable)).encode()
    )
    covered = {parent for line in parents.out.splitlines() for parent in line.split()[1:]}
    return tuple(sorted(unreachable - covered))
