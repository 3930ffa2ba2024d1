# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The `bd` command: one call at a time, with a time limit, and its errors by name.

`bd` tells errors on four channels (1.0 to 1.3): JSON on standard output, JSON on standard error, plain lines,
and the exit code alone. So standard output is believed where it is JSON, else the words of standard error.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import time
import typing as t
from contextlib import suppress
from dataclasses import dataclass

from .bead import Bead, beads_in
from .capabilities import Capabilities, capabilities_of
from .errors import (
    AlreadyClaimed,
    BdFailed,
    BdMissing,
    BeadNotFound,
    BeadsError,
    BeadTooLarge,
    NotClaimable,
    NoWorkspace,
    OutcomeUnknown,
    StoreLocked,
    StoreUnreachable,
)
from .ids import CHECK_IT, is_bead_id
from .json_answer import json_in
from .workspace import find_workspace, own_folder

__all__ = ["Bd", "Call"]

GUARD_MISMATCH = 13  # bd >= 1.3
WRITES = ("update", "close")
TOO_LARGE = "too large for column"  # 1.0.4: the whole issue goes into one of its log, as JSON

# The words of bd 0.57 to 1.3, by error; the first that matches counts.
_WORDS: t.Sequence[tuple[type[BeadsError], str, str]] = (
    (
        BeadNotFound,
        r"no issues? found matching|issue \S+ not found|issue not found",
        CHECK_IT,
    ),
    (BeadNotFound, r"ambiguous ID", CHECK_IT),
    (AlreadyClaimed, r"already claimed|assignee mismatch|status mismatch", "bd show {id}"),
    (NotClaimable, r"not claimable", "bd show {id}"),
    (NoWorkspace, r"no beads database found|cannot use -C directory", "run bd init there, or set beads_dir"),
    (StoreLocked, r"database is locked|holds the exclusive lock", "see who uses the store, then try again"),
    (
        StoreUnreachable,
        r"server unreachable|failing fast|not found on Dolt server",
        "start the store's server",
    ),
)


@dataclass(frozen=True)
class Call:
    """One finished call. ``seconds`` is its wall time."""

    argv: tuple[str, ...]
    code: int
    out: str
    err: str
    seconds: float

    def error_text(self) -> str:
        """What it says went wrong, in one line."""
        as_json = _error_in(self.out) or _error_in(self.err)
        if as_json is not None:
            return " ".join(as_json.split())[:300]
        lines = [line for line in self.err.splitlines() if line.strip()]
        # What it only warned or logged of stands before it.
        lines = [line for line in lines if not line.lower().startswith(("warning", "time="))] or lines
        said = " ".join(lines[0].split())[:300] if lines else f"it ended with exit code {self.code}"
        return said.removeprefix("Error: ")


