# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What only somebody who watches a whole run can know, and nothing that its tasks tell by themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.facts.play import PlayWatch
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.facts.wording import words_of
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.store.outbox import Outbox
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.store.recorder import Recorder
from ansible_collections.dx.fleet.plugins.plugin_utils.config.slack import AuditConfig
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.outcome import Outcome, State

OWN = "dx.fleet.opencode_wait"


class Watched:
    """A run that is watched, and what was recorded of it."""

    def __init__(self, directory: Path, dispatch: str | None = "d1") -> None:
        self.outbox = Outbox(directory / "s" / "outbox.db")
        config = AuditConfig.read({"SLACK_BOT_TOKEN": "xoxb-1"}, "C1")
        self.watch = PlayWatch(Recorder(config, self.outbox, print), dispatch)

    def outcome(self, state: State, vm: str = "epyc6", dispatch: str = "d1", failed: bool = False) -> None:
        data = Outcome(
            state, "x", "y", vm=vm, dispatch=dispatch, repo="affordabot", session="ses_1"
        ).as_dict()
        self.watch.took(vm, {"outcome": data}, failed=failed, own=True, task="Follow", action=OWN)

    def other(self, vm: str = "epyc6", failed: bool = True, **result: Any) -> bool:
        return self.watch.took(
            vm, result, failed=failed, own=False, task="Migrate", action="ansible.builtin.command"
        )

    @property
    def told(self) -> list[tuple[str, str]]:
        return [(record.event.subject.dispatch, words_of(record.event)) for record in self.outbox.trail()]


@pytest.fixture
def run(tmp_path: Path) -> Watched:
    return Watched(tmp_path)


def test_what_an_action_tells_by_itself_is_not_told_again(run: Watched) -> None:
    run.outcome(State.PLANNED)
    run.outcome(State.RUNNING)
    run.outcome(State.FAILED, failed=True)
    run.other(failed=False)
    run.watch.ended()
    assert run.told == []


def test_a_task_that_fails_is_told_by_its_name_and_not_by_its_words(run: Watched) -> None:
    run.outcome(State.RUNNING)
    assert run.other(rc=2, msg="password hunter22", stdout="hunter22", cmd=["--x", "hunter22"])
    assert run.told == [("d1", "[epyc6] Task failed: Migrate (ansible.builtin.command, exit 2)")]


def test_an_own_action_that_fails_without_an_outcome_is_told(run: Watched) -> None:
    run.watch.took("epyc6", {"msg": "crash"}, failed=True, own=True, task="Send", action=OWN)
    assert run.told == [("d1", f"[epyc6] Task failed: Send ({OWN})")]


def test_an_unreachable_host_is_told(run: Watched) -> None:
    assert run.watch.unreachable("macmini", "ssh: no route; https://u:hunter22@x")
    run.watch.ended()
    assert run.told == [("d1", "[macmini] Unreachable: ssh: no route; https://u:[redacted]@x")]


def test_what_belongs_to_no_dispatch_is_told_under_an_id_of_the_run(tmp_path: Path) -> None:
    run = Watched(tmp_path, dispatch=None)
    run.other()
    run.other(vm="macmini")
    assert len({dispatch for dispatch, _ in run.told}) == 1
    assert len(run.told) == 2


def test_the_end_of_a_play_is_told_where_the_end_of_a_dispatch_was_not(run: Watched) -> None:
    for vm, state in (("a", State.RUNNING), ("b", State.COMPLETED), ("c", State.RUNNING)):
        run.outcome(state, vm=vm, dispatch=f"d1.{vm}")
    assert run.watch.ended()
    assert run.told == [("d1.*", "Play ended: a not followed to its end, c not followed to its end")]


def test_an_interrupted_play_is_told_as_one(run: Watched) -> None:
    run.outcome(State.RUNNING)
    run.watch.ended(interrupted=True)
    assert run.told == [("d1", "Play ended: epyc6 interrupted, not followed to its end")]


@pytest.mark.parametrize("outcome", [{}, {"state": 5, "dispatch": ["x"]}, {"dispatch": None}])
def test_a_result_that_is_not_what_it_should_be_breaks_nothing(run: Watched, outcome: Any) -> None:
    run.watch.took("epyc6", {"outcome": outcome}, failed=False, own=True, task="x", action=OWN)
    run.watch.took("epyc6", {"outcome": "text", "rc": True}, failed=True, own=True, task="x", action=OWN)
    run.watch.ended()
    assert all(dispatch == "d1" for dispatch, _ in run.told)


def test_a_task_that_fails_again_is_told_again(tmp_path: Path) -> None:
    first = Watched(tmp_path)
    assert first.other()
    assert first.other(), "in a loop of the play, say"
    assert Watched(tmp_path).other(), "in another run on the same dispatch"
    assert len(first.told) == 3
    assert len(set(first.told)) == 1


def test_a_host_that_two_runs_do_not_reach_is_told_twice(tmp_path: Path) -> None:
    assert Watched(tmp_path).watch.unreachable("macmini", "no route")
    assert Watched(tmp_path).watch.unreachable("macmini", "no route")
