# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command that a person is told to run next does what it says when it is pasted into a shell."""

from __future__ import annotations

import subprocess
from dataclasses import replace

import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.cli.dispatch_options import DispatchOptions
from ansible_collections.dx.fleet.plugins.plugin_utils.cli.targets import Targets, targets_of
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.fleet import VM, Fleet
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.next_action import (
    advise,
    dispatch_command,
    reattach_command,
)
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.outcome import Outcome, State
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.request import Request

from tests.unit.plugin_utils.cli.typed import typed

FLEET = Fleet((VM("epyc6", "http://epyc6:4105"), VM("macmini", "http://macmini:4105")), default_vm="macmini")
REQUEST = Request(dispatch="d1", task="Run make test", vm="epyc6", repo="affordabot")
OUTCOME = Outcome(
    State.FAILED, "model_error", "no", vm="epyc6", repo="affordabot", dispatch="d1", session="ses_1"
)


def pasted(command: str) -> tuple[DispatchOptions, Targets]:
    """What dx-dispatch makes of a command line that a shell has read."""
    assert "\n" not in command
    script = f"dx-dispatch() {{ printf '%s\\0' \"$@\"; }}; {command}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, check=True, timeout=30)
    arguments = typed(*(word.decode() for word in done.stdout.split(b"\0")[:-1]))
    return arguments, targets_of(arguments, FLEET)


@pytest.mark.parametrize(
    "task",
    [
        "Run make test",
        "--all",
        "-x",
        'it\'s "quoted" $HOME `id` \\ !',
        "a\nb\tc",
        "😀 Grüße",
        "{{ 7 * 7 }}",
        "-- x",
    ],
)
def test_a_dispatch_that_may_not_have_arrived_is_sent_again_as_it_was(task: str) -> None:
    request = replace(REQUEST, task=task, agent="plan", model="a/b")
    arguments, targets = pasted(dispatch_command(request))
    assert targets == Targets("epyc6", ("epyc6",), "affordabot", task)
    assert (arguments.id, arguments.agent, arguments.model, arguments.session) == ("d1", "plan", "a/b", None)


def test_a_resumed_session_is_named_and_its_directory_may_be_left_out() -> None:
    arguments, targets = pasted(dispatch_command(replace(REQUEST, repo=None, resume="ses_old")))
    assert targets == Targets("epyc6", ("epyc6",), None, "Run make test")
    assert arguments.session == "ses_old"


def test_a_long_task_comes_from_a_file() -> None:
    command = dispatch_command(replace(REQUEST, task="x" * 5000))
    assert command.endswith(" - <TASK_FILE")
    assert len(command) < 200


def test_the_command_that_attaches_again_sends_nothing() -> None:
    arguments, targets = pasted(reattach_command("epyc6", "d1"))
    assert targets == Targets("epyc6", ("epyc6",), None, None)
    assert (arguments.id, arguments.session) == ("d1", None)
    assert pasted(reattach_command("epyc6", "d1", "ses_old"))[0].session == "ses_old"


@pytest.mark.parametrize("state", [State.COMPLETED, State.RUNNING, State.PLANNED])
def test_a_good_outcome_needs_no_advice(state: State) -> None:
    assert advise(replace(OUTCOME, state=state), "http://epyc6:4105").next_action is None


def test_advice_that_is_there_is_kept() -> None:
    assert advise(replace(OUTCOME, next_action="x"), "http://epyc6:4105").next_action == "x"


def test_after_a_failure_work_goes_on_in_the_same_session() -> None:
    arguments, targets = pasted(advise(OUTCOME, "http://epyc6:4105").next_action or "")
    assert targets == Targets("epyc6", ("epyc6",), "affordabot", "Continue work")
    assert arguments.session == "ses_1"


@pytest.mark.parametrize(
    ("state", "reason"),
    [(State.UNREACHABLE, "server_silent"), (State.TIMED_OUT, "timeout_unconfirmed")],
)
def test_what_may_still_work_is_attached_to_again(state: State, reason: str) -> None:
    outcome = advise(replace(OUTCOME, state=state, reason_code=reason), "http://epyc6:4105")
    assert pasted(outcome.next_action or "")[0].id == "d1"


def test_a_question_is_answered_in_opencode_with_the_password_by_name() -> None:
    outcome = replace(OUTCOME, state=State.NEEDS_INPUT)
    assert (
        advise(outcome, "http://epyc6:4105").next_action
        == "opencode attach http://epyc6:4105 --session ses_1"
    )
    assert (advise(outcome, "http://epyc6:4105", "PW").next_action or "").startswith(
        'OPENCODE_SERVER_PASSWORD="$PW" opencode attach '
    )
