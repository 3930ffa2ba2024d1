# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The actions on beads, with a module on the tracker host that answers what a test says."""

from __future__ import annotations

import os
import signal
from typing import Any
from unittest.mock import MagicMock

import pytest
from ansible.errors import AnsibleConnectionFailure
from ansible_collections.dx.fleet.plugins.action import beads_claim, beads_info, beads_reap
from ansible_collections.dx.fleet.plugins.module_utils import specs
from ansible_collections.dx.fleet.plugins.module_utils.beads import commands, errors
from ansible_collections.dx.fleet.plugins.module_utils.beads.errors import AlreadyClaimed
from ansible_collections.dx.fleet.plugins.plugin_utils.ansible_edge import tracker_action as beads_action
from ansible_collections.dx.fleet.plugins.plugin_utils.beads.dispatcher import this_dispatcher
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.outcome import Evidence, Outcome, State

from tests.unit.clock import ManualClock
from tests.unit.fake_opencode import URL, not_sent
from tests.unit.run_action import Ansible

SECRET = "sk-ant-" + "a1B2c3D4" * 4
GONE = this_dispatcher().rsplit("/", 1)[0] + "/1"  # this process' id, of one that began at another time
ERRORS = {
    error.reason_code: error
    for error in vars(errors).values()
    if isinstance(error, type) and issubclass(error, errors.BeadsError)
}
CLAIM = {
    "bead": "bd-1",
    "title": "Fix",
    "status": "in_progress",
    "vm": "epyc6",
    "claimed_at": "2026-01-04T10:00:00+00:00",
    "age_s": 7200.0,
    "held_s": 7200.0,
    "dispatch": "bd-1@1",
    "attempt": 1,
    "orchestrator": "antigravity@home",
    "dispatcher": GONE,
    "session": "ses_1",
    "message": "msg_dx-1",
    "branch": None,
    "worktree": "/srv/a",
}
CLAIMED = {
    "changed": True,
    "vm": "epyc6",
    "dispatch": "bd-1@1",
    "attempt": 1,
    "session": "ses_1",
    "message": "msg_dx-1",
    "continued": False,
    "previous_holder": None,
    "others": [],
    "task": "Fix",
    "invocation": {"module_args": {}},
}


def refused(reason: str, **more: Any) -> dict[str, Any]:
    """What the module returns that failed with the error of that reason."""
    error = ERRORS[reason]("no", "see", **more)
    return commands.failure(error)


