# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command that a person is told to run next does what it says when it is pasted into a shell."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.cli.dispatch_options import DispatchOptions
from ansible_collections.dx.fleet.plugins.plugin_utils.cli.targets import Targets, targets_of
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.fleet import VM, Fleet
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.next_action import (
    advise,
    bead_command,
    dispatch_command,
    join_command,
    send_command,
)
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.outcome import Evidence, Outcome, State, ToolRun
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.precedence import on_its_branch
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.request import Request
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.settlement import end_of, settled

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
    arguments, targets = pasted(join_command({}, "epyc6", "d1"))
    assert targets == Targets("epyc6", ("epyc6",), None, None)
    assert (arguments.id, arguments.session) == ("d1", None)
    assert pasted(join_command({}, "epyc6", "d1", "ses_old"))[0].session == "ses_old"


@pytest.mark.parametrize("state", [State.COMPLETED, State.RUNNING, State.PLANNED])
def test_a_good_outcome_needs_no_advice(state: State) -> None:
    assert advise(replace(OUTCOME, state=state), {}).next_action is None


def test_advice_that_is_there_is_kept() -> None:
    assert advise(replace(OUTCOME, next_action="x"), {}).next_action == "x"


@pytest.mark.parametrize(
    ("asked", "made", "branch"),
    [
        ({"branch": "fix/1"}, "fix/1", "fix/1"),
        ({"expect_changes": True}, "dx/d1", "dx/d1"),
        ({}, "dx/d1", "dx/d1"),  # the repo's policy says that every dispatch has a worktree
        ({}, None, None),
        ({"expect_changes": True}, None, None),
    ],
)
def test_a_session_goes_on_with_its_branch(
    asked: dict[str, Any], made: str | None, branch: str | None
) -> None:
    options, _ = pasted(advise(OUTCOME, on_its_branch(asked, made)).next_action or "")
    assert (options.session, options.branch) == ("ses_1", branch)
    assert options.expect_changes is (branch is not None and "expect_changes" in asked)


def test_the_branch_of_a_bead_is_known_by_its_claim() -> None:
    assert on_its_branch({"bead": "bd-1"}, "dx/bd-1") == {"bead": "bd-1"}


def test_after_a_failure_work_goes_on_in_the_same_session() -> None:
    arguments, targets = pasted(advise(OUTCOME, {}).next_action or "")
    assert targets == Targets("epyc6", ("epyc6",), "affordabot", "Continue work")
    assert arguments.session == "ses_1"


@pytest.mark.parametrize(
    ("state", "reason"),
    [(State.UNREACHABLE, "server_silent"), (State.TIMED_OUT, "timeout_unconfirmed")],
)
def test_what_may_still_work_is_attached_to_again(state: State, reason: str) -> None:
    outcome = advise(replace(OUTCOME, state=state, reason_code=reason), {})
    assert pasted(outcome.next_action or "")[0].id == "d1"


@pytest.mark.parametrize(
    ("request_", "wanted"),
    [
        (None, "dx-fleet answer ses_1"),
        ({"id": "per_1", "permission": "bash"}, "dx-fleet answer ses_1 once --request per_1"),
        (
            {"id": "que_1", "questions": [{"options": [{"label": "the red one"}]}]},
            "dx-fleet answer ses_1 'the red one' --request que_1",
        ),
        ({"id": "que_1", "questions": [{"options": []}]}, "dx-fleet answer ses_1 TEXT --request que_1"),
        (
            {"id": "que_1", "questions": [{"options": [{"label": "a"}]}, {"options": [{"label": "-b"}]}]},
            "dx-fleet answer --request que_1 -- ses_1 a -b",
        ),
    ],
)
def test_what_an_agent_waits_for_is_answered_by_a_command(request_: Any, wanted: str) -> None:
    outcome = replace(OUTCOME, state=State.NEEDS_INPUT, evidence=Evidence(request=request_))
    assert advise(outcome, {}).next_action == wanted


ASKED: dict[str, Any] = {
    "task": "Run make test",
    "repo": "affordabot",
    "session": "ses_old",
    "agent": "plan",
    "model": "a/b",
    "title": "of the day",
    "timeout": 600.5,
    "stall_timeout": 60.0,
    "max_cost": 0.25,
    "max_steps": 7,
    "preflight_timeout": 5.0,
    "slack": False,
    "inventory": "/etc/my fleet.json",
    "branch": "fix/1",
    "verify": "make 'all tests'",
    "no_verify": False,
    "expect_changes": True,
    "push": True,
    "takeover": True,
    "force": True,
}
FOLLOWED = ("timeout", "stall_timeout", "max_cost", "max_steps", "slack", "verify")
NEW = ("branch", "expect_changes", "push")  # of a new session
SENT = (*FOLLOWED, "agent", "model", "preflight_timeout")


def options_of(command: str, *names: str) -> dict[str, Any]:
    """What a pasted command asks for, by those names."""
    options, _ = pasted(command)
    return {name: getattr(options, name) for name in names}


def asked_for(*names: str) -> dict[str, Any]:
    return {name: ASKED[name] for name in names}


EVERYWHERE = {name: value for name, value in ASKED.items() if name not in ("session", "branch")}


