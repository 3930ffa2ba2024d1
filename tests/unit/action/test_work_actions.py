# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps of a dispatch that work on the VM itself, with a module there that answers what a test says."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleConnectionFailure
from ansible_collections.dx.fleet.plugins.action import (
    dispatch_verify,
    dispatch_worktree,
    opencode_dispatch,
    opencode_wait,
)
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.fleet import RepoPolicy
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.outcome import Evidence, Outcome, State
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.work import Place

from tests.unit.fake_opencode import HOME
from tests.unit.plugin_utils.domain.test_verdict import CHECK
from tests.unit.run_action import Ansible

CLONE = f"{HOME}/affordabot"
BRANCHED = {"repo": "affordabot", "branch": "fix/1", "task": "Fix it", "id": "d1"}
PLACE = Place.of(None, HOME, CLONE, "fix/1")
WORKTREE = {"path": PLACE.path, "branch": "fix/1", "head": "a" * 40, "base": "a" * 40, "pushed": False}
MADE = {**WORKTREE, "repo": CLONE, "dispatch": "d1", "worktrees_root": PLACE.root}
SENT = {
    "changed": True,
    "id": "d1",
    "session": "ses_1",
    "directory": PLACE.path,
    "outcome": {"state": "running"},
}
COMPLETED = {"outcome": {"state": "completed", "reason_code": "completed"}}
GIT_SAYS_NO = {
    "failed": True,
    "msg": "fix/1 is checked out elsewhere. Next: end it",
    "reason_code": "branch_in_use",
    "next_action": "end it",
}


class VM:
    """Answers one after the other; ``asked`` are the options that its modules got."""

    def __init__(self, ansible: Ansible, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ansible = ansible
        self.asked: list[dict[str, Any]] = []
        self.answers: list[Any] = []
        vm = self

        def execute(action: Any, module_name: str, module_args: dict[str, Any], task_vars: Any) -> Any:
            vm.asked.append({"module": module_name.removeprefix("dx.fleet."), **module_args})
            answer = vm.answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return dict(answer)

        for module in (dispatch_worktree, dispatch_verify):
            monkeypatch.setattr(module.ActionModule, "_execute_module", execute)

    def run(self, action: Any, *answers: Any, check: bool = False, **options: Any) -> dict[str, Any]:
        self.answers = list(answers)
        found = self.ansible.run(action, check=check, **options)
        assert not self.answers, "it asked less often than expected"
        return found

    def verify(self, *answers: Any, turn: State = State.COMPLETED, **options: Any) -> dict[str, Any]:
        """Verify the work of a turn that ended so."""
        outcome = Outcome(
            turn,
            "x",
            "the agent finished",
            vm="epyc6",
            repo="affordabot",
            dispatch="d1",
            session="ses_1",
            evidence=Evidence(directory=PLACE.path),
        )
        steps = {"sent": SENT, "worktree": MADE, "followed": {"outcome": outcome.as_dict()}}
        return self.run(dispatch_verify, *answers, **{**steps, **options})


@pytest.fixture
def ansible(monkeypatch: pytest.MonkeyPatch) -> Ansible:
    monkeypatch.delenv("SLACK_BOT_TOKEN", raising=False)
    return Ansible(monkeypatch)


@pytest.fixture
def vm(ansible: Ansible, monkeypatch: pytest.MonkeyPatch) -> VM:
    return VM(ansible, monkeypatch)


def policies(**policy: Any) -> dict[str, Any]:
    return {"affordabot": RepoPolicy(**policy).as_dict()}


def test_a_look_says_where_the_worktree_will_be_and_makes_nothing(ansible: Ansible) -> None:
    plan = ansible.run(opencode_dispatch, check=True, request=BRANCHED)
    assert (plan["directory"], plan["clone"], plan["branch"]) == (PLACE.path, CLONE, "fix/1")
    assert {method for method, _ in ansible.fake.requests} == {"GET"}


def test_the_worktree_is_made_where_the_look_said(vm: VM) -> None:
    plan = vm.ansible.run(opencode_dispatch, check=True, request=BRANCHED)
    made = vm.run(dispatch_worktree, WORKTREE, request=BRANCHED, plan=plan, policies=policies(base="develop"))
    (asked,) = vm.asked
    assert {name: asked[name] for name in ("module", "repo", "path", "branch", "base", "dispatch")} == {
        "module": "git_worktree",
        "repo": CLONE,
        "path": plan["directory"],
        "branch": "fix/1",
        "base": "develop",
        "dispatch": "d1",
    }
    assert made == MADE


def test_a_claim_without_a_look_finds_the_clone_by_the_name_of_its_repo(vm: VM) -> None:
    claim = {
        "dispatch": "bd-1@2-x",
        "repo": "affordabot",
        "branch": "dx/bd-1",
        "worktree": "/kept/dx-bd-1",
        "previous_holder": {"dispatch": "bd-1@1-y"},
    }
    vm.run(dispatch_worktree, WORKTREE, request={"bead": "bd-1", "retry": True}, claim=claim)
    (asked,) = vm.asked
    assert (asked["repo"], asked["path"], asked["branch"]) == (CLONE, "/kept/dx-bd-1", "dx/bd-1")
    assert (asked["dispatch"], asked["ended_dispatches"]) == ("bd-1@2-x", ["bd-1@1-y"])


def test_a_claim_that_names_no_repo_is_refused(vm: VM) -> None:
    claim = {"dispatch": "bd-1@2-x", "repo": None, "branch": "dx/bd-1"}
    found = vm.run(dispatch_worktree, request={"bead": "bd-1"}, claim=claim)
    assert (found["reason_code"], found["outcome"]["state"]) == ("repo_missing", "refused")


@pytest.mark.parametrize(
    ("options", "check"),
    [
        ({"request": {"repo": "affordabot"}}, False),
        ({"request": BRANCHED}, True),
        ({"request": BRANCHED, "state": "released"}, False),
    ],
    ids=["not asked for", "in check mode", "none to let go of"],
)
def test_no_worktree_costs_no_call(vm: VM, options: dict[str, Any], check: bool) -> None:
    found = vm.run(dispatch_worktree, check=check, **options)
    assert (found["skipped"], found["changed"], vm.asked) == (True, False, [])


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (GIT_SAYS_NO, "branch_in_use"),
        (AnsibleConnectionFailure("no route to host"), "vm_no_ssh"),
        ({"failed": True, "module_stderr": "sh: python3: not found"}, "module_failed"),
        ({"failed": True}, "module_failed"),
    ],
)
def test_what_stands_in_the_way_of_a_worktree_is_a_refusal(vm: VM, answer: Any, reason: str) -> None:
    plan = {"id": "d1", "clone": CLONE, "home": HOME, "directory": PLACE.path, "branch": "fix/1"}
    found = vm.run(dispatch_worktree, answer, request=BRANCHED, plan=plan)
    assert (found["reason_code"], found["outcome"]["state"]) == (reason, "refused")
    assert (found["outcome"]["dispatch"], found["outcome"]["repo"]) == ("d1", "affordabot")
    assert found["next_action"] in found["msg"]
    assert "Next: end it. Next" not in found["msg"]


