# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can happen to a dispatch. Progress and audit events share these kinds; no event carries a sentence.

The words for a terminal are in :mod:`.progress_wording`, those for Slack in ``audit/facts/wording``.
"""

from __future__ import annotations

from enum import StrEnum

from .outcome import State

__all__ = ["EventKind"]

_UNFINISHED = (State.PLANNED, State.RUNNING)


class EventKind(StrEnum):
    """What happened. The comment names the fields of an event of that kind, beside its VM and session.

    The kinds of an end have the value of the outcome's state.
    """

    CLAIMED = "claimed"  # bead, dispatch
    CONTINUED = "continued"  # dispatch, orchestrator: who held the claim before
    TAKEN_OVER = "taken_over"  # orchestrator: who held the claim before
    OTHER_ORCHESTRATOR = "other_orchestrator"  # orchestrator, bead, on: its VM, claimed_at
    RELEASED = "released"  # why
    CLAIM_ENDED = "claim_ended"  # bead, ended: closed, blocked, released or noted

    DISPATCHING = "dispatching"  # task
    SESSION_CREATED = "session_created"
    TASK_SENT = "task_sent"  # task
    TOOL_STARTED = "tool_started"  # tool, title
    TOOL_FINISHED = "tool_finished"  # tool, title, exit: of a shell command, else None; cut_short
    TOOL_FAILED = "tool_failed"  # tool, title, error
    RETRYING = "retrying"  # attempt, why, next_try: milliseconds since the epoch
    CONNECTION_LOST = "connection_lost"  # reason_code
    ASKED = "asked"  # request: what the agent waits for, see domain/input_request; it is followed meanwhile
    ANSWERED = "answered"  # request: its id, words; answer and by, where they are known
    VERIFYING = "verifying"  # command
    ABORTING = "aborting"  # why, by: who asked for it
    STOPPED = "stopped"

    VERIFIED = "verified"  # of this and every other end: message; see audit/facts/kinds
    COMPLETED = "completed"
    UNVERIFIED = "unverified"
    NO_OP = "no_op"
    FAILED = "failed"
    NEEDS_INPUT = "needs_input"
    ABORTED = "aborted"
    STALLED = "stalled"
    TIMED_OUT = "timed_out"
    LOST = "lost"
    REFUSED = "refused"
    UNREACHABLE = "unreachable"

    STEP = "step"  # step: what a module begins, or has done, on the VM
    FLEET_TESTED = "fleet_tested"  # commit, state, message: of each VM
    TASK_FAILED = "task_failed"  # task, action, rc: its exit code or None
    PLAY_ENDED = "play_ended"  # states: by VM, interrupted
    UNREADABLE = "unreadable"  # record: its number in the outbox

    @classmethod
    def of(cls, state: State) -> EventKind | None:
        """The kind of a dispatch's end; None for a state that is no end."""
        return None if state in _UNFINISHED else cls(state.value)

    @property
    def is_end(self) -> bool:
        """Whether it is the end of a dispatch."""
        return self.value in _ENDS


_ENDS = frozenset(state.value for state in State if state not in _UNFINISHED)
