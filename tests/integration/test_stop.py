# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A stop is proven: nothing of the session works on, whatever it was doing, and the bead says who and why."""

from __future__ import annotations

import asyncio
import re
import time
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any

import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.stop import StopMark
from ansible_collections.dx.fleet.plugins.plugin_utils.opencode.client import OpenCode
from ansible_collections.dx.fleet.plugins.plugin_utils.sessions.stop import Wanted, stop

from tests.command import Completed, Running
from tests.lab import Lab, ScriptedModel
from tests.lab.tracker import Tracker
from tests.wait import wait_for

from .fleet import Fleet, Server, stop_all_work
from .running import running

pytestmark = pytest.mark.usefixtures("idle_before")

STUBBORN = "trap '' TERM; while :; do sleep 1; done"
WORK = {
    "streaming": "@slow 60 2\n@say " + "word " * 60,
    "in bash": "@bash sleep 620",
    "in bash that ignores TERM": f'@bash sh -c "{STUBBORN}"',
    "with a child of another session": "@bash setsid sleep 601 & sleep 621",
    "with a daemon": "@bash (setsid sleep 602 >/dev/null 2>&1 &) ; sleep 622",
    "waiting for permission": "@permission",
    "while the provider fails": "@status 429 times=50",
    "with a subagent": "@task @bash sleep 603",
}


def clauses(stopped: dict[str, Any]) -> dict[str, bool]:
    return {clause["name"]: clause["proven"] for clause in stopped["clauses"]}


def started_by(task: str) -> list[str]:
    """The commands that a task leaves running, as :func:`running` finds them."""
    return re.findall(r"sleep 6\d\d", task)


@dataclass(frozen=True)
class AtWork:
    """A VM that works on a bead, and the command that waits for it."""

    vm: str
    bead: str
    title: str
    task: str
    waiting: Running


@dataclass(frozen=True)
class Stopped:
    """What became of one of them. ``stop`` is empty if nothing was; ``left``: what then still ran there."""

    stop: dict[str, Any]
    left: list[str]
    bead: dict[str, Any]
    ended: Completed


@dataclass(frozen=True)
class Halt:
    """``dx-fleet stop --all`` while each VM worked, and what became of each, by the kind of its work."""

    done: Completed
    took_s: float
    stopped: dict[str, Stopped]


class Halts:
    """The fleet is halted once for each three kinds of work, one on each VM; what raised raises again."""

    def __init__(self, fleet: Fleet, lab: Lab, tracker: Tracker) -> None:
        self.fleet, self.tracker = fleet, tracker
        self._lab = lab
        self._halts: dict[int, Future[Halt]] = {}

    def of(self, doing: str) -> Halt:
        """The one in which a VM did that."""
        number = list(WORK).index(doing) // 3
        if number not in self._halts:
            self._halts[number] = Future()
            try:
                self._halts[number].set_result(self._halt(list(WORK)[3 * number : 3 * number + 3]))
            except BaseException as error:
                self._halts[number].set_exception(error)
        return self._halts[number].result()

    def _halt(self, kinds: list[str]) -> Halt:
        stop_all_work(self._lab, self.fleet)
        at_work = {doing: self._begun(vm, doing) for doing, vm in zip(kinds, self._lab.vms, strict=False)}
        for work in at_work.values():
            self._wait_till_it_works(work)
        began = time.monotonic()
        done = self.fleet.look("stop", "--all", "--reason", "wrong branch", "--by", "feng")
        took_s = time.monotonic() - began
        left = {doing: self._left(work) for doing, work in at_work.items()}
        stops = {each["bead"]: each for each in done.document()["stops"]}
        stopped = {
            doing: Stopped(
                stops.get(work.bead, {}), left[doing], self.tracker.show(work.bead), work.waiting.finish()
            )
            for doing, work in at_work.items()
        }
        return Halt(done, took_s, stopped)

    def _begun(self, vm: str, doing: str) -> AtWork:
        title = f"{doing} on {vm}"
        bead = self.tracker.create(title, WORK[doing])
        waiting = self.fleet.start(vm, "affordabot", "--bead", bead, "--json")
        return AtWork(vm, bead, title, WORK[doing], waiting)

    def _wait_till_it_works(self, work: AtWork) -> None:
        wait_for(lambda: bool(self._lab.model.prompts(work.title)))
        session = self.tracker.metadata(work.bead)["session"]
        wait_for(lambda: self.fleet[work.vm].works_on(session))
        wait_for(lambda: all(map(running, started_by(work.task))))

    def _left(self, work: AtWork) -> list[str]:
        """What still runs of it, or on its VM."""
        children = [" ".join(each.cmdline()) for each in self._lab.vms[work.vm].children()]
        return children + [each for each in started_by(work.task) if running(each)]


