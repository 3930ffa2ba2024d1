# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What became of a dispatch: states, evidence, exit codes. Plain data, no I/O.

An outcome is graded only by what was seen: messages and statuses read back from the server, never by
the absence of an error.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import IntEnum, StrEnum
from typing import Any

__all__ = [
    "EXIT_CODES",
    "FINISHED",
    "MEANINGS",
    "SHELLS",
    "Evidence",
    "ExitCode",
    "Outcome",
    "State",
    "ToolRun",
    "exit_code",
    "shown_state",
]

SHELLS = ("bash", "shell")
"""The tools of OpenCode that run a shell command."""


class State(StrEnum):
    """State of a dispatch. Every member but ``planned`` and ``running`` is final."""

    PLANNED = "planned"  # check mode: nothing was sent
    RUNNING = "running"  # sent and not waited for
    VERIFIED = "verified"
    COMPLETED = "completed"  # the agent finished; nothing of ours checked its work
    UNVERIFIED = "unverified"  # a check was asked for and proves nothing
    NO_OP = "no_op"
    FAILED = "failed"
    NEEDS_INPUT = "needs_input"
    ABORTED = "aborted"
    STALLED = "stalled"
    TIMED_OUT = "timed_out"
    LOST = "lost"
    REFUSED = "refused"
    UNREACHABLE = "unreachable"

    @property
    def good(self) -> bool:
        """Whether it went as wanted, as far as was looked."""
        return ExitCode.of(self) is ExitCode.DONE


FINISHED = "finished, not verified"
"""A person reads this in the place of ``completed``, which is the agent's word and not ours."""


def shown_state(state: str) -> str:
    """The state as a person reads it."""
    return FINISHED if state == State.COMPLETED else str(state)


class ExitCode(IntEnum):
    """Exit codes of ``dx-dispatch``."""

    DONE = 0
    OWN_FAULT = 1
    USAGE = 2
    FAILED = 3
    REFUSED = 4
    UNREACHABLE = 5
    NEEDS_INPUT = 6
    TIMED_OUT = 7
    ABORTED = 8
    NO_OP = 9
    UNVERIFIED = 10
    DETACHED = 130

    @classmethod
    def of(cls, state: State) -> ExitCode:
        """The exit code that one VM's state stands for."""
        return _EXIT_CODES[state]


MEANINGS: Mapping[State, str] = {
    State.VERIFIED: "our own run of the verify command passed, with tests counted",
    State.COMPLETED: "the agent finished; nothing of ours checked its work",
    State.UNVERIFIED: "a check was asked for, and proves nothing: no fresh report, no test counted",
    State.NO_OP: "the agent finished without work: no change where one was expected, or an empty turn",
    State.FAILED: "the tests, the agent or its model failed",
    State.LOST: "the server died with it",
    State.REFUSED: "nothing was sent: VM disabled or full, session busy, id in use, bead claimed by another,"
    " no OpenCode or a wrong version",
    State.UNREACHABLE: "the server can't be asked, or it can't be known what it did",
    State.NEEDS_INPUT: "the agent waits for a permission or an answer",
    State.TIMED_OUT: "our time limit was reached; the session was aborted",
    State.STALLED: "nothing moved for too long; the session was aborted",
    State.ABORTED: "stopped by someone, or by `--max-steps` or `--max-cost`",
}
"""What each final state means, for README and documentation; a test holds them to it."""

EXIT_CODES: Mapping[ExitCode, str] = {
    ExitCode.DONE: "done",
    ExitCode.OWN_FAULT: "our own fault",
    ExitCode.USAGE: "usage",
    ExitCode.FAILED: "failed, lost or mixed",
    ExitCode.REFUSED: "refused",
    ExitCode.UNREACHABLE: "unreachable",
    ExitCode.NEEDS_INPUT: "needs input",
    ExitCode.TIMED_OUT: "timed out or stalled",
    ExitCode.ABORTED: "aborted",
    ExitCode.NO_OP: "no work was done",
    ExitCode.UNVERIFIED: "not verified though asked for",
    ExitCode.DETACHED: "detached (the task goes on)",
}
"""What each exit code means, for ``--help``."""

_EXIT_CODES: Mapping[State, ExitCode] = {
    State.PLANNED: ExitCode.DONE,
    State.RUNNING: ExitCode.DONE,
    State.VERIFIED: ExitCode.DONE,
    State.COMPLETED: ExitCode.DONE,
    State.UNVERIFIED: ExitCode.UNVERIFIED,
    State.NO_OP: ExitCode.NO_OP,
    State.FAILED: ExitCode.FAILED,
    State.LOST: ExitCode.FAILED,
    State.REFUSED: ExitCode.REFUSED,
    State.UNREACHABLE: ExitCode.UNREACHABLE,
    State.NEEDS_INPUT: ExitCode.NEEDS_INPUT,
    State.TIMED_OUT: ExitCode.TIMED_OUT,
    State.STALLED: ExitCode.TIMED_OUT,
    State.ABORTED: ExitCode.ABORTED,
}