class Bd:
    """`bd` in one workspace.

    Args:
        executable: Its path, or its name on PATH.
        directory: Folder of the workspace (that which holds ``.beads``); None: where it runs.
        timeout_s: Longest time of one call, in seconds.

    ``calls`` are those that were made; each `bd` gets the descriptors in ``inherited``.
    """

    def __init__(self, executable: str = "bd", directory: str | None = None, timeout_s: float = 60.0) -> None:
        self.directory = directory
        self.calls: list[Call] = []
        self.inherited: tuple[int, ...] = ()
        self._executable = executable
        self._timeout_s = timeout_s
        self._workspace: str | None = None
        self._capabilities: Capabilities | None = None

    @property
    def workspace(self) -> str:
        """The ``.beads`` folder.

        Raises:
            NoWorkspace: There is none.
        """
        if self._workspace is None:
            self._workspace = find_workspace(self.directory)
        return self._workspace

    @property
    def capabilities(self) -> Capabilities:
        """What this `bd` can do; asked of it once, then known.

        Raises:
            BdTooOld: Its claims are no lock.
            BeadsError: It can't be asked.
        """
        if self._capabilities is None:
            executable = self._found()
            self._capabilities = capabilities_of(executable, own_folder(self.workspace), self._asked)
        return self._capabilities

    def show(self, bead: str) -> Bead:
        """The bead of exactly this id.

        Raises:
            BeadNotFound: There is none; `bd` itself would answer with one whose id contains it.
            BeadsError: `bd` can't be asked.
        """
        self.check_id(bead)
        call = self.run(["show", bead, "--json"])
        try:
            return self._one(bead, call)
        except ValueError as error:
            raise BdFailed(_not_understood(call, error), f"bd show {bead}") from error

    def claim(self, bead: str, actor: str, metadata: t.Mapping[str, t.Any] | None = None) -> Bead:
        """Claim by `bd`'s own compare-and-set, with metadata in the same call: one write from bd 1.3 on.

        The actor becomes the assignee. `bd` lets the same actor claim again: look first, under a lock.

        Raises:
            AlreadyClaimed: Another actor holds it.
            NotClaimable: Its status forbids it.
            OutcomeUnknown: Read the bead back.
        """
        together = [] if metadata is None else [f"--metadata={self.encoded(metadata)}"]
        return self.update(bead, actor, "--claim", *together)

    def update(self, bead: str, actor: str, *options: str) -> Bead:
        """Change fields.

        Args:
            bead: Its full id.
            actor: Who does it; "": whoever `bd` takes this user for.
            options: As `bd update` takes them.

        Raises:
            OutcomeUnknown: Read the bead back.
        """
        return self._written(bead, actor, ["update", bead, *options])

    def change(self, bead: Bead, *options: str) -> Bead:
        """Change fields of a bead that is still as it was seen, as far as this `bd` can make sure of that.

        Raises:
            AlreadyClaimed: It is not (bd >= 1.3).
            OutcomeUnknown: Read the bead back.
        """
        guard = (f"--if-assignee={bead.assignee}", f"--if-status={bead.status}")
        return self.update(bead.id, bead.assignee, *(guard if self.capabilities.guards else ()), *options)

    def close(self, bead: str, actor: str, reason: str) -> Bead:
        """Close with a reason.

        Raises:
            OutcomeUnknown: Read the bead back.
        """
        return self._written(bead, actor, ["close", bead, f"--reason={reason}"])

    def unclosed(self) -> list[Bead]:
        """Every bead that is not closed."""
        call = self.run(["list", "--limit", "0", "--json"])
        try:
            return beads_in(call.out)
        except ValueError as error:
            raise BdFailed(_not_understood(call, error), _by_hand(call)) from error

    @staticmethod
    def encoded(metadata: t.Mapping[str, t.Any]) -> str:
        """Metadata as an option takes it."""
        return json.dumps(dict(metadata))

    @staticmethod
    def check_id(bead: str) -> None:
        """Raises BeadNotFound for what can't be an id: `bd` would take it for an option, or for a part."""
        if not is_bead_id(bead):
            raise BeadNotFound(f"{bead[:80]!r} is not a full bead id such as bd-a1b2", CHECK_IT)

    def run(self, words: t.Sequence[str]) -> Call:
        """One call that must succeed.

        Raises:
            BeadsError: By name, as far as its words are known.
        """
        self.capabilities  # noqa: B018 - refuses a bd whose claims are no lock
        call = self._call(words)
        if call.code:
            raise _failure(call)
        return call

    def _asked(self, words: t.Sequence[str]) -> str:
        call = self._call(words)
        if call.code:
            raise _failure(call)
        return call.out

    def _found(self) -> str:
        executable = shutil.which(os.path.expanduser(self._executable))
        if executable is None:
            raise BdMissing(
                f"there is no {self._executable!r} on the PATH of this host",
                "install Beads 1.0.4 or later (brew install beads), or set beads_executable",
            )
        return executable

    def _call(self, words: t.Sequence[str]) -> Call:
        argv = (self._found(), *words)
        began = time.monotonic()
        process = self._started(argv)
        try:
            out, err = process.communicate(timeout=self._timeout_s)
        except BaseException as error:
            _end(process)  # whatever ends us: the lock is let go of, so nothing may write any more
            self.calls.append(Call(argv, process.returncode, "", "", time.monotonic() - began))
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
            raise OutcomeUnknown(
                f"bd {_verb(words)} did not end within {self._timeout_s:g} s",
                "see what holds the store, then run it again: it looks before it writes",
            ) from error
        call = Call(argv, process.returncode, out, err, time.monotonic() - began)
        self.calls.append(call)
        if call.code < 0:
            raise OutcomeUnknown(
                f"bd {_verb(words)} was killed by signal {-call.code}",
                "run it again: it looks before it writes",
            )
        return call

    def _started(self, argv: t.Sequence[str]) -> subprocess.Popen[str]:
        try:
            # A group of its own, so that what bd started ends with it.
            return subprocess.Popen(
                argv,
                cwd=self.directory,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                start_new_session=True,
                pass_fds=self.inherited,
            )
        except OSError as error:
            raise BdMissing(
                f"{argv[0]} can't be run: {error.strerror or error}", f"see that it works: {argv[0]} version"
            ) from error

    def _environment(self) -> dict[str, str]:
        environment = {
            key: value
            for key, value in os.environ.items()
            if key not in ("BD_ACTOR", "BEADS_ACTOR", "BEADS_DB", "BD_DB")
        }
        # The workspace that we lock, whatever else bd would find.
        environment.update(BD_NON_INTERACTIVE="1", BD_NO_HOOKS="1", BEADS_DIR=self.workspace)
        return environment

    def _written(self, bead: str, actor: str, words: t.Sequence[str]) -> Bead:
        """The bead after a write. An answer that can't be understood is a lost one: it may be written."""
        self.check_id(bead)
        call = self.run([*(["--actor", actor] if actor else []), *words, "--json"])
        try:
            return self._one(bead, call)
        except (ValueError, BeadNotFound) as error:
            raise OutcomeUnknown(_not_understood(call, error), f"bd show {bead}") from error

    def _one(self, bead: str, call: Call) -> Bead:
        found = beads_in(call.out)
        for each in found:
            if each.id == bead:
                return each
        others = ", ".join(each.id for each in found) or "nothing"
        raise BeadNotFound(f"there is no bead {bead}; bd answered with {others}", CHECK_IT)