class Tracker:
    """Answers one after the other; ``asked`` are the options that the module got."""

    def __init__(self, ansible: Ansible, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[dict[str, Any]] = []
        self.answers: list[Any] = []
        self.ansible = ansible
        tracker = self

        def execute(action: Any, module_name: str, module_args: dict[str, Any], task_vars: Any) -> Any:
            tracker.asked.append({"module": module_name, **module_args})
            answer = tracker.answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer

        for module in (beads_claim, beads_info, beads_reap):
            monkeypatch.setattr(module.ActionModule, "_execute_module", execute)

    def run(self, action: Any, *answers: Any, check: bool = False, **options: Any) -> dict[str, Any]:
        self.answers = list(answers)
        found = self.ansible.run(action, check=check, **options)
        assert not self.answers, "it asked less often than expected"
        return found

    def claim(self, *answers: Any, **options: Any) -> dict[str, Any]:
        return self.run(beads_claim, *answers, bead="bd-1", vm="epyc6", **options)

    def locate(self, *answers: Any, **request: Any) -> dict[str, Any]:
        return self.run(beads_claim, *answers, state="located", request={"bead": "bd-1", **request})

    def settle(
        self,
        *answers: Any,
        state: State = State.COMPLETED,
        claim: dict[str, Any] = CLAIMED,
        sent: bool = True,
        **options: Any,
    ) -> dict[str, Any]:
        """End a claim; the task was sent and followed to its end, or is what failed."""
        outcome = Outcome(
            state, "x", f"the agent said {SECRET}", session="ses_1", evidence=Evidence(text=SECRET)
        ).as_dict()
        steps = (
            {"sent": {"changed": True, "outcome": {"state": "running"}}, "followed": {"outcome": outcome}}
            if sent
            else {"sent": {"failed": True, "outcome": outcome}}
        )
        return self.run(beads_claim, *answers, bead="bd-1", state="settled", claim=claim, **steps, **options)


@pytest.fixture
def ansible(monkeypatch: pytest.MonkeyPatch) -> Ansible:
    monkeypatch.setenv("DX_ORCHESTRATOR", "claude-code@macmini")
    monkeypatch.delenv("SLACK_BOT_TOKEN", raising=False)
    found = Ansible(monkeypatch)
    found.host["hostvars"] = {"epyc6": {"opencode_url": URL}, "macmini": {"opencode_url": URL}}
    return found


@pytest.fixture
def tracker(ansible: Ansible, monkeypatch: pytest.MonkeyPatch) -> Tracker:
    return Tracker(ansible, monkeypatch)


def test_a_claim_says_who_dispatches_and_takes_one_call(tracker: Tracker) -> None:
    found = tracker.claim(CLAIMED)
    (asked,) = tracker.asked
    assert (asked["orchestrator"], asked["dispatcher"]) == ("claude-code@macmini", this_dispatcher())
    assert found["dispatch"] == "bd-1@1"
    assert "invocation" not in found


def test_a_claim_that_a_dead_dispatcher_left_is_gone_on_with(tracker: Tracker) -> None:
    found = tracker.claim(refused("already_claimed", claim=CLAIM), {**CLAIMED, "continued": True})
    assert [asked.get("gone_dispatcher") for asked in tracker.asked] == [None, GONE]
    assert found["continued"]


@pytest.mark.parametrize(
    "claim",
    [
        {**CLAIM, "dispatcher": this_dispatcher()},
        {**CLAIM, "dispatcher": None, "held_s": 299.0},
        {**CLAIM, "dispatcher": "elsewhere/0123/4/5", "held_s": 299.0},
        {**CLAIM, "dispatcher": "elsewhere/0123/4/5", "held_s": None},
        None,
    ],
    ids=["lives", "unnamed", "unseen", "of unknown age", "no claim"],
)
def test_one_whose_dispatcher_may_live_is_left_alone(tracker: Tracker, claim: dict[str, Any] | None) -> None:
    found = tracker.claim(refused("already_claimed", claim=claim))
    assert (found["failed"], found["reason_code"], found["next_action"]) == (True, "already_claimed", "see")
    assert found["outcome"]["state"] == "refused"
    assert found["msg"] == "no. Next: see"


@pytest.mark.parametrize("beats", [True, False])
def test_a_dispatcher_on_another_machine_is_judged_by_its_heartbeat(
    tracker: Tracker, ansible: Ansible, monkeypatch: pytest.MonkeyPatch, beats: bool
) -> None:
    far = "elsewhere/0123/4/5"
    session = ansible.fake.session("ses_1")
    session.metadata = {"dx_heartbeat": {"dispatcher": far, "count": 1, "at": 0.0, "silent_s": 10.0}}
    clock = ManualClock()

    async def sleep(seconds: float) -> None:
        await ManualClock.sleep(clock, seconds)
        if beats:
            session.metadata = {"dx_heartbeat": {**session.metadata["dx_heartbeat"], "count": 2}}

    monkeypatch.setattr(clock, "sleep", sleep)
    monkeypatch.setattr(beads_action, "SYSTEM_CLOCK", clock)
    answer = refused("already_claimed", claim={**CLAIM, "dispatcher": far, "held_s": 1e6 if beats else 1.0})
    if beats:  # however old its claim is
        assert tracker.claim(answer)["reason_code"] == "already_claimed"
    else:  # however young
        assert tracker.claim(answer, {**CLAIMED, "continued": True})["continued"]
        assert 10 <= clock.slept_s <= 40


def test_where_the_heartbeat_cannot_be_asked_for_nothing_is_taken_over(
    tracker: Tracker, ansible: Ansible
) -> None:
    ansible.fake.add("GET", "/session/ses_1", not_sent(), times=99)
    answer = refused("already_claimed", claim={**CLAIM, "dispatcher": "elsewhere/0123/4/5"})
    assert tracker.claim(answer)["reason_code"] == "already_claimed"


def test_what_a_person_works_on_is_no_claim_but_on_a_vm_it_is_shown(tracker: Tracker) -> None:
    by_hand = {**CLAIM, "dispatch": None, "session": None, "dispatcher": None}
    claims = {"claims": [{**by_hand, "vm": "fengning"}, by_hand]}
    (shown,) = tracker.run(beads_info, claims)["claims"]
    assert "held by no dispatch" in shown["summary"]
    assert "bd update bd-1 -s open -a ''" in shown["session_why"]
    (reaped,) = tracker.run(beads_reap, claims, ttl=0)["claims"]
    assert (reaped["became"], len(tracker.asked)) == ("kept", 2)


def test_of_two_that_go_on_with_it_the_second_does_not_try_for_ever(tracker: Tracker) -> None:
    answer = refused("already_claimed", claim=CLAIM)
    assert tracker.claim(answer, answer)["reason_code"] == "already_claimed"


def test_an_old_claim_that_names_no_dispatcher_is_taken_over_once(tracker: Tracker) -> None:
    answer = refused("already_claimed", claim={**CLAIM, "dispatcher": None})
    assert tracker.claim(answer, {**CLAIMED, "continued": True})["continued"]
    assert [asked.get("gone_dispatcher") for asked in tracker.asked] == [None, ""]
    assert tracker.claim(answer, answer)["reason_code"] == "already_claimed"


def test_another_orchestrator_whose_sessions_are_idle_is_not_at_work(
    tracker: Tracker, ansible: Ansible
) -> None:
    ansible.fake.session("ses_1").user("msg_dx-1", "Do it")
    other = {**CLAIM, "bead": "bd-2"}
    answer = refused("orchestrator_active", others=[other])
    assert not tracker.claim(answer, CLAIMED, single_orchestrator=True).get("failed")
    assert tracker.asked[1]["idle_beads"] == ["bd-2"]
    ansible.fake.sessions["ses_1"].status = {"type": "busy"}
    found = tracker.claim(answer, single_orchestrator=True)
    assert (found["reason_code"], found["outcome"]["state"]) == ("orchestrator_active", "refused")


@pytest.mark.parametrize("hostvars", [None, {}])
def test_without_hostvars_another_counts_as_at_work(
    tracker: Tracker, ansible: Ansible, hostvars: dict[str, Any] | None
) -> None:
    ansible.host["hostvars"] = hostvars
    found = tracker.claim(refused("orchestrator_active", others=[CLAIM]), single_orchestrator=True)
    assert found["reason_code"] == "orchestrator_active"


def test_a_host_that_ansible_does_not_know_is_never_asked_for(tracker: Tracker, ansible: Ansible) -> None:
    """HostVars.get raises for one (ansible-core 2.19)."""

    class HostVars(dict[str, Any]):
        def get(self, key: str, default: Any = None) -> Any:
            raise ReferenceError

    ansible.host["hostvars"] = HostVars(epyc6={"opencode_url": URL})
    found = tracker.run(beads_info, {"claims": [{**CLAIM, "vm": "renamed"}, {**CLAIM, "vm": None}]})
    assert [claim["session_state"] for claim in found["claims"]] == ["unknown", "unknown"]


WORKED_ON = {
    **CLAIMED,
    "vm": "macmini",
    "bead": {"id": "bd-1", "status": "in_progress", "assignee": "macmini"},
}


def test_a_bead_is_found_on_the_vm_that_works_on_it(tracker: Tracker) -> None:
    found = tracker.locate(WORKED_ON)
    assert (found["elsewhere"], found.get("failed")) == ("macmini", None)
    assert [asked["state"] for asked in tracker.asked] == ["present"]


@pytest.mark.parametrize(
    ("bead", "request_"),
    [
        ({"status": "open", "assignee": None}, {}),
        ({"status": "in_progress", "assignee": "someone"}, {}),
        ({"status": "blocked", "assignee": "macmini"}, {}),
        ({"status": "closed", "assignee": "macmini"}, {"retry": True}),
    ],
    ids=["free", "taken by hand", "blocked", "done"],
)
def test_a_bead_that_no_vm_works_on_moves_no_run(
    tracker: Tracker, bead: dict[str, Any], request_: dict[str, Any]
) -> None:
    found = tracker.locate({**WORKED_ON, "bead": bead}, **request_)
    assert "elsewhere" not in found
    assert not found.get("failed")


def test_a_bead_to_try_again_is_found_where_it_was_blocked(tracker: Tracker) -> None:
    blocked = {**WORKED_ON, "bead": {"status": "blocked", "assignee": "macmini"}}
    assert tracker.locate(blocked, retry=True)["elsewhere"] == "macmini"


def test_a_run_that_names_its_vm_asks_no_tracker(tracker: Tracker) -> None:
    found = tracker.locate(target="epyc6")
    assert (found["skipped"], found["changed"], tracker.asked) == (True, False, [])


def test_a_bead_on_a_vm_that_is_not_there_any_more_is_refused(tracker: Tracker) -> None:
    found = tracker.locate(
        {**WORKED_ON, "vm": "renamed", "bead": {"status": "in_progress", "assignee": "renamed"}}
    )
    assert (found["reason_code"], found["outcome"]["state"]) == ("unknown_vm", "refused")
    assert "bd update bd-1 -s open -a ''" in found["next_action"]


@pytest.mark.parametrize(
    ("answer", "reason", "state"),
    [
        (AnsibleConnectionFailure("refused"), "tracker_unreachable", "unreachable"),
        (refused("store_unreachable"), "store_unreachable", "unreachable"),
        (refused("bd_timeout"), "bd_timeout", "refused"),
        (refused("not_claimable"), "not_claimable", "refused"),
        ({"failed": True, "module_stderr": "Traceback"}, "tracker_failed", "refused"),
        ({"failed": True}, "tracker_failed", "refused"),
    ],
)
def test_each_failure_of_the_tracker_is_an_outcome(
    tracker: Tracker, answer: Any, reason: str, state: str
) -> None:
    found = tracker.claim(answer)
    assert (found["reason_code"], found["outcome"]["state"]) == (reason, state)
    assert found["next_action"]
    assert found["outcome"]["bead"] == "bd-1"


def test_an_end_is_one_call_and_the_agents_words_stay_here(tracker: Tracker) -> None:
    """Ansible logs a module's options on the tracker host."""
    found = tracker.settle({"changed": True, "dispatch": "bd-1@1"}, state=State.VERIFIED)
    (asked,) = tracker.asked
    assert (asked["state"], asked["dispatch"]) == ("closed", "bd-1@1")
    assert asked["reason"].startswith("verified: the agent said")
    assert SECRET not in str(asked)
    assert {"claim", "sent", "followed", "request"}.isdisjoint(asked)
    assert (found["ended"], found["outcome"]["state"], found["outcome"]["bead"]) == (
        "closed",
        "verified",
        "bd-1",
    )
    assert not found.get("failed")


@pytest.mark.parametrize(
    ("claim", "check"),
    [
        ({}, False),
        ({"skipped": True}, False),
        ({"failed": True, "dispatch": "bd-1@1"}, False),
        (CLAIMED, True),
    ],
    ids=["no step", "no bead", "refused", "in check mode"],
)
def test_without_a_claim_there_is_nothing_to_end(
    tracker: Tracker, claim: dict[str, Any], check: bool
) -> None:
    found = tracker.settle(claim=claim, check=check)
    assert (found["skipped"], found["changed"], tracker.asked) == (True, False, [])


def test_what_a_person_did_meanwhile_is_in_the_outcome(tracker: Tracker) -> None:
    found = tracker.settle({"changed": True, "dispatch": "bd-1@1", "noted": "deferred"})
    assert (found["ended"], found["outcome"]["state"]) == ("noted", "completed")
    assert "stays as it is (deferred)" in found["outcome"]["message_to_human"]
    assert found["outcome"]["next_action"] == "bd show bd-1"


def test_a_bad_end_is_a_failed_task(tracker: Tracker) -> None:
    found = tracker.settle({"changed": True}, state=State.FAILED)
    assert (found["failed"], found["ended"], tracker.asked[0]["state"]) == (True, "blocked", "blocked")
    assert "seen_dispatcher" not in tracker.asked[0]
    assert found["next_action"] == "dx-dispatch --retry bd-1"


def test_a_worktree_that_could_not_be_made_gives_the_bead_back_with_its_reason(tracker: Tracker) -> None:
    refused_ = Outcome(State.REFUSED, "branch_in_use", "it is checked out elsewhere", next_action="end it")
    made = {"failed": True, "outcome": refused_.as_dict()}
    found = tracker.run(
        beads_claim, {"changed": True}, bead="bd-1", state="settled", claim=CLAIMED, made=made
    )
    assert (tracker.asked[0]["state"], found["outcome"]["reason_code"]) == ("released", "branch_in_use")
    assert found["next_action"] == "end it"


def test_only_who_made_the_claim_gives_it_back(tracker: Tracker) -> None:
    """Another dispatcher that went on with it meanwhile may have sent the task under the same dispatch."""
    tracker.settle({"changed": True}, state=State.UNREACHABLE, sent=False)
    (asked,) = tracker.asked
    assert (asked["state"], asked["seen_dispatcher"]) == ("released", this_dispatcher())


@pytest.mark.parametrize(
    "options", [{"sent": False, "claim": {**CLAIMED, "continued": True}}, {"sent": True}]
)
def test_what_may_still_work_is_left_without_a_call(tracker: Tracker, options: dict[str, Any]) -> None:
    found = tracker.settle(state=State.UNREACHABLE, **options)
    assert (found["ended"], found["changed"], tracker.asked) == ("held", False, [])


def test_a_bead_that_could_not_be_told_is_no_success(tracker: Tracker) -> None:
    found = tracker.settle(refused("claim_lost"))
    assert (found["failed"], found["reason_code"], found["outcome"]["state"]) == (
        True,
        "claim_lost",
        "failed",
    )
    found = tracker.settle(AnsibleConnectionFailure("refused"))
    assert (found["reason_code"], found["next_action"]) == ("bead_not_ended", "dx-dispatch --bead bd-1")


def test_reap_ends_what_it_saw_and_goes_on_after_a_failure(tracker: Tracker, ansible: Ansible) -> None:
    session = ansible.fake.session("ses_1")
    session.user("msg_dx-1", "Do it")
    session.step("a_1", finish="stop", text=f"here is {SECRET}")
    claims = [
        CLAIM,
        {**CLAIM, "bead": "bd-2", "session": "ses_none"},
        {**CLAIM, "bead": "bd-3", "dispatcher": None},
        {**CLAIM, "bead": "bd-4", "vm": "renamed"},
    ]
    found = tracker.run(
        beads_reap, {"claims": claims}, refused("bd_timeout"), {"changed": True}, refused("claim_lost")
    )
    assert [claim["became"] for claim in found["claims"]] == ["kept", "released", "kept", "kept"]
    assert (found["failed"], found["changed"], found["reason_code"]) == (True, True, "bd_timeout")
    ends = tracker.asked[1:]
    assert [(end["bead"], end["state"], end["seen_dispatcher"]) for end in ends] == [
        ("bd-1", "blocked", GONE),
        ("bd-2", "released", GONE),
        ("bd-3", "blocked", ""),
    ]
    assert SECRET not in str(ends)


def test_reap_of_nothing_is_nothing(tracker: Tracker) -> None:
    assert tracker.run(beads_reap, {"claims": []}) == {"changed": False, "claims": []}


def test_a_transport_that_is_local_is_told_where_the_person_is(
    tracker: Tracker, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    (tmp_path / ".beads").mkdir()
    monkeypatch.setenv("BEADS_DIR", str(tmp_path / ".beads"))
    local = MagicMock(transport="local")
    init = beads_claim.ActionModule.__init__

    def connected(self: Any, task: Any, connection: Any, *rest: Any) -> None:
        init(self, task, local, *rest)

    monkeypatch.setattr(beads_claim.ActionModule, "__init__", connected)
    tracker.claim(CLAIMED)
    assert tracker.asked[0]["beads_dir"] == str(tmp_path / ".beads")


def here(ansible: Ansible, monkeypatch: pytest.MonkeyPatch) -> None:
    """The task's connection leads to the controller itself. The result has the options that the job got."""

    def claim(options: dict[str, Any], check: bool) -> dict[str, Any]:
        match options["bead"]:
            case "bd-2":
                raise AlreadyClaimed("bd-2 is held by macmini", "bd show bd-2", claim=None)
            case "bd-3":
                raise OSError(37, "No locks available")
            case "bd-4":
                os.kill(os.getpid(), signal.SIGKILL)
        return {**CLAIMED, "got": {**options, "check": check}, "pid": os.getpid(), "group": os.getpgrp()}

    ansible.connection.transport, ansible.connection.become = "local", None
    spec = beads_action._COMMANDS["dx.fleet.beads_claim"][1]
    monkeypatch.setitem(beads_action._COMMANDS, "dx.fleet.beads_claim", (claim, spec))
    monkeypatch.setattr(beads_action, "find_workspace", lambda: "/srv/beads/.beads")


@pytest.mark.parametrize("check", [False, True])
def test_on_the_controller_itself_no_module_is_packed(
    tracker: Tracker, ansible: Ansible, monkeypatch: pytest.MonkeyPatch, check: bool
) -> None:
    here(ansible, monkeypatch)
    found = tracker.claim(check=check)
    assert (found["changed"], found["dispatch"]) == (True, "bd-1@1")
    assert tracker.asked == []
    options = found["got"]
    assert (options["bead"], options["vm"], options["check"]) == ("bd-1", "epyc6", check)
    assert (options["beads_dir"], options["beads_executable"]) == ("/srv/beads/.beads", "bd")
    assert set(specs.CLAIM) <= options.keys(), "with all defaults, as a module has them"
    assert found["pid"] == found["group"] != os.getpgrp(), "what ends this worker does not end it"


@pytest.mark.parametrize(
    ("given", "meant"),
    [("beads", "/plays/beads"), ("/srv/other", "/srv/other"), ("~/beads", os.path.expanduser("~/beads"))],
)
@pytest.mark.parametrize("environment", [[], [{"X": "y"}]])
def test_a_relative_folder_begins_at_the_playbook(
    tracker: Tracker,
    ansible: Ansible,
    monkeypatch: pytest.MonkeyPatch,
    given: str,
    meant: str,
    environment: list[dict[str, str]],
) -> None:
    here(ansible, monkeypatch)
    ansible.environment = environment
    if environment:
        tracker.claim(CLAIMED, beads_dir=given)
        assert tracker.asked[0]["beads_dir"] == meant
    else:
        assert tracker.claim(beads_dir=given)["got"]["beads_dir"] == meant


@pytest.mark.parametrize(("bead", "words"), [("bd-3", "No locks available"), ("bd-4", "died (-9)")])
def test_whatever_becomes_of_it_there_is_an_outcome(
    tracker: Tracker, ansible: Ansible, monkeypatch: pytest.MonkeyPatch, bead: str, words: str
) -> None:
    here(ansible, monkeypatch)
    outcome = tracker.run(beads_claim, bead=bead, vm="epyc6")["outcome"]
    assert (outcome["state"], outcome["reason_code"]) == ("refused", "tracker_failed")
    assert words in outcome["message_to_human"]
    done = Outcome(State.COMPLETED, "completed", "done", session="ses_1")
    claim = {"dispatch": f"{bead}@1", "changed": True, "continued": False}
    sent = {"outcome": done.as_dict()}
    settling = {"claim": claim, "sent": sent, "state": "settled"}
    outcome = tracker.run(beads_claim, bead=bead, **settling)["outcome"]
    assert (outcome["session"], outcome["reason_code"]) == ("ses_1", "bead_not_ended"), (
        "nothing is lost of it"
    )


def test_a_refusal_on_the_controller_itself_is_that_of_the_module(
    tracker: Tracker, ansible: Ansible, monkeypatch: pytest.MonkeyPatch
) -> None:
    here(ansible, monkeypatch)
    outcome = tracker.run(beads_claim, bead="bd-2", vm="epyc6")["outcome"]
    assert (outcome["state"], outcome["reason_code"]) == ("refused", "already_claimed")
    assert (outcome["message_to_human"], outcome["next_action"]) == (
        "bd-2 is held by macmini",
        "bd show bd-2",
    )


@pytest.mark.parametrize("what", ["another host", "another user", "another environment"])
def test_another_host_user_or_environment_needs_the_module(
    tracker: Tracker, ansible: Ansible, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    here(ansible, monkeypatch)
    match what:
        case "another host":
            ansible.connection.transport = "ssh"
        case "another user":
            ansible.connection.become = object()
        case "another environment":
            ansible.environment = [{"BEADS_DIR": "/elsewhere"}]
    assert tracker.claim(CLAIMED)["changed"]
    assert len(tracker.asked) == 1
