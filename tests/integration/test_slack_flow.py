# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a dispatch tells in Slack, as another account reads it there, whatever becomes of it, of its controller
or of Slack."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.store import deliverer_process
from ansible_collections.dx.fleet.plugins.plugin_utils.audit.store.outbox import Outbox, outbox_path

from tests.command import Completed
from tests.lab import Lab
from tests.lab.proxy import FaultProxy, status
from tests.lab.slack import SlackWorkspace, Thread
from tests.lab.tracker import Tracker

from .ahead import Ahead, ahead
from .fleet import Fleet, fresh_id
from .gate import Gate
from .served import closed_port, hanging
from .test_bead_crash import KILLED, killing, someone_else

US = "claude-code@macmini"


@dataclass(frozen=True)
class Stage:
    """The fleet, the tracker and the workspace, in which each case finds its own thread by its dispatch's id."""

    lab: Lab
    fleet: Fleet
    tracker: Tracker
    slack: SlackWorkspace
    directory: Path

    def person(self, **env: str) -> Fleet:
        """The fleet for a person with an outbox of their own."""
        state = {
            "XDG_STATE_HOME": str(self.directory / fresh_id()),
            "DX_SLACK_FLUSH_TIMEOUT": "60",  # so that what is delivered can be asserted
            "DX_ORCHESTRATOR": US,
            "NO_PROXY": "*",
        }
        own = {**self.lab.env_with(self.slack), **self.tracker.env, **state, **env}
        folder = self.directory / "policy"
        folder.mkdir(exist_ok=True)
        # What is told of a worktree and a check has a test of its own.
        return replace(self.fleet, env=own).with_policy(folder, worktree="never", close_on="completed")

    def threads(self, dispatch: str) -> list[Thread]:
        """The threads in which that dispatch is told."""
        return [thread for thread in self.slack.threads() if thread_key(thread) == dispatch]


@dataclass(frozen=True)
class Story:
    """How a case ended: its commands, and the threads of its dispatch."""

    ended: tuple[Completed, ...]
    threads: list[Thread]
    more: Any = None

    @property
    def result(self) -> dict[str, Any]:
        """Of the last command."""
        return self.ended[-1].result()

    @property
    def root(self) -> str:
        """The words of the only root."""
        (thread,) = self.threads
        return str(thread.root.text)

    @property
    def told(self) -> list[str]:
        """The lines of the only thread, without what differs from run to run."""
        (thread,) = self.threads
        return [plain(line) for line in lines(thread)]


def thread_key(thread: Thread) -> str:
    return str((thread.root.metadata or {}).get("event_payload", {}).get("thread_key"))


def lines(thread: Thread) -> list[str]:
    """What a person reads in the replies."""
    shown = [block["text"]["text"] for reply in thread.replies for block in reply.blocks]
    return [line for text in shown for line in text.split("\n")]


def plain(line: str) -> str:
    """A line without session ids, times, tokens and costs."""
    line = re.sub(r"ses_[\w-]+", "SES", line)
    line = re.sub(r"(\] Bead \S+ is (?:closed|blocked)): .*", r"\1", line)
    return re.sub(r" \([^()]*\d+(?:\.\d+)? s\)", " (EVIDENCE)", line)


def story(stage: Stage, *ended: Completed, dispatch: str | None = None, more: Any = None) -> Story:
    name = dispatch or str(ended[-1].result()["dispatch"])
    return Story(ended, stage.threads(name), more)


def success(stage: Stage) -> Story:
    """A dispatch, and the same once more."""
    words = ("epyc6", "affordabot", "@bash true\n@say tests passed", "--id", fresh_id())
    person = stage.person()
    return story(stage, person.dispatch(*words), person.dispatch(*words))


def failure(stage: Stage) -> Story:
    return story(stage, stage.person().dispatch("epyc6", "affordabot", "@status 401\n@say never"))


def repo_missing(stage: Stage) -> Story:
    return story(stage, stage.person().dispatch("epyc6", "no-such-repo", "Do it"))