@pytest.mark.parametrize(
    ("sent", "followed", "free"),
    [
        (SENT, {"outcome": {"state": "completed", "reason_code": "completed"}}, True),
        (SENT, {"failed": True, "outcome": {"state": "failed", "reason_code": "x"}}, True),
        (
            SENT,
            {"failed": True, "outcome": {"state": "aborted", "reason_code": "timeout_unconfirmed"}},
            False,
        ),
        (SENT, {"failed": True, "outcome": {"state": "needs_input", "reason_code": "question"}}, False),
        (SENT, {"failed": True, "outcome": {"state": "unreachable", "reason_code": "server_silent"}}, False),
        (SENT, {"skipped": True}, False),
        ({"failed": True, "outcome": {"state": "refused", "reason_code": "at_capacity"}}, {}, True),
        ({"failed": True, "outcome": {"state": "unreachable", "reason_code": "effect_unknown"}}, {}, False),
        ({}, {}, False),
    ],
)
def test_a_worktree_in_which_somebody_may_work_stays_locked(
    vm: VM, sent: dict[str, Any], followed: dict[str, Any], free: bool
) -> None:
    steps = {"worktree": MADE, "sent": sent, "followed": followed}
    vm.run(dispatch_worktree, *([WORKTREE] if free else []), request=BRANCHED, state="released", **steps)
    assert [asked["locked"] for asked in vm.asked] == ([False] if free else [])


def test_a_worktree_that_stays_locked_ends_no_run(vm: VM) -> None:
    steps = {"worktree": MADE, "sent": SENT, "followed": COMPLETED}
    found = vm.run(dispatch_worktree, GIT_SAYS_NO, request=BRANCHED, state="released", **steps)
    assert not found.get("failed")
    assert "fix/1 is checked out elsewhere" in found["warnings"][0]


