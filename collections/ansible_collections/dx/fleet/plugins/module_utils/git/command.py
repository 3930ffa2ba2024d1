# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The `git` command: one call at a time, with a time limit, and nothing of the repository run by it.

An exit code is only a hint: whoever calls reads the result back.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
import typing as t
from contextlib import suppress
from dataclasses import dataclass

from ..work_processes.listing import MODULE
from .errors import GitFailed, GitMissing, GitTooOld

__all__ = ["Call", "Git", "command_line", "shown"]

OLDEST = (2, 31)  # says in `worktree list` what is locked, and why
NUL_IN_WORKTREE_LIST = (2, 36)

# What the repository's own configuration must not do in our calls: hooks and a file watcher are programs, a
# collection of garbage goes on in the background with our lock, and files are compared by all that is known.
_SETTINGS = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.trustctime=true",
    "core.checkStat=default",
    "gc.auto=0",
    "maintenance.auto=false",
    "submodule.recurse=false",
    "log.showSignature=false",
)
_TRANSIENT = re.compile(
    r"cannot lock ref|could not lock config file|failed to read \.git/worktrees/"
    r"|Unable to create '[^']*(packed-refs|refs/[^']*|config|shallow)\.lock': File exists"
)
_TRIES = 8
_TERM_GRACE_S = 2.0


@dataclass(frozen=True)
class Call:
    """One finished call. ``code`` is None if it was ended because of its time limit."""

    argv: tuple[str, ...]
    code: int | None
    out: str
    err: str

    @property
    def ok(self) -> bool:
        """Whether git said that it succeeded."""
        return self.code == 0

    def error_text(self) -> str:
        """What it says went wrong, in one line."""
        if self.code is None:
            return "it did not end in time"
        lines = [line.strip() for line in self.err.splitlines() if line.strip()]
        told = [line for line in lines if line.startswith(("fatal:", "error:"))] or lines[-1:]
        words = re.sub(r"^(fatal|error): ", "", " ".join(told))
        return shown(words)[:400] if words else f"git ended with {self.code}"