def question(stage: Stage) -> Story:
    person = stage.person()
    done = person.dispatch("epyc6", "affordabot", "@question Which colour? | red | blue\n@say answered")
    result = done.result()
    request, directory = result["evidence"]["request"]["id"], result["evidence"]["directory"]
    person["epyc6"].ask(
        "POST", f"/question/{request}/reply", {"answers": [["red"]]}, directory=directory
    ).raise_for_status()
    return story(stage, done, person.dispatch("epyc6", "--id", result["dispatch"]))


def steps(stage: Stage) -> Story:
    return story(stage, stage.person().dispatch("epyc6", "affordabot", "@loop", "--max-steps", "3"))


def clock(stage: Stage) -> Story:
    return story(stage, stage.person().dispatch("epyc6", "affordabot", "@bash sleep 60", "--timeout", "3"))


def bead(stage: Stage) -> Story:
    name = stage.tracker.create("@say from a bead")
    return story(stage, stage.person().dispatch("epyc6", "affordabot", "--bead", name), more=name)


def given_back(stage: Stage) -> Story:
    """What fails before the prompt."""
    name = stage.tracker.create("@say never")
    directory = stage.directory / "behind"
    directory.mkdir()
    with FaultProxy(stage.lab.vms["epyc6"].url) as proxy:
        proxy.add(
            "POST",
            "/api/session$",
            status(500, {"name": "UnknownError", "data": {"message": "Unexpected server error"}}),
            times=None,
        )
        person = stage.person().seen_at(directory, epyc6=proxy.url)
        done = person.dispatch("epyc6", "affordabot", "--bead", name)
        (dispatch,) = {each.event.subject.dispatch for each in Outbox(outbox_path(person.env)).trail()}
        return story(stage, done, dispatch=dispatch, more=name)


def taken_over(stage: Stage) -> Story:
    name = stage.tracker.create("@silent 2\n@say went on")
    first = stage.person()
    died = killing(first, "AFTER", "Send the task").dispatch("epyc6", "affordabot", "--bead", name)
    other = someone_else(stage.person(), stage.directory / "other-home")
    done = other.dispatch("epyc6", "affordabot", "--bead", name)
    late = first.look_plainly("audit", "flush")
    return story(stage, died, late, done, more=name)


def everywhere(stage: Stage) -> Story:
    name = fresh_id()
    done = stage.person().dispatch("--all", "affordabot", "@say all done", "--id", name)
    return story(stage, done, dispatch=f"{name}.*")


def race(stage: Stage) -> Story:
    name = stage.tracker.create("@silent 2\n@say won")
    people = [stage.person(), stage.person()]
    words = ("epyc6", "affordabot", "--bead", name, "--json", "--preflight-timeout", "60")
    ended = [running.finish() for running in [person.start(*words) for person in people]]
    kept = sorted(len(Outbox(outbox_path(person.env)).trail()) for person in people)
    return story(stage, *ended, dispatch=stage.tracker.metadata(name)["dispatch"], more=(name, kept))


def switched_off(stage: Stage) -> Story:
    person = stage.person()
    done = person.dispatch("epyc6", "affordabot", "@say quiet", "--no-slack")
    return story(stage, done, more=outbox_path(person.env).exists())


def playbook(stage: Stage) -> Story:
    name = fresh_id()
    person = stage.person(ANSIBLE_CALLBACKS_ENABLED="dx.fleet.slack_audit")
    variables = {"target": "epyc6", "repo": "affordabot", "task": "@say played", "id": name}
    return story(stage, person.playbook("dx.fleet.dispatch", **variables), dispatch=name)


def told_later(stage: Stage, url: str) -> Story:
    """A dispatch while Slack is not itself, and ``dx-fleet audit flush`` when it is again."""
    person = stage.person()
    spoiled = replace(person, env={**person.env, "DX_SLACK_API_URL": url, "DX_SLACK_FLUSH_TIMEOUT": "1"})
    done = spoiled.dispatch("epyc6", "affordabot", "@say told later")
    later = person.look_plainly("audit", "flush")
    return story(stage, later, done)


def nobody_listens(stage: Stage) -> Story:
    return told_later(stage, f"http://127.0.0.1:{closed_port()}/api/")


def hangs(stage: Stage) -> Story:
    with hanging() as port:
        return told_later(stage, f"http://127.0.0.1:{port}/api/")