def _end(process: subprocess.Popen[str]) -> None:
    """Kill a `bd` and what it started, and don't wait for what left its group and holds its output open."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            stream.close()


def _error_in(text: str) -> str | None:
    try:
        return json_in(text, _error_of)
    except ValueError:
        return None


def _error_of(data: t.Any) -> str:
    if not isinstance(data, dict) or not isinstance(data.get("error"), str):
        raise ValueError("no error")
    return str(data["error"])


def _not_understood(call: Call, error: Exception) -> str:
    verb = _verb(call.argv[1:])
    about = "" if verb == "list" else f" {_bead_of(call)}"
    return f"the answer to bd {verb}{about} can't be read ({error}): {' '.join(call.out.split())[:100]!r}"


def _by_hand(call: Call) -> str:
    """A command with which a person sees for themselves: what would write is not repeated."""
    words = call.argv[1:]
    writes = _verb(words) in WRITES and "--help" not in words
    return f"bd show {_bead_of(call)}" if writes else f"bd {shlex.join(words)}"


def _failure(call: Call) -> BeadsError:
    text, told = call.error_text(), f"bd {_verb(call.argv[1:])}"
    if TOO_LARGE in call.out or TOO_LARGE in call.err:  # behind the whole bead
        bead = _bead_of(call)
        return BeadTooLarge(
            f"bd has no room for the change: {bead} is larger than the 64 KiB that it keeps of one",
            f"shorten the description or the notes of {bead}: bd edit {bead}",
        )
    if call.code == GUARD_MISMATCH:
        return AlreadyClaimed(f"{told}: {text}", f"bd show {_bead_of(call)}", said=text)
    for kind, words, advice in _WORDS:
        if re.search(words, text, re.IGNORECASE):
            if kind is BeadNotFound and _bead_of(call) not in text:
                text = f"{_bead_of(call)}: {text}"
            return kind(f"{told}: {text}", advice.format(id=_bead_of(call)), said=text)
    return BdFailed(f"{told}: {text}", _by_hand(call), said=text)


def _verb(words: t.Sequence[str]) -> str:
    return words[2] if words[0] == "--actor" else words[0]


def _bead_of(call: Call) -> str:
    """The bead that a call was about, as it stands behind its verb."""
    for verb in ("show", "update", "close"):
        if verb in call.argv[:-1]:
            return call.argv[call.argv.index(verb) + 1]
    return "ID"