class Git:
    """`git` in one directory.

    Args:
        directory: Where it runs.
        timeout_s: Longest time of one call, in seconds.
        git_dir: The repository's folder, where it is not to be looked for; with ``work_tree``.
        work_tree: The files that belong to it.
    """

    def __init__(
        self,
        directory: str,
        timeout_s: float = 600.0,
        git_dir: str | None = None,
        work_tree: str | None = None,
    ) -> None:
        self.directory = directory
        self.timeout_s = timeout_s
        self.inherited: tuple[int, ...] = ()
        self._explicit = () if git_dir is None else (f"--git-dir={git_dir}", f"--work-tree={work_tree}")
        self._version: tuple[int, ...] | None = None

    @property
    def version(self) -> tuple[int, ...]:
        """Such as (2, 39, 5); asked once.

        Raises:
            GitMissing: There is none.
            GitTooOld: It can't do what is needed.
        """
        if self._version is None:
            text = self.call("version").out
            found = re.search(r"(\d+)\.(\d+)(?:\.(\d+))?", text)
            self._version = tuple(int(part or 0) for part in found.groups()) if found else (0,)
            if self._version < OLDEST:
                raise GitTooOld(
                    f"this host has {shown(text.strip()) or 'an unknown git'}",
                    f"install git {OLDEST[0]}.{OLDEST[1]} or later on it",
                )
        return self._version

    def at(self, git_dir: str, work_tree: str) -> Git:
        """git in a worktree whose repository is not looked for: its ``.git`` may be anything."""
        git = Git(work_tree, self.timeout_s, git_dir, work_tree)
        git.inherited, git._version = self.inherited, self._version
        return git

    def out(self, *words: str, **options: t.Any) -> str:
        """The standard output of a call that must succeed.

        Raises:
            GitFailed: It did not.
        """
        call = self.call(*words, **options)
        if not call.ok:
            raise failed(call)
        return call.out

    def ok(self, *words: str, **options: t.Any) -> bool:
        """Whether a call succeeds; for questions that git answers by its exit code."""
        return self.call(*words, **options).ok

    def call(
        self,
        *words: str,
        timeout_s: float | None = None,
        env: t.Mapping[str, str] | None = None,
        stdin: bytes | None = None,
        holds_lock: bool = True,
    ) -> Call:
        """One call; once more where another git was in its way for a moment.

        Args:
            words: Its subcommand and what follows.
            timeout_s: Longest time, in seconds.
            env: Added to its environment.
            stdin: Its standard input; none by default.
            holds_lock: Whether it keeps our lock of the repository if this process dies before it.

        Raises:
            GitMissing: There is no git.
        """
        argv = ("git", *self._settings(), *self._explicit, *words)
        inherited = self.inherited if holds_lock else ()
        for attempt in range(_TRIES):
            call = self._once(
                argv,
                timeout_s or self.timeout_s,
                {**_environment(), **(env or {}), MODULE: str(os.getpid())},
                stdin,
                inherited,
            )
            if call.ok or call.code is None or not _TRANSIENT.search(call.err):
                break
            time.sleep(0.02 * 2**attempt)  # it holds the lock for milliseconds
        return call

    @staticmethod
    def _settings() -> t.Iterator[str]:
        for setting in _SETTINGS:
            yield from ("-c", setting)

    def _once(
        self,
        argv: t.Sequence[str],
        timeout_s: float,
        env: t.Mapping[str, str],
        stdin: bytes | None,
        inherited: tuple[int, ...],
    ) -> Call:
        # Files, not pipes: a pipe is held open by whatever git leaves behind, an ssh master for one.
        with (
            tempfile.TemporaryFile() as into,
            tempfile.TemporaryFile() as out,
            tempfile.TemporaryFile() as err,
        ):
            into.write(stdin or b"")
            into.seek(0)
            try:
                process = subprocess.Popen(
                    argv,
                    cwd=self.directory,
                    env=dict(env),
                    stdin=into,
                    stdout=out,
                    stderr=err,
                    pass_fds=inherited,
                    start_new_session=True,  # no terminal to ask on, and one group to end
                )
            except FileNotFoundError as error:
                if os.path.isdir(self.directory) and shutil.which("git") is None:
                    raise GitMissing(
                        "there is no git on the PATH of this host", "install git on it"
                    ) from error
                return Call(tuple(argv), 128, "", f"fatal: there is no directory {self.directory}")
            except (NotADirectoryError, PermissionError) as error:
                return Call(tuple(argv), 128, "", f"fatal: {self.directory}: {error.strerror}")
            code = _ended(process, timeout_s)
            return Call(tuple(argv), code, _text(out), _text(err))


def failed(call: Call) -> GitFailed:
    """The error of a call that failed and of which nothing better is known."""
    verb = next((word for word in call.argv[1 + 2 * len(_SETTINGS) :] if not word.startswith("-")), "git")
    return GitFailed(f"git {verb}: {call.error_text()}", "run the same git command by hand on this host")


def command_line(*words: str) -> str:
    """A command that a person can paste into a shell."""
    return " ".join(shlex.quote(shown(word)) for word in words)


def shown(text: str) -> str:
    """Text of git for a person: no bytes that are no text, no control characters."""
    clean = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in clean)


def _ended(process: subprocess.Popen[bytes], timeout_s: float) -> int | None:
    """Its exit code; None: its time was over, and it was ended."""
    try:
        return process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        _signal(process, signal.SIGTERM)  # at which git removes its lock files
        with suppress(subprocess.TimeoutExpired):
            process.wait(_TERM_GRACE_S)
        return None
    finally:
        if process.poll() is None:
            _signal(process, signal.SIGKILL)
            process.wait()


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def _text(file: t.IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode("utf-8", "surrogateescape")


def _environment() -> dict[str, str]:
    """This process' own without what would lead git elsewhere; it never asks, and speaks English."""
    kept = (
        "GIT_SSH",
        "GIT_SSH_COMMAND",
        "GIT_SSL_",
        "GIT_CONFIG_NOSYSTEM",
        "GIT_CONFIG_GLOBAL",
        "GIT_EXEC_PATH",
    )
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("GIT_") or name.startswith(kept)
    }
    environment.update(
        GIT_TERMINAL_PROMPT="0",
        GIT_ASKPASS="",
        SSH_ASKPASS="",
        GIT_OPTIONAL_LOCKS="0",
        GIT_NO_REPLACE_OBJECTS="1",
        GIT_LITERAL_PATHSPECS="1",
        LC_ALL="C",
        LANGUAGE="",
    )
    return environment