def exit_code(states: Iterable[State]) -> ExitCode:
    """The exit code of a run over several VMs: what they share, else ``FAILED`` (mixed).

    Raises:
        ValueError: There is no state at all; the caller then has an error of its own to report.
    """
    codes = {ExitCode.of(state) for state in states}
    if not codes:
        raise ValueError("no state to grade")
    return codes.pop() if len(codes) == 1 else ExitCode.FAILED


@dataclass(frozen=True)
class ToolRun:
    """One tool call of the agent as the server reports it.

    ``exit`` is the exit code of a shell command, None for other tools. ``status`` is ``completed``,
    ``error``, ``cut_short`` (a shell command that a time-out or an abort ended), or what it was at the end.
    """

    tool: str
    title: str
    status: str
    exit: int | None = None


@dataclass(frozen=True)
class Evidence:
    """What was read back about a dispatch; None where it is unknown.

    ``transport`` is the way to the server, ``http`` or ``ssh``; ``cost`` is in US dollars; ``tokens`` are
    counts by kind; ``request`` is the pending permission or question; ``tools`` are in the order in which
    they were called (the last 100 of ``tool_count``).

    What our own check saw: ``commits`` is their number since ``head_before``, ``diffstat`` is what they
    changed (``+120/-8``), ``dirty_files`` are those with changes in no commit; ``tests`` are counts by kind,
    from ``tests_source``; ``tests_changed`` and ``check_files_changed`` are files that the work changed;
    ``processes_left`` is how many processes the check had left running, ``verify_output`` the file on the VM
    that has what it printed, and ``verify_tail`` its end.
    """

    session: str | None = None
    directory: str | None = None
    server_version: str | None = None
    transport: str | None = None
    agent: str | None = None
    model: str | None = None
    steps: int | None = None
    tools: tuple[ToolRun, ...] | None = None
    tool_count: int | None = None
    text: str | None = None
    error: str | None = None
    request: Mapping[str, Any] | None = None
    tokens: Mapping[str, int] | None = None
    cost: float | None = None
    branch: str | None = None
    head_before: str | None = None
    head_after: str | None = None
    commits: int | None = None
    pushed: bool | None = None
    dirty_files: tuple[str, ...] | None = None
    diffstat: str | None = None
    verify_rc: int | None = None
    verify_duration_s: float | None = None
    verify_output: str | None = None
    verify_tail: str | None = None
    tests: Mapping[str, int] | None = None
    tests_source: str | None = None
    failed_tests: tuple[str, ...] | None = None
    tests_changed: tuple[str, ...] | None = None
    check_files_changed: tuple[str, ...] | None = None
    processes_left: int | None = None
    duration_s: float | None = None
    started_at: str | None = None
    ended_at: str | None = None
    noticed_at: str | None = None


_LISTS = ("tools", "dirty_files", "failed_tests", "tests_changed", "check_files_changed")


@dataclass(frozen=True)
class Outcome:
    """The answer to "what became of it": one per VM of a run.

    ``started_at`` is ISO 8601 in UTC; ``next_action`` is the exact command to run next, or None.
    """

    state: State
    reason_code: str
    message_to_human: str
    next_action: str | None = None
    vm: str | None = None
    repo: str | None = None
    dispatch: str | None = None
    session: str | None = None
    message: str | None = None
    bead: str | None = None
    started_at: str | None = None
    duration_s: float | None = None
    evidence: Evidence = field(default_factory=Evidence)
    audit: Mapping[str, Any] | None = None

    def with_(self, **changes: Any) -> Outcome:
        """A copy with some fields replaced."""
        return replace(self, **changes)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Outcome:
        """The reverse of :meth:`as_dict`."""
        evidence = dict(data["evidence"])
        if evidence.get("tools") is not None:
            evidence["tools"] = tuple(ToolRun(**tool) for tool in evidence["tools"])
        for key in _LISTS[1:]:
            if evidence.get(key) is not None:
                evidence[key] = tuple(evidence[key])
        return cls(**{**data, "state": State(data["state"]), "evidence": Evidence(**evidence)})

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready form; every key is present, unknown ones are None."""
        data = asdict(self)
        data["state"] = self.state.value
        evidence = data["evidence"]
        for key in _LISTS:
            if evidence[key] is not None:
                evidence[key] = list(evidence[key])
        return data