def misnamed(stage: Stage) -> Story:
    person = stage.person(DX_ORCHESTRATOR="nobody")
    return story(stage, person.command("epyc6", "affordabot", "@say went on", "--json"))


def interrupted(stage: Stage) -> Story:
    name, gate, person = fresh_id(), Gate(stage.lab, "epyc6"), stage.person()
    running = person.start("epyc6", "affordabot", f"{gate.wait}\n@say joined", "--id", name)
    running.wait_for("Task sent")
    running.interrupt()
    left = running.finish()
    gate.open()
    return story(stage, left, person.dispatch("epyc6", "--id", name))


def killed(stage: Stage) -> Story:
    name, person = fresh_id(), stage.person()
    words = ("epyc6", "affordabot", "@say survived", "--id", name)
    died = killing(person, "AFTER", "Send the task").dispatch(*words)
    return story(stage, died, person.dispatch(*words))


def unwritable(stage: Stage) -> Story:
    """By a file in the place of its directory: that stops root as well."""
    person = stage.person()
    path = outbox_path(person.env)
    path.parent.parent.mkdir()
    path.parent.touch()
    return story(stage, person.dispatch("epyc6", "affordabot", "@say went on"))


def three_at_once(stage: Stage) -> Story:
    """Two dx-dispatch and a playbook of one person, and how many deliverers there are meanwhile."""
    names = [fresh_id() for _ in range(3)]
    person = stage.person(ANSIBLE_CALLBACKS_ENABLED="dx.fleet.slack_audit")
    ended = threading.Event()
    with ThreadPoolExecutor() as pool:
        seen = pool.submit(most_deliverers_of, person.env["XDG_STATE_HOME"], ended)
        running = [
            person.start(vm, "affordabot", "@say here", "--id", name)
            for vm, name in zip(("macmini", "homedesktop"), names[1:], strict=True)
        ]
        variables = {"target": "epyc6", "repo": "affordabot", "task": "@say here", "id": names[0]}
        done = (person.playbook("dx.fleet.dispatch", **variables), *(each.finish() for each in running))
        ended.set()
        most = seen.result()
    return Story(done, [thread for name in names for thread in stage.threads(name)], most)


def most_deliverers_of(state: str, ended: threading.Event) -> int:
    """The highest number of deliverers of one outbox at a time, by looking many times a second."""
    most = 0
    while not ended.wait(0.05):
        pids = [
            process
            for process in psutil.process_iter(["cmdline"])
            if deliverer_process.MODULE in (process.info["cmdline"] or ())
        ]
        most = max(most, sum(is_of(process, state) for process in pids))
    return most


def is_of(process: psutil.Process, state: str) -> bool:
    try:
        return bool(process.environ()["XDG_STATE_HOME"] == state)
    except psutil.Error:  # it has ended
        return False


# The longest first.
CASES = (
    *(three_at_once, taken_over, race, question, interrupted, killed, success, clock, steps, hangs),
    *(nobody_listens, everywhere, given_back, bead, failure, switched_off, repo_missing, playbook),
    *(misnamed, unwritable),
)


Came = Ahead[Callable[[Stage], Story], Story]


@pytest.fixture(scope="module")
def came(
    lab: Lab,
    whole_fleet: Fleet,
    tracker: Tracker,
    workspace: SlackWorkspace,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Came]:
    """What came of each case."""
    stage = Stage(lab, whole_fleet, tracker, workspace, tmp_path_factory.mktemp("people"))
    with ahead(lambda case: case(stage), CASES) as found:
        yield found
    whole_fleet.kill_started()


def trail(end: str, *, bead: str = "", vm: str = "epyc6") -> list[str]:
    """The replies of a dispatch that nothing comes between; what is dispatched, the head says."""
    return [
        *([f"[{vm}] Claimed {bead} for {US}"] if bead else []),
        f"[{vm}] Session created: SES",
        f"[{vm}] {end} (EVIDENCE)",
    ]


def without_end_of_bead(told: list[str], bead: str) -> list[str]:
    """The replies before the last, which says what became of the bead."""
    assert told[-1].startswith(f"[epyc6] Bead {bead} is ")
    return told[:-1]