@pytest.fixture(scope="module")
def halts(lab: Lab, whole_fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Halts:
    """Of people whose workspace has no other beads, which would be stopped as well."""
    folder = tmp_path_factory.mktemp("halts")
    tracker = Tracker.make(folder / "workspace")
    fleet = replace(whole_fleet, env={**whole_fleet.env, **tracker.env})
    return Halts(fleet.with_policy(folder, worktree="never", close_on="completed"), lab, tracker)


@pytest.mark.parametrize("doing", WORK)
def test_a_stop_is_proven_whatever_the_session_does(halts: Halts, doing: str) -> None:
    halt = halts.of(doing)
    stopped = halt.stopped[doing]
    found, ended = stopped.stop, stopped.ended.result()
    assert (halt.done.code, found.get("state"), found.get("proven")) == (0, "stopped", True), halt.done
    assert set(clauses(found)) == {
        "no_session_works",
        "nothing_queued",
        "no_process_left",
        "head_still",
        "bead_blocked",
    }
    assert stopped.left == []
    assert stopped.bead["status"] == "blocked"
    assert "stopped by feng" in stopped.bead["notes"]
    assert "wrong branch" in stopped.bead["notes"]
    if doing == "waiting for permission":  # nobody waited for it any more
        assert ended["state"] == "needs_input"
    else:
        assert (stopped.ended.code, ended["state"], ended["reason_code"]) == (8, "aborted", "stopped"), ended
        assert "stopped by feng: wrong branch" in ended["message_to_human"]
    assert halt.took_s < 30
    assert asyncio.run(stopped_again(halts.fleet[found["vm"]], found)) == "already_ended"


async def stopped_again(server: Server, before: dict[str, Any]) -> str:
    """What a second stop says of a session."""
    auth = {} if server.password is None else {"password": server.password}
    wanted = Wanted(before["session"], before["dispatch"], before["message"], before["directory"])
    mark = StopMark("jane", "", time.time(), before["dispatch"], before["message"])
    async with OpenCode(server.url, **auth) as client:
        return (await stop(client, wanted, mark, timeout_s=10)).state


def test_the_whole_fleet_is_halted_with_a_proof_for_each_vm(halts: Halts, lab: Lab) -> None:
    done = halts.of("in bash").done
    stops = done.document()["stops"]
    assert (done.code, sorted(each["vm"] for each in stops)) == (0, sorted(lab.vms)), done.out
    assert all(each["proven"] and len(clauses(each)) == 5 for each in stops), stops


def test_a_second_stop_leaves_the_first_as_it_is(halts: Halts) -> None:
    before = halts.of("in bash").stopped["in bash"].bead
    again = halts.fleet.look("stop", before["id"], "--by", "jane")
    assert (again.code, [each["state"] for each in again.document()["stops"]]) == (0, ["already_ended"])
    assert halts.tracker.show(before["id"]) == before


def test_what_has_ended_is_left_as_it_is(bead_fleet: Fleet, tracker: Tracker, model: ScriptedModel) -> None:
    bead = tracker.create("@say done")
    assert bead_fleet.dispatch("epyc6", "affordabot", "--bead", bead).result()["state"] == "completed"
    before = tracker.show(bead)
    dispatch = tracker.metadata(bead)["dispatch"]
    done = bead_fleet.look("stop", dispatch)
    assert (done.code, [each["state"] for each in done.document()["stops"]]) == (0, ["already_ended"])
    assert tracker.show(bead) == before


def test_what_is_nowhere_is_said(bead_fleet: Fleet, tracker: Tracker) -> None:
    done = bead_fleet.look("stop", "ses_nosuch")
    assert (done.code, done.result()["reason_code"]) == (4, "nothing_to_stop")


def test_what_is_queued_never_begins(
    bead_fleet: Fleet, lab: Lab, model: ScriptedModel, tracker: Tracker
) -> None:
    bead = tracker.create("stop with a queue", "@bash sleep 607")
    waiting = bead_fleet.start("epyc6", "affordabot", "--bead", bead, "--json")
    wait_for(lambda: bool(running("sleep 607")))
    server, session = bead_fleet["epyc6"], tracker.metadata(bead)["session"]
    body = {"parts": [{"type": "text", "text": "@bash sleep 608\n@say from the queue"}]}
    server.ask("POST", f"/session/{session}/prompt_async", body).raise_for_status()
    wait_for(lambda: "from the queue" in str(server.prompts(session)))
    done = bead_fleet.look("stop", bead)
    (stopped,) = done.document()["stops"]
    assert (done.code, clauses(stopped)["nothing_queued"]) == (0, True), done.out
    waiting.finish()
    assert running("sleep 608") == []
    assert not server.works_on(session)


def test_a_subagent_that_works_on_by_itself_is_stopped_with_its_session(
    bead_fleet: Fleet, lab: Lab, model: ScriptedModel, tracker: Tracker
) -> None:
    bead = tracker.create("stop in the background", "@silent 3\n@say the root of the stop is over")
    waiting = bead_fleet.start("epyc6", "affordabot", "--bead", bead, "--json")
    model.wait_for_prompt("the root of the stop is over")
    server, session = bead_fleet["epyc6"], tracker.metadata(bead)["session"]
    directory = str(lab.vms["epyc6"].repo("affordabot"))
    made = server.ask("POST", "/session", {"parentID": session}, directory=directory).raise_for_status()
    child = made.json()["id"]
    body = {"parts": [{"type": "text", "text": "@bash sleep 609\n@say the child of the stop is over"}]}
    server.ask("POST", f"/session/{child}/prompt_async", body).raise_for_status()
    wait_for(lambda: bool(running("sleep 609")) and not server.works_on(session))
    done = bead_fleet.look("stop", bead)
    (stopped,) = done.document()["stops"]
    assert (done.code, stopped["state"], set(stopped["family"])) == (0, "stopped", {session, child}), done.out
    assert not server.works_on(child)
    assert running("sleep 609") == []
    assert waiting.finish().code == 8


def test_after_a_stop_nothing_further_is_committed_though_the_agent_tries_to(
    bead_fleet: Fleet, lab: Lab, model: ScriptedModel, tracker: Tracker
) -> None:
    clone = lab.vms["epyc6"].repo("affordabot")
    commit = "git commit -q --allow-empty -m"
    # It commits every half a second, by itself, in a session of its own, and for as long as its agent lives.
    late = f"for n in $(seq 60); do {commit} late-$n; sleep 0.5; done"
    bead = tracker.create(
        "stop what commits", f"@bash (setsid sh -c '{late}' >/dev/null 2>&1 &) ; {late}; sleep 611"
    )
    waiting = bead_fleet.start("epyc6", "affordabot", "--bead", bead, "--json")

    def head() -> str:
        return (clone / ".git" / "logs" / "HEAD").read_text().splitlines()[-1]

    wait_for(lambda: "late-" in head())
    done = bead_fleet.look("stop", bead)
    (stopped,) = done.document()["stops"]
    at_the_stop = head()
    assert (done.code, clauses(stopped)["head_still"]) == (0, True), done.out
    waiting.finish()
    time.sleep(2)  # it would have committed four times
    assert head() == at_the_stop