@pytest.mark.parametrize(
    ("unlocked", "more", "asked"),
    [
        (True, {}, ["verify_work"]),
        (False, {}, ["verify_work", "git_worktree"]),
        (True, {"push": True}, ["verify_work", "git_worktree", "git_worktree"]),
    ],
    ids=["by the check", "not by the check", "after the push"],
)
def test_a_worktree_is_unlocked_once(vm: VM, unlocked: bool, more: dict[str, Any], asked: list[str]) -> None:
    given = {**BRANCHED, "verify": "make test", **more}
    # The module answers so only where it was asked to.
    answer = CHECK if more else {**CHECK, "unlocked": unlocked}
    verified = vm.verify(answer, *([WORKTREE] if more else []), request=given)
    place = {"repo": CLONE, "branch": "fix/1", "worktrees_root": PLACE.root}
    assert vm.asked[0].get("unlock") == (None if more else place)
    steps = {"worktree": MADE, "sent": SENT, "followed": COMPLETED, "verified": verified}
    let_go = [WORKTREE] if asked[-1] == "git_worktree" else []
    vm.run(dispatch_worktree, *let_go, request=given, state="released", **steps)
    assert [each["module"] for each in vm.asked] == asked


def test_what_is_only_sent_is_not_followed(vm: VM) -> None:
    found = vm.ansible.run(opencode_wait, request=BRANCHED, sent={**SENT, "follow": False})
    assert (found["skipped"], vm.ansible.fake.requests) == (True, [])


def test_the_session_works_in_the_worktree_and_touches_no_other_folder(vm: VM) -> None:
    fake = vm.ansible.fake
    fake.directories.add(PLACE.path)
    rules = [{"permission": "external_directory", "pattern": "/tmp/*", "action": "allow"}]
    found = vm.ansible.run(
        opencode_dispatch,
        request=BRANCHED,
        plan={"id": "d1", "clone": CLONE, "directory": PLACE.path},
        worktree=MADE,
        permission=rules,
    )
    assert found["directory"] == PLACE.path
    given = fake.sessions[found["session"]].permission
    assert [(rule["pattern"], rule["action"]) for rule in given] == [
        ("*", "deny"),
        (f"{PLACE.path}/*", "allow"),
        ("/tmp/*", "allow"),
    ]


def test_verified_work_is_verified(vm: VM) -> None:
    policy = policies(verify="make test", report="junit.xml", verify_timeout_s=90)
    found = vm.verify(CHECK, request=BRANCHED, policies=policy)
    (asked,) = vm.asked
    assert {name: asked[name] for name in ("module", "path", "command", "report", "timeout", "dispatch")} == {
        "module": "verify_work",
        "path": PLACE.path,
        "command": "make test",
        "report": ["junit.xml"],
        "timeout": 90.0,
        "dispatch": "d1",
    }
    assert (found.get("failed"), found["outcome"]["state"]) == (None, "verified")
    assert found["outcome"]["evidence"]["tests"]["passed"] == 42


@pytest.mark.parametrize("verdict", ["failed", "unverified", "no_op"])
def test_a_bad_verdict_is_a_failed_task_with_the_command_to_run_next(vm: VM, verdict: str) -> None:
    check = {**CHECK, "verdict": verdict, "reason_code": "tests_failed", "message": "1 of 42 failed"}
    found = vm.verify(check, request={**BRANCHED, "verify": "make test"})
    assert (found["failed"], found["outcome"]["state"]) == (True, verdict)
    assert found["next_action"].startswith("dx-dispatch epyc6 affordabot 'Continue work' --session ses_1")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [(AnsibleConnectionFailure("no route"), "vm_no_ssh"), ({"failed": True}, "module_failed")],
)
def test_a_check_that_could_not_begin_proves_nothing(vm: VM, answer: Any, reason: str) -> None:
    found = vm.verify(answer, request={**BRANCHED, "verify": "make test"})
    assert (found["outcome"]["state"], found["reason_code"]) == ("unverified", reason)


@pytest.mark.parametrize("turn", [State.NEEDS_INPUT, State.RUNNING, State.UNREACHABLE])
def test_what_is_not_over_is_not_checked(vm: VM, turn: State) -> None:
    found = vm.verify(turn=turn, request={**BRANCHED, "verify": "make test"})
    assert (found["skipped"], vm.asked) == (True, [])


def test_without_a_command_nothing_is_checked(vm: VM) -> None:
    found = vm.verify(request=BRANCHED)
    assert (found["skipped"], vm.asked) == (True, [])


def test_the_check_of_what_failed_is_evidence(vm: VM) -> None:
    found = vm.verify(CHECK, turn=State.FAILED, request={**BRANCHED, "verify": "make test"})
    assert (found["outcome"]["state"], found["outcome"]["evidence"]["verify_rc"]) == ("failed", 0)
    assert "42 passed" in found["outcome"]["message_to_human"]


def test_what_passed_is_pushed_at_the_commit_that_was_checked(vm: VM) -> None:
    found = vm.verify(CHECK, WORKTREE, request={**BRANCHED, "verify": "make test", "push": True})
    pushed = vm.asked[1]
    assert (pushed["module"], pushed["state"], pushed["commit"]) == ("git_worktree", "pushed", CHECK["head"])
    assert (pushed["path"], pushed["worktrees_root"]) == (PLACE.path, PLACE.root)
    assert found["outcome"]["message_to_human"].endswith(", pushed")
    assert found["outcome"]["evidence"]["pushed"] is True


