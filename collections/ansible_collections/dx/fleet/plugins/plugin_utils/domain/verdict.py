# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What our own check of the work makes of the outcome of a dispatch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from ..text.redact import redact
from .outcome import Evidence, Outcome, State

__all__ = ["could_not_check", "judged", "not_pushed", "numbers"]

_STATES = {
    "verified": State.VERIFIED,
    "failed": State.FAILED,
    "unverified": State.UNVERIFIED,
    "no_op": State.NO_OP,
}
TAIL = 2000  # characters of the check's output that the evidence keeps


def judged(outcome: Outcome, check: Mapping[str, Any], pushed: bool | None = None) -> Outcome:
    """The outcome, graded by what the check said.

    Only the agent's own "finished" is graded anew. Where the agent failed or was stopped, that stays the
    outcome, and the check is evidence.

    Args:
        outcome: What became of the agent's turn.
        check: What the module ``verify_work`` returned.
        pushed: Whether this run pushed the branch; None: it was not to.
    """
    evidence = _evidence(outcome.evidence, check, pushed)
    found = outcome.with_(evidence=evidence)
    verdict = str(check["message"])
    if outcome.state is not State.COMPLETED:
        return found.with_(message_to_human=f"{outcome.message_to_human}; our check: {verdict}")
    state = _STATES.get(str(check["verdict"]), State.UNVERIFIED)
    words = ", ".join([verdict, *numbers(evidence)]) if state is State.VERIFIED else verdict
    return found.with_(
        state=state, reason_code=str(check["reason_code"]), message_to_human=words, next_action=None
    )


def could_not_check(outcome: Outcome, reason_code: str, why: str, next_action: str | None) -> Outcome:
    """The outcome where the check could not even begin. That is nobody's failure, and no success."""
    if outcome.state is not State.COMPLETED:
        return outcome.with_(message_to_human=f"{outcome.message_to_human}; our check could not run: {why}")
    return outcome.with_(
        state=State.UNVERIFIED,
        reason_code=reason_code,
        message_to_human=f"the agent finished, and the check could not run: {why}",
        next_action=next_action,
    )


def not_pushed(outcome: Outcome, reason_code: str, why: str, next_action: str | None) -> Outcome:
    """The outcome of verified work that could not be pushed, though it was to be."""
    return outcome.with_(
        state=State.FAILED,
        reason_code=reason_code,
        message_to_human=f"verified ({outcome.message_to_human}), but not pushed: {why}",
        next_action=next_action,
    )


def numbers(evidence: Evidence) -> Iterator[str]:
    """What of the evidence a person counts: ``3 commits``, ``+120/-8``, ``pushed``."""
    if evidence.commits:
        yield f"{evidence.commits} commit{'' if evidence.commits == 1 else 's'}"
    if evidence.diffstat:
        yield evidence.diffstat
    if evidence.dirty_files:
        yield f"{len(evidence.dirty_files)} uncommitted"
    if evidence.pushed:
        yield "pushed"


def _evidence(evidence: Evidence, check: Mapping[str, Any], pushed: bool | None) -> Evidence:
    tests: Mapping[str, Any] = check.get("tests") or {}
    dirty = (*(check.get("dirty_files") or ()), *(check.get("untracked_files") or ()))
    return replace(
        evidence,
        branch=check.get("branch"),
        head_before=check.get("head_before"),
        head_after=check.get("head"),
        commits=check.get("commit_count"),
        pushed=True if pushed else check.get("pushed"),
        dirty_files=dirty,
        diffstat=_diffstat(check.get("diffstat")),
        verify_rc=check.get("rc"),
        verify_duration_s=check.get("duration_s"),
        tests={
            name: tests[name]
            for name in ("passed", "failed", "errors", "skipped")
            if isinstance(tests.get(name), int)
        }
        or None,
        tests_source=tests.get("source"),
        failed_tests=tuple(tests.get("failed_names") or ()),
        tests_changed=tuple(check.get("tests_changed") or ()),
        check_files_changed=tuple(check.get("check_files_changed") or ()),
        processes_left=check.get("processes_left"),
        verify_output=check.get("output_file"),
        verify_tail=redact(str(check.get("output_tail") or ""))[-TAIL:] or None,
    )


def _diffstat(stat: Mapping[str, Any] | None) -> str | None:
    if not stat or not stat.get("files"):
        return None
    return f"+{stat.get('insertions', 0)}/-{stat.get('deletions', 0)}"