def counted(result: dict[str, Any]) -> tuple[int, int, int]:
    audit = result["audit"]
    return audit["delivered"], audit["pending"], audit["held"]


def test_a_success(came: Came) -> None:
    found = came[success]
    first = found.ended[0]
    assert (first.code, counted(first.result())) == (0, (3, 0, 0))
    assert found.told == trail("Finished, not verified: the agent wrote: tests passed")
    assert found.root == (
        "⚪ Finished, not verified on epyc6: [macmini] Dispatching to epyc6: @bash true @say tests passed"
    )
    assert found.result["session"] in str(found.threads[0].replies[0].raw)


def test_a_failure_with_what_to_do_next(came: Came) -> None:
    found = came[failure]
    assert found.ended[0].code == 3
    *before, last = found.told
    assert before == ["[epyc6] Session created: SES"]
    assert last.startswith(
        "[epyc6] Failed: the model failed: APIError 401: scripted status 401 (EVIDENCE). Next: "
    )
    assert found.root.startswith("❌ Failed on epyc6: ")


def test_what_says_no_before_anything_is_sent_is_said_by_the_head_alone(came: Came) -> None:
    found = came[repo_missing]
    assert found.told == []
    assert "epyc6 has no repo 'no-such-repo'" in str(found.threads[0].root.blocks)
    assert found.root.startswith("🚫 Refused on epyc6: ")


def test_one_that_waits_for_a_person_and_goes_on(came: Came) -> None:
    found = came[question]
    assert [done.code for done in found.ended] == [6, 0]
    asked = found.told[1]
    assert asked.startswith("[epyc6] Needs input: the agent waits for an answer: Which colour?")
    assert len(found.told) == 3
    assert found.told[2].startswith("[epyc6] Finished, not verified: the agent wrote: answered")
    assert found.root.startswith("⚪ Finished, not verified on epyc6: ")


@pytest.mark.parametrize(
    ("case", "why", "end", "shown"),
    [
        (steps, "more than 3 steps", "Aborted: more than 3 steps", "🛑 Aborted"),
        (clock, "not finished after 3 s", "Timed out: not finished after 3 s", "⌛ Timed out"),
    ],
)
def test_a_stop_is_told_before_it_is_asked_for_and_when_it_is_proven(
    came: Came, case: Callable[[Stage], Story], why: str, end: str, shown: str
) -> None:
    found = came[case]
    assert found.told[:3] == [
        "[epyc6] Session created: SES",
        f"Aborting epyc6 session SES: {why}",
        "Stopped. What next?",
    ]
    assert found.told[3].startswith(f"[epyc6] {end}")
    assert len(found.told) == 4
    assert found.root.startswith(f"{shown} on epyc6: ")


def test_a_bead(came: Came) -> None:
    found = came[bead]
    expected = trail("Finished, not verified: the agent wrote: from a bead", bead=found.more)
    assert without_end_of_bead(found.told, found.more) == expected


def test_a_bead_that_is_given_back(came: Came) -> None:
    found = came[given_back]
    assert found.ended[0].code == 4
    assert found.told[0] == f"[epyc6] Claimed {found.more} for {US}"
    assert [line for line in found.told if "Session created" in line] == []
    assert any(line.startswith("[epyc6] Refused: ") for line in found.told)
    assert found.told[-1].startswith(f"[epyc6] Bead {found.more} is released: ")


def test_a_bead_that_another_orchestrator_finishes_stays_one_thread(came: Came) -> None:
    found = came[taken_over]
    died, flushed, done = found.ended
    assert (died.code, flushed.code, done.code) == (KILLED, 0, 0)
    first = trail("Finished, not verified: the agent wrote: went on", bead=found.more)
    taken = "[epyc6] Taken over by antigravity@homedesktop-wsl from claude-code@macmini"
    then = [taken, first.pop(), found.told[-1]]
    assert found.told[-1].startswith(f"[epyc6] Bead {found.more} is ")
    assert sorted(found.told) == sorted(first + then)
    # What the first one could not tell any more comes when it can; each one's own order holds.
    assert [line for line in found.told if line in first] == first
    assert [line for line in found.told if line in then] == then


