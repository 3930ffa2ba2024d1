# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What only somebody who watches a whole run of a playbook can know. Takes plain values, never Ansible's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

from ...domain.identity import new_dispatch_id
from ...domain.outcome import State
from . import kinds
from .event import FactLog, Subject, thread_key_of

__all__ = ["PlayWatch"]

_UNFINISHED = frozenset((State.PLANNED.value, State.RUNNING.value))


@dataclass
class _Seen:
    """What is known of the dispatch on one host: its state is None where no outcome was returned."""

    subject: Subject
    state: str | None = None


class PlayWatch:
    """Records what happens to the dispatches of a run outside of the actions, which tell by themselves.

    Args:
        facts: Where they are recorded.
        dispatch: The id of the run's dispatch, if its variables name one; else what belongs to no dispatch
            is recorded under an id of this run.
    """

    def __init__(self, facts: FactLog, dispatch: str | None = None) -> None:
        self._facts = facts
        self._run = new_dispatch_id()
        self._dispatch = dispatch
        self._seen: dict[str, _Seen] = {}
        self._numbers = count(1)

    def took(
        self, host: str, result: Mapping[str, Any], *, failed: bool, own: bool, task: str, action: str
    ) -> bool:
        """A task ended on a host.

        Args:
            host: The host.
            result: Its result, of which only the outcome's names and state, and an exit code are read.
            failed: Whether it failed, and that was not ignored.
            own: Whether it is one of this collection's.
            task: Its name.
            action: Its action's name.

        Returns:
            True where something was recorded.
        """
        outcome = result.get("outcome")
        if own and isinstance(outcome, Mapping):
            self._note(host, outcome)
            return False
        if not failed:
            return False
        rc = result.get("rc")
        known_rc = rc if isinstance(rc, int) and not isinstance(rc, bool) else None
        event = kinds.task_failed(self._subject(host), task, action, known_rc, occurrence=self._occurrence())
        return self._facts.record(event)

    def unreachable(self, host: str, why: str) -> bool:
        """Ansible does not reach a host. True where that was recorded."""
        seen = self._seen.setdefault(host, _Seen(self._subject(host)))
        seen.state = State.UNREACHABLE.value
        return self._facts.record(kinds.host_unreachable(seen.subject, why, occurrence=self._occurrence()))

    def ended(self, *, interrupted: bool = False) -> bool:
        """The run is over: record which dispatches have no recorded end. True where there are some."""
        threads: dict[str, dict[str, str | None]] = {}
        for host, seen in self._seen.items():
            if seen.state is None or seen.state in _UNFINISHED:
                thread_key = thread_key_of(seen.subject.dispatch, host)
                threads.setdefault(thread_key, {})[host] = seen.state
        recorded = [
            self._facts.record(
                kinds.play_ended(
                    Subject(thread_key), states, interrupted=interrupted, occurrence=self._occurrence()
                )
            )
            for thread_key, states in threads.items()
        ]
        return any(recorded)

    def _occurrence(self) -> str:
        """What this run sees once more."""
        return f"{self._run} {next(self._numbers)}"

    def _note(self, host: str, outcome: Mapping[str, Any]) -> None:
        named = {
            name: str(outcome[name])
            for name in ("dispatch", "repo", "bead", "session")
            if isinstance(outcome.get(name), str) and outcome[name]
        }
        subject = replace(self._subject(host), **named)
        state = outcome.get("state")
        if state != State.PLANNED.value:
            self._seen[host] = _Seen(subject, state if isinstance(state, str) else None)

    def _subject(self, host: str) -> Subject:
        if host in self._seen:
            return self._seen[host].subject
        return Subject(self._dispatch or self._run, vm=host)