@pytest.mark.parametrize(
    ("command", "names"),
    [
        (send_command(ASKED, "epyc6", "d1"), (*SENT, *NEW, "title", "session")),
        (send_command(EVERYWHERE, None, "d1"), (*SENT, "expect_changes", "push", "title")),
        (join_command(ASKED, "epyc6", "d1"), (*FOLLOWED, *NEW)),
        (join_command(EVERYWHERE, None, "d1"), (*FOLLOWED, "expect_changes", "push")),
        (bead_command(ASKED, "bd-1"), (*SENT, *NEW, "title", "takeover", "force")),
        (
            bead_command(ASKED, "bd-1", "epyc6", retry=True),
            (*SENT, *NEW, "title", "takeover", "force", "session"),
        ),
        (advise(OUTCOME, ASKED).next_action or "", (*SENT, *NEW)),
        (advise(OUTCOME, on_its_branch(EVERYWHERE, "dx/d1")).next_action or "", (*SENT, *NEW[1:])),
        (advise(OUTCOME, EVERYWHERE).next_action or "", SENT),
    ],
    ids=[
        *("send", "send to all", "join", "join all", "go on with a bead", "retry a bead"),
        *("continue", "continue on the branch of the dispatch", "continue in the person's own clone"),
    ],
)
def test_it_has_every_option_that_the_run_had(command: str, names: tuple[str, ...]) -> None:
    assert options_of(command, *names) == asked_for(*names)
    assert str(pasted(command)[0].inventory) == ASKED["inventory"]


def test_what_a_playbook_was_given_as_text_is_typed_as_it_is() -> None:
    command = join_command({"timeout": "600", "slack": "yes", "max_steps": None}, "epyc6", "d1")
    assert command == "dx-dispatch epyc6 --id d1 --timeout 600 --slack"


def test_a_bead_is_gone_on_with_by_its_own_text_or_by_the_given_task() -> None:
    assert bead_command({"repo": "affordabot"}, "bd-1", "epyc6") == "dx-dispatch --bead bd-1"
    options, targets = pasted(bead_command({"repo": "affordabot", "task": "--all"}, "bd-1", "epyc6"))
    assert (options.bead, targets) == ("bd-1", Targets("epyc6", ("epyc6",), "affordabot", "--all"))
    assert bead_command({"task": "x"}, "bd-1", "epyc6") == "dx-dispatch --bead bd-1"


def test_the_text_of_a_bead_is_not_pasted() -> None:
    request = replace(REQUEST, bead="bd-1", task="its text")
    assert dispatch_command(request) == "dx-dispatch --bead bd-1"


@pytest.mark.parametrize(
    ("state", "given", "ended", "wanted"),
    [
        (State.FAILED, None, "blocked", "dx-dispatch --retry bd-1"),
        (State.FAILED, "fix it", "blocked", "dx-dispatch --retry bd-1"),
        (State.FAILED, "fix it", "released", "fix it"),
        (State.UNREACHABLE, "start it", "held", "dx-dispatch --bead bd-1"),
        (State.NEEDS_INPUT, None, "held", "dx-fleet answer ses_1"),
        (State.NEEDS_INPUT, "answer it", "held", "answer it"),
        (State.COMPLETED, None, "closed", None),
        (State.RUNNING, "join it", "held", "join it"),
    ],
)
def test_the_bead_decides_where_its_end_needs_another_command(
    state: State, given: str | None, ended: str, wanted: str | None
) -> None:
    outcome = replace(OUTCOME, state=state, bead="bd-1", next_action=given)
    assert advise(outcome, {}, ended=ended).next_action == wanted


def test_a_claim_whose_session_is_gone_is_not_advised_to_be_gone_on_with() -> None:
    outcome = replace(OUTCOME, state=State.REFUSED, reason_code="unknown_session", bead="bd-1")
    assert advise(outcome, {}, ended="held").next_action == "bd update bd-1 -s open -a ''"


@pytest.mark.parametrize(
    ("tools", "wanted"),
    [
        ((), "bd close bd-1"),
        ((ToolRun("bash", "make", "completed", 0),), "bd close bd-1"),
        ((ToolRun("bash", "make", "completed", 2), ToolRun("bash", "make", "completed", 0)), "bd close bd-1"),
        (
            (ToolRun("bash", "make", "completed", 2), ToolRun("read", "x", "error")),
            "dx-dispatch --retry bd-1",
        ),
        ((ToolRun("bash", "sleep 60", "cut_short"),), "dx-dispatch --retry bd-1"),
    ],
)
def test_a_bead_is_not_advised_to_be_closed_after_a_last_command_that_failed(
    tools: tuple[ToolRun, ...], wanted: str
) -> None:
    outcome = replace(OUTCOME, state=State.COMPLETED, bead="bd-1", evidence=Evidence(tools=tools))
    assert advise(outcome, {}, ended="blocked").next_action == wanted


@pytest.mark.parametrize("state", State)
def test_what_the_wait_advises_is_what_the_bead_calls_for(state: State) -> None:
    """So Slack, which the wait writes to, shows the command of the bead, the terminal and the JSON document."""
    outcome = replace(OUTCOME, state=state, bead="bd-1")
    ended = end_of(outcome.as_dict(), sent=True, begun_now=True).state
    waited = advise(outcome, ASKED, ended=ended)
    assert settled(waited.as_dict(), "bd-1", ASKED, ended=ended).next_action == waited.next_action
