# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How work on a bead ends: claim, worktree, session, the agent's work, our own check, close.

Each ending is asserted on Beads, on git, on the server and on the Slack thread; of our own output only the exit
code and the state.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.command import Completed
from tests.lab import Lab
from tests.lab.slack import SlackWorkspace, Thread
from tests.lab.tracker import Tracker
from tests.wait import wait_for

from .ahead import Ahead, ahead, chosen
from .clone import Clone, git
from .fleet import Fleet, fresh_id
from .test_bead_crash import KILLED, killing, someone_else
from .test_fleet_test import PYTEST
from .test_slack_flow import lines, plain, thread_key

US = "claude-code@macmini"
TEST = "tests/test_affordabot.py"
PACKAGE = "affordabot/__init__.py"
REFUSED_FILE = "REFUSED_BY_THE_HOOK"
HOOK = f'#!/bin/sh\nif git diff --cached --name-only | grep -q {REFUSED_FILE}; then echo "not this one"; exit 1; fi\n'
UPDATE_HOOK = '#!/bin/sh\n[ ! -e "refused/$(basename "$1")" ] || { echo "the branch is frozen"; exit 1; }\n'

EDIT = f"@edit {PACKAGE} <<< return sum(amounts) ==> return sum(list(amounts))"
CHANGE = f"{EDIT}\n@commit Add them up as a list\n@say done"
BREAK = f"@edit {PACKAGE} <<< return sum(amounts) ==> return sum(amounts) + 1\n"
REPORT = "<testsuite tests='3'><testcase name='a'/><testcase name='b'/><testcase name='c'/></testsuite>"


@dataclass(frozen=True)
class Ending:
    """What an agent does, what the repo's policy is, and what is to be seen of it.

    Attributes:
        task: For the scripted model.
        policy: What the endpoints file has for the repo.
        options: Of dx-dispatch.
        vm: What the endpoints file has for the VM.
        code: The exit code.
        result: State and reason code.
        bead: The bead's status.
        reason: What the bead's notes or its close reason have of it.
        slack: The last line of the thread, without its numbers in brackets.
        head: How the thread's head begins.
        commits: How many commits the branch has that its base has not.
        pushed: Whether the remote's branch has them.
        dirty: What `git status` shows in the worktree.
    """

    task: str
    code: int
    result: tuple[str, str]
    bead: str
    reason: str
    head: str
    slack: str
    policy: Mapping[str, object] = field(default_factory=lambda: {"verify": "make test"})
    options: tuple[str, ...] = ()
    vm: Mapping[str, object] = field(default_factory=dict)
    commits: int = 1
    pushed: bool = False
    dirty: str = ""


def failed(reason: str, said: str) -> dict[str, Any]:
    """An end that is laid at the agent's door."""
    return {
        "code": 3, "result": ("failed", reason), "bead": "blocked", "reason": f"failed: {said}",
        "head": "❌ Failed", "slack": f"Failed: {said}",
    }  # fmt: skip


def unverified(reason: str, said: str) -> dict[str, Any]:
    """An end that proves nothing."""
    return {
        "code": 10, "result": ("unverified", reason), "bead": "blocked", "reason": f"unverified: {said}",
        "head": "⚪ Unverified", "slack": f"Unverified: {said}",
    }  # fmt: skip


def verified(said: str, numbers: str, **more: Any) -> dict[str, Any]:
    """An end in which our own check passed."""
    return {
        "code": 0, "result": ("verified", "tests_passed"), "bead": "closed", "reason": f"verified: {said}",
        "head": "✅ Verified", "slack": f"Completed: tests passed ({numbers})", **more,
    }  # fmt: skip