@pytest.mark.parametrize(
    "check",
    [{**CHECK, "verdict": "failed"}, {**CHECK, "verdict": "unverified"}, {**CHECK, "pushed": True}],
    ids=["failed", "unverified", "pushed by the agent"],
)
def test_nothing_else_is_pushed(vm: VM, check: dict[str, Any]) -> None:
    vm.verify(check, request={**BRANCHED, "verify": "make test", "push": True})
    assert [asked["module"] for asked in vm.asked] == ["verify_work"]


def test_what_is_in_no_commit_is_not_pushed(vm: VM) -> None:
    check = {**CHECK, "untracked_files": ["new.py"]}
    found = vm.verify(check, request={**BRANCHED, "verify": "make test", "push": True})
    assert (found["outcome"]["state"], found["reason_code"]) == ("failed", "not_committed")
    assert [asked["module"] for asked in vm.asked] == ["verify_work"]


def test_a_push_that_is_refused_is_a_failure(vm: VM) -> None:
    refused = {"failed": True, "msg": "no", "reason_code": "push_refused", "next_action": "look at its hooks"}
    found = vm.verify(CHECK, refused, request={**BRANCHED, "verify": "make test", "push": True})
    assert (found["outcome"]["state"], found["reason_code"]) == ("failed", "push_refused")
    assert found["next_action"] == "look at its hooks"


@pytest.mark.parametrize(
    ("verify", "ends"),
    [(None, True), ("make test", False)],
    ids=["nothing comes after", "a check comes after"],
)
def test_the_wait_leaves_the_last_word_to_the_check(
    vm: VM, monkeypatch: pytest.MonkeyPatch, verify: str | None, ends: bool
) -> None:
    ended: list[Outcome] = []

    class Trail:
        def about(self, *_: Any, **__: Any) -> None: ...

        def progress(self, _: Any) -> None: ...

        def ended(self, outcome: Outcome) -> None:
            ended.append(outcome)

    monkeypatch.setattr(opencode_wait.ActionModule, "_telling", lambda _: Trail())
    session = vm.ansible.fake.session("ses_1")
    session.user("msg_1", "Run")
    session.step("a", finish="stop", text="done")
    request = {**BRANCHED, "verify": verify} if verify else BRANCHED
    sent = {
        **SENT,
        "message": "msg_1",
        "directory": None,
        "outcome": {"state": "running", "repo": "affordabot"},
    }
    vm.ansible.run(opencode_wait, request=request, sent=sent)
    assert bool(ended) is ends


MACMINI = {"inventory_hostname": "macmini", "opencode_url": "http://macmini:4105"}
# Each action that runs a module on the VM, with what it is given, and the module's answer.
ON_A_VM = {
    "make": (dispatch_worktree, {"request": BRANCHED, "plan": {"id": "d1"}}, WORKTREE),
    "release": (
        dispatch_worktree,
        {
            "state": "released",
            "worktree": MADE,
            "sent": SENT,
            "followed": {"outcome": {"state": "completed"}},
        },
        {"changed": True},
    ),
    "verify": (dispatch_verify, {"policies": policies(verify="make test")}, GIT_SAYS_NO),
}


@pytest.mark.parametrize("step", ON_A_VM)
def test_work_that_is_delegated_to_a_vm_is_done_with_what_holds_for_it(vm: VM, step: str) -> None:
    action, options, answer = ON_A_VM[step]
    vm.ansible.delegate_to = "macmini"
    vm.ansible.host["ansible_delegated_vars"] = {"macmini": {**MACMINI, "dx_worktrees_root": "/mac"}}
    if action is dispatch_verify:
        found = vm.verify(answer, **options)
        assert found["outcome"]["state"] == "unverified"
    else:
        vm.run(action, answer, **options)
    assert {client["url"] for client in vm.ansible.connected} <= {"http://macmini:4105"}
    assert vm.asked
    if step == "make":
        assert vm.asked[0]["worktrees_root"] == "/mac"


@pytest.mark.parametrize("step", ON_A_VM)
@pytest.mark.parametrize("known", [{}, {"localhost": {"inventory_hostname": "localhost"}}])
def test_work_that_is_delegated_to_a_host_without_a_server_is_refused(
    vm: VM, step: str, known: dict[str, Any]
) -> None:
    action, options, _ = ON_A_VM[step]
    vm.ansible.delegate_to = "localhost"
    vm.ansible.host["ansible_delegated_vars"] = known
    found = vm.verify(**options) if action is dispatch_verify else vm.run(action, **options)
    assert (found["reason_code"], found["outcome"]["vm"]) == ("url_missing", "localhost")
    assert "leave delegate_to out" in found["next_action"]
    assert vm.asked == []