def test_three_vms_are_one_thread(came: Came, lab: Lab) -> None:
    found = came[everywhere]
    trails = [trail("Finished, not verified: the agent wrote: all done", vm=vm) for vm in lab.vms]
    assert sorted(found.told) == sorted(line for each in trails for line in each)
    for each in trails:
        assert [line for line in found.told if line in each] == each
    assert found.root == "⚪ 3 finished, not verified: [macmini] Dispatching to 3 VMs: @say all done"
    assert {counted(result) for result in found.ended[0].results().values()} == {(3, 0, 0)}


def test_who_loses_the_race_for_a_bead_leaves_no_line(came: Came) -> None:
    found = came[race]
    name, kept = found.more
    assert sorted(done.code for done in found.ended) == [0, 4]
    expected = trail("Finished, not verified: the agent wrote: won", bead=name)
    assert without_end_of_bead(found.told, name) == expected
    assert kept == [0, 5]


def test_two_commands_and_a_playbook_at_once_have_one_deliverer(came: Came) -> None:
    found = came[three_at_once]
    assert [done.code for done in found.ended] == [0, 0, 0]
    assert found.more == 1
    assert [[plain(line) for line in lines(thread)] for thread in found.threads] == [
        trail("Finished, not verified: the agent wrote: here", vm=vm)
        for vm in ("epyc6", "macmini", "homedesktop")
    ]


def test_a_replay_tells_nothing_twice(came: Came) -> None:
    assert came[success].told == trail("Finished, not verified: the agent wrote: tests passed")
    assert [counted(done.result()) for done in came[success].ended] == [(3, 0, 0)] * 2


def test_switched_off_nothing_is_told_or_kept(came: Came) -> None:
    """What switches it off is in :mod:`tests.unit.plugin_utils.cli.commands.test_audit`."""
    (done,) = came[switched_off].ended
    assert (done.code, done.result()["audit"]) == (0, None)
    assert came[switched_off].threads == []
    assert came[switched_off].more is False


def test_a_playbook_tells_the_same(came: Came) -> None:
    assert came[playbook].ended[0].code == 0
    assert came[playbook].told == trail("Finished, not verified: the agent wrote: played")


@pytest.mark.parametrize("case", [nobody_listens, hangs])
def test_where_slack_is_not_itself_the_dispatch_ends_as_ever_and_is_told_later(
    came: Came, case: Callable[[Stage], Story]
) -> None:
    found = came[case]
    flushed, done = found.ended
    assert (done.code, found.result["state"], counted(found.result)) == (0, "completed", (0, 3, 0))
    assert flushed.code == 0
    assert "3 delivered now" in flushed.out
    assert found.told == trail("Finished, not verified: the agent wrote: told later")
    assert found.root.startswith("⚪ Finished, not verified on epyc6: ")


def test_ctrl_c_loses_nothing(came: Came) -> None:
    found = came[interrupted]
    assert [done.code for done in found.ended] == [130, 0]
    *before, last = found.told
    assert before == ["[epyc6] Session created: SES"]
    assert last.startswith("[epyc6] Finished, not verified: the agent wrote: joined")


def test_what_a_killed_controller_recorded_is_told_by_the_next_run(came: Came) -> None:
    found = came[killed]
    assert [done.code for done in found.ended] == [KILLED, 0]
    assert found.told == trail("Finished, not verified: the agent wrote: survived")
    assert counted(found.result) == (3, 0, 0)


def test_a_name_of_the_orchestrator_that_is_none_ends_no_dispatch(came: Came) -> None:
    (done,) = came[misnamed].ended
    assert (done.code, counted(done.result())) == (0, (3, 0, 0)), done
    assert "DX_ORCHESTRATOR='nobody' is not AGENT@HOST" in done.err


def test_without_a_usable_outbox_the_dispatch_goes_on_loudly(came: Came) -> None:
    (done,) = came[unwritable].ended
    assert (done.code, done.result()["state"], done.result()["audit"]) == (0, "completed", None)
    assert "not posted to Slack" in done.err
    assert "Not a directory" in done.err
    assert came[unwritable].threads == []