PATIENT = ("--preflight-timeout", "60")
PASSED = verified("3 passed, 1 commit, +1/-1", "3, 1 commit, +1/-1")
ONE_FAILED = "1 of 3 failed: test_that_can_be_broken"
BY_REPORT = {"verify": PYTEST, "report": "report.xml"}
ENDINGS = {
    "done and pushed": Ending(
        f"{EDIT}\n@commit Add them up as a list\n@push\n@say done",
        **verified("3 passed, 1 commit, +1/-1, pushed", "3, 1 commit, +1/-1, pushed", pushed=True),
    ),
    "done and pushed by us": Ending(
        CHANGE,
        options=("--push",),
        **verified("3 passed, 1 commit, +1/-1, pushed", "3, 1 commit, +1/-1, pushed", pushed=True),
    ),
    "the agent lies": Ending(
        "@bash touch BREAK\n@commit All tests pass\n@lie", **failed("tests_failed", ONE_FAILED)
    ),
    "tests fail": Ending(
        f"{BREAK}@commit Add one\n@say the tests fail",
        **failed("tests_failed", "2 of 3 failed: test_of_nothing"),
    ),
    "edits the tests until they pass": Ending(
        f"{BREAK}@bash sed -i 's/, 6)/, 7)/; s/, 0)/, 1)/' {TEST}\n@commit Make them pass\n@lie",
        **verified(
            f"3 passed; the work changed tests that were there: {TEST}, 1 commit, +3/-3",
            f"3, 1 commit, +3/-3, changed tests: {TEST}",
        ),
    ),
    "edits the check until it passes": Ending(
        "@bash touch BREAK && sed -i 's/unittest discover/unittest discover -k nothing/' Makefile\n@commit Make it pass\n@lie",
        **unverified("check_changed", "the work changed what it is checked with: Makefile"),
    ),
    "a test that ends the run": Ending(
        f"@write {TEST} <<< import os\\n\\ndef test_a():\\n\\tos._exit(0)\n@commit One test\n@lie",
        policy=BY_REPORT,
        **unverified("report_missing", "the check ended well, but wrote no report"),
    ),
    "a stale report": Ending(
        f"@write report.xml <<< {REPORT}\n@commit All tests pass\n@lie",
        policy={"verify": "make lint", "report": "report.xml"},
        **unverified("report_stale", "the check ended well, but its report is of an earlier run"),
    ),
    "zero tests": Ending(
        f"@bash git rm -q {TEST}\n@commit No tests any more\n@lie",
        **unverified("no_tests_found", "the check ended well, but ran no test"),
    ),
    "the commit hook refuses": Ending(
        f"@write {REFUSED_FILE} <<< x\n@commit Not this one\n@lie",
        options=("--push",),
        commits=0,
        dirty=f"A  {REFUSED_FILE}",
        **failed("not_committed", "verified (3 passed, 1 uncommitted), but not pushed: 1 files are in no commit"),
    ),
    "nothing changed": Ending(
        "@lie",
        options=("--expect-changes",),
        commits=0,
        code=9,
        result=("no_op", "no_changes"),
        bead="blocked",
        reason="no_op: nothing was changed",
        head="⚪ No work done",
        slack="No work done: nothing was changed, and a change was expected",
    ),
    "the check hangs": Ending(
        CHANGE,
        policy={"verify": "exec sleep 600", "verify_timeout": 1},
        **unverified("check_timed_out", "the check did not end within its time"),
    ),
    "the check leaves a daemon": Ending(
        CHANGE,
        policy={"verify": "setsid env -i sh -c 'exec sleep 86399' </dev/null >/dev/null 2>&1 & make test"},
        **PASSED,
    ),
    "the check floods its output": Ending(
        CHANGE,
        policy={"verify": "yes flood | head -c 40000000; make test"},
        **PASSED,
    ),
    "the push is refused": Ending(
        CHANGE,
        options=("--push",),
        **failed("push_refused", "verified (3 passed, 1 commit, +1/-1), but not pushed: "),
    ),
    "the worktree can't be made": Ending(
        CHANGE,
        vm={"worktrees_root": "/proc/nowhere"},
        code=4,
        result=("refused", "root_not_writable"),
        bead="open",
        reason="",
        head="🚫 Refused",
        slack="Bead BEAD is released",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Came:
    """A dispatch that came to its end.

    Attributes:
        bead: The bead.
        vm: The VM.
        done: The command.
        thread: The dispatch's only thread.
        output_size: Of the file with the output of the check, in bytes.
    """

    bead: str
    vm: str
    done: Completed
    thread: Thread
    output_size: int

    @property
    def branch(self) -> str:
        return f"dx/{self.bead}"


@dataclass(frozen=True)
class Stage:
    """The fleet, the tracker and the workspace, and a folder for what people have of their own."""

    lab: Lab
    fleet: Fleet
    tracker: Tracker
    slack: SlackWorkspace
    folder: Path
    clones: Mapping[str, Clone]

    def person(self, policy: Mapping[str, object], vm: str = "epyc6", **described: object) -> Fleet:
        """The fleet for a person with an outbox and an endpoints file of their own."""
        own = self.folder / fresh_id()
        own.mkdir()
        env = {
            **self.lab.env_with(self.slack), **self.tracker.env, "XDG_STATE_HOME": str(own / "state"),
            "DX_SLACK_FLUSH_TIMEOUT": "60", "DX_ORCHESTRATOR": US, "NO_PROXY": "*",
        }  # fmt: skip
        return (
            replace(self.fleet, env=env).with_policy(own, **policy).described_as(own, **{vm: described or {}})
        )

    def ended(self, bead: str, vm: str, done: Completed) -> Came:
        """A dispatch of that bead, with its thread."""
        result = done.result()
        (thread,) = [each for each in self.slack.threads() if thread_key(each) == result["dispatch"]]
        output = (result["evidence"] or {}).get("verify_output")
        return Came(bead, vm, done, thread, Path(output).stat().st_size if output else 0)


@pytest.fixture(scope="module")
def stage(
    lab: Lab,
    whole_fleet: Fleet,
    tracker: Tracker,
    workspace: SlackWorkspace,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Stage]:
    """What all endings share. Its clone of epyc6 has a commit hook, and its remote one that refuses branches."""
    remote = lab.root / "remotes" / "affordabot.git"
    hooks = {
        lab.vms["epyc6"].repo("affordabot") / ".git/hooks/pre-commit": HOOK,
        remote / "hooks/update": UPDATE_HOOK,
    }
    for path, text in hooks.items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
    (remote / "refused").mkdir()
    yield Stage(
        lab,
        whole_fleet,
        tracker,
        workspace,
        tmp_path_factory.mktemp("people"),
        {name: Clone(vm) for name, vm in lab.vms.items()},
    )
    for path in hooks:
        path.unlink()
    whole_fleet.kill_started()


@pytest.fixture(scope="module")
def came(request: pytest.FixtureRequest, stage: Stage) -> Iterator[Ahead[str, Came]]:
    """What came of each ending that is looked at."""
    with ahead(lambda name: run(stage, name), chosen(request, "name")) as found:
        yield found


def run(stage: Stage, name: str) -> Came:
    ending = ENDINGS[name]
    bead = stage.tracker.create(name, ending.task)
    if name == "the push is refused":
        (stage.lab.root / "remotes" / "affordabot.git" / "refused" / bead).touch()
    person = stage.person(ending.policy, **ending.vm)
    done = person.dispatch("epyc6", "affordabot", "--bead", bead, *ending.options, *PATIENT)
    return stage.ended(bead, "epyc6", done)


def told(thread: Thread, bead: str) -> list[str]:
    """The lines of a thread, without what differs from run to run."""
    return [plain(line).replace(bead, "BEAD") for line in lines(thread)]


@pytest.mark.parametrize("name", ENDINGS)
def test_an_ending(stage: Stage, came: Ahead[str, Came], name: str) -> None:
    found = came[name]
    check_all(stage, ENDINGS[name], found)
    assert [
        each for each in psutil.process_iter(["cmdline"]) if "86399" in (each.info["cmdline"] or ())
    ] == []
    assert found.output_size < 9 << 20


def check_all(stage: Stage, ending: Ending, found: Came) -> None:
    """The ending on Beads, on git, on the server and in Slack."""
    result = found.done.result()
    assert (found.done.code, result["state"], result["reason_code"]) == (ending.code, *ending.result), found
    check_bead(stage, ending, found)
    if ending.result[0] == "refused":
        check_nothing_was_begun(stage, found)
    else:
        worktree = check_git(stage, ending, found)
        check_server(stage, found.vm, result["session"], worktree, ending.task)
    check_slack(ending, found)


def check_bead(stage: Stage, ending: Ending, found: Came) -> None:
    bead = stage.tracker.show(found.bead)
    assert bead["status"] == ending.bead
    written = bead.get("close_reason", "") if ending.bead == "closed" else bead.get("notes", "")
    assert ending.reason in written
    assert (bead["metadata"].get("branch") == found.branch) == (ending.bead != "open")


def check_git(stage: Stage, ending: Ending, found: Came) -> str:
    """The worktree's path."""
    clone = stage.clones[found.vm]
    worktree = clone.worktrees()[found.branch]
    assert "locked" not in worktree
    assert git(clone.path, "rev-list", "--count", f"main..{found.branch}") == str(ending.commits)
    assert clone.at_remote(found.branch) == (worktree["HEAD"] if ending.pushed else "")
    assert git(worktree["worktree"], "status", "--porcelain") == ending.dirty
    assert clone.is_untouched()
    assert git(clone.path, "symbolic-ref", "--short", "HEAD") == "main"
    return worktree["worktree"]


def check_server(stage: Stage, vm: str, session: str, worktree: str, task: str) -> None:
    """The session worked in the worktree, got the task once, and is idle."""
    server = stage.fleet[vm]
    assert server.session(session)["directory"] == worktree
    (prompt,) = server.prompts(session)
    assert task in "\n".join(prompt)
    assert not server.works_on(session)


def check_nothing_was_begun(stage: Stage, found: Came) -> None:
    clone = Clone(stage.lab.vms[found.vm])
    assert found.branch not in clone.worktrees()
    assert git(clone.path, "branch", "--list", found.branch) == ""
    assert stage.lab.model.calls(found.bead) == []
    assert found.done.result()["session"] is None or not stage.fleet[found.vm].has(
        found.done.result()["session"]
    )


def check_slack(ending: Ending, found: Came) -> None:
    said = told(found.thread, found.bead)
    assert said[0] == f"[{found.vm}] Claimed BEAD for {US}"
    assert any(line.startswith(f"[{found.vm}] {ending.slack}") for line in said), said
    assert found.thread.root.text.startswith(f"{ending.head} on {found.vm}: "), found.thread.root.text


def test_on_all_vms_in_parallel_and_two_beads_of_one_repo_on_one_vm(stage: Stage) -> None:
    ending = ENDINGS["done and pushed"]
    person = stage.person(ending.policy)
    clones = [Clone(stage.lab.vms[vm]) for vm in stage.lab.vms]
    vms = [*stage.lab.vms, "epyc6"]
    beads = [stage.tracker.create(f"In parallel on {vm}", ending.task) for vm in vms]
    running = [
        person.start(vm, "affordabot", "--bead", bead, "--json", *PATIENT)
        for vm, bead in zip(vms, beads, strict=True)
    ]
    for vm, bead, each in zip(vms, beads, running, strict=True):
        check_all(stage, ending, stage.ended(bead, vm, each.finish()))
    assert all(clone.is_untouched() for clone in clones)


def test_a_server_that_dies_in_the_middle_and_comes_back(stage: Stage) -> None:
    vm = stage.lab.vms["macmini"]
    task = f"{EDIT}\n@commit Before it dies\n@silent\n@say never"
    lost = Ending(
        task,
        code=3,
        result=("lost", "server_restarted"),
        bead="blocked",
        reason="our check: 3 passed",
        head="❌ Lost",
        slack="Lost: ",
    )
    bead = stage.tracker.create("Dies in the middle", task)
    person = stage.person(lost.policy)
    running = person.start("macmini", "affordabot", "--bead", bead, "--json", *PATIENT)
    stage.lab.model.wait_for_call("Before it dies", count=4)
    vm.kill()
    vm.start()
    check_all(stage, lost, stage.ended(bead, "macmini", running.finish()))
    again = person.dispatch(
        "--retry",
        bead,
        "macmini",
        "affordabot",
        "@bash echo more >> README.md\n@commit More\n@say done",
        *PATIENT,
    )
    assert (again.code, again.result()["evidence"]["commits"]) == (0, 2), again
    assert stage.tracker.status(bead) == "closed"
    assert git(vm.repo("affordabot"), "rev-list", "--count", f"main..dx/{bead}") == "2"


def test_an_orchestrator_that_is_replaced_in_the_middle(stage: Stage, tmp_path: Path) -> None:
    ending = Ending(CHANGE, **PASSED)
    bead = stage.tracker.create("Changes hands", CHANGE)
    first = stage.person(ending.policy)
    died = killing(first, "AFTER", "Send the task").dispatch("epyc6", "affordabot", "--bead", bead, *PATIENT)
    assert died.code == KILLED, died
    other = someone_else(stage.person(ending.policy), tmp_path / "home")
    done = other.dispatch("--bead", bead, *PATIENT)
    first.look_plainly("audit", "flush")  # what it had recorded before it died
    found = stage.ended(bead, "epyc6", done)
    check_all(stage, ending, replace(found, thread=sorted_by_claim(found.thread)))
    assert f"[epyc6] Taken over by antigravity@homedesktop-wsl from {US}" in told(found.thread, bead)
    assert stage.tracker.metadata(bead)["taken_from"] == US


@pytest.mark.parametrize(
    "step",
    [
        "Make the worktree",
        "Follow it to its end",
        "Verify the work and push what passed",
        "Let go of the worktree",
        "in the middle of the check",
    ],
)
def test_a_controller_that_is_killed_at_a_step_of_the_work(stage: Stage, tmp_path: Path, step: str) -> None:
    gate, reached = tmp_path / "gate", tmp_path / "reached"
    check = f"touch {reached}; until [ -e {gate} ]; do sleep 0.1; done; make test"
    bead = stage.tracker.create(step, CHANGE)
    words = ("epyc6", "affordabot", "--bead", bead, "--push", "--json", *PATIENT)
    person = stage.person({"verify": check})
    if step == "in the middle of the check":
        running = person.start(*words)
        wait_for(reached.exists)
        os.kill(running.pid, signal.SIGKILL)
        died = running.finish()
        gate.touch()
    else:
        gate.touch()
        died = killing(person, "AFTER", step).command(*words)
    assert died.code == KILLED, died
    other = someone_else(stage.person({"verify": check}), tmp_path / "home")
    done = other.dispatch("--bead", bead, "--push", *PATIENT)
    assert (done.code, done.result()["state"]) == (0, "verified"), done
    assert stage.tracker.status(bead) == "closed"
    pushed = ENDINGS["done and pushed by us"]
    found = Came(bead, "epyc6", done, Thread(None, ()), 0)  # type: ignore[arg-type] - Slack is not looked at
    worktree = check_git(stage, pushed, found)
    check_server(stage, "epyc6", done.result()["session"], worktree, CHANGE)
    vm = stage.lab.vms["epyc6"]
    git(vm.repo("affordabot"), "fsck", "--no-dangling")
    assert [each for each in psutil.process_iter(["cwd"]) if each.info["cwd"] == worktree] == []


def sorted_by_claim(thread: Thread) -> Thread:
    """The thread with the claim first: what a killed controller could not post comes with its next run."""
    return replace(
        thread, replies=tuple(sorted(thread.replies, key=lambda reply: "Claimed" not in reply.text))
    )
