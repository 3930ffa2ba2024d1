# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A playbook run from a program: in a process of its own, two at once, and without what makes a start fast."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.event_kind import EventKind
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.progress import ProgressEvent
from ansible_collections.dx.fleet.plugins.plugin_utils.launch.collected import Collected
from ansible_collections.dx.fleet.plugins.plugin_utils.launch.in_child import InChild, RunFailed
from ansible_collections.dx.fleet.plugins.plugin_utils.launch.playbook_run import PlaybookRun

from tests.command import environment
from tests.forks import Forks
from tests.lab import Lab, ScriptedModel
from tests.lab.slack import SlackWorkspace

from .fleet import Fleet, fresh_id
from .gate import Gate

pytestmark = pytest.mark.usefixtures("idle_afterwards")


class Followed:
    """One run in a child, followed from a thread of the test."""

    def __init__(self, pool: ThreadPoolExecutor, fleet: Fleet, playbook: PlaybookRun) -> None:
        self.launcher = InChild(environment(fleet.env), cwd=Path("/"))
        self.events: list[ProgressEvent] = []
        self._sent = threading.Event()
        self.result: Future[Collected] = pool.submit(self.launcher.run, playbook, self._take)

    def _take(self, event: ProgressEvent) -> None:
        self.events.append(event)
        if event.kind is EventKind.TASK_SENT:
            self._sent.set()

    def wait_till_followed(self) -> None:
        """Wait till the task that sends has ended."""
        assert self._sent.wait(120), (self.events, self.launcher.so_far())
        # What the look before it found is an outcome as well.
        while not any(each["state"] == "running" for each in self.launcher.so_far().outcomes.values()):
            assert not self.result.done(), self.result
            time.sleep(0.05)  # a pace for the looks


def command_lines() -> list[str]:
    """Of all processes that this one has, directly or not."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            found.append(" ".join(process.cmdline()))
    return found


@pytest.fixture
def started(fleet: Fleet) -> Iterator[Callable[..., Followed]]:
    with ThreadPoolExecutor() as pool:

        def start(playbook: str = "dispatch", **variables: Any) -> Followed:
            return Followed(pool, fleet, PlaybookRun(playbook, fleet.inventory, variables))

        yield start


def test_two_runs_at_once_each_have_their_own_results_and_progress(
    started: Callable[..., Followed], lab: Lab
) -> None:
    gates = {vm: Gate(lab, vm) for vm in ("epyc6", "macmini")}
    runs = {
        vm: started(target=vm, repo="affordabot", task=f"{gate.wait}\n@say {{{{ {vm} }}}}", id=fresh_id())
        for vm, gate in gates.items()
    }
    for run in runs.values():
        run.wait_till_followed()  # neither has ended: each waits at its gate
    shown = command_lines()
    assert sum("in_child" in line for line in shown) >= 2
    assert not [line for line in shown if "@say" in line]
    states = {vm: run.launcher.so_far().outcomes.get(vm, {}).get("state") for vm, run in runs.items()}
    assert states == dict.fromkeys(gates, "running")
    for gate in gates.values():
        gate.open()
    for vm, run in runs.items():
        found = run.result.result(timeout=120)
        assert set(found.outcomes) == {vm}
        assert (found.outcomes[vm]["state"], found.faults) == ("completed", {})
        assert found.outcomes[vm]["evidence"]["text"] == f"{{{{ {vm} }}}}"
        assert {event.vm for event in run.events} == {vm}


def test_a_run_that_cannot_begin_says_why(started: Callable[..., Followed]) -> None:
    with pytest.raises(RunFailed, match="nosuch"):
        started("nosuch").result.result(timeout=120)


def test_a_child_that_is_killed_is_noticed_and_leaves_what_it_had(
    started: Callable[..., Followed], lab: Lab, fleet: Fleet
) -> None:
    gate = Gate(lab, "epyc6")
    name = fresh_id()
    run = started(target="epyc6", repo="affordabot", task=f"{gate.wait}\n@say went on", id=name)
    run.wait_till_followed()
    (child,) = [one for one in psutil.Process().children() if "in_child" in " ".join(one.cmdline())]
    for process in (child, *child.children(recursive=True)):
        process.kill()
    with pytest.raises(RunFailed, match="ended with -9"):
        run.result.result(timeout=120)
    assert run.launcher.so_far().outcomes["epyc6"]["dispatch"] == name
    gate.open()
    joined = fleet.dispatch("epyc6", "--id", name).result()
    assert (joined["state"], joined["evidence"]["text"]) == ("completed", "went on")


@pytest.mark.skipif(sys.platform != "linux", reason="the threads of the kernel are counted in /proc")
def test_dx_dispatch_forks_beside_no_thread_that_talks_to_anybody(
    lab: Lab, fleet: Fleet, slack: SlackWorkspace, tmp_path: Path
) -> None:
    """It runs the playbook in its own process. Beside Ansible's own thread there is the one that shows progress, which
    reads a socket pair; what goes to Slack goes from another process."""
    forks = Forks(tmp_path / "forks")
    own = {"XDG_STATE_HOME": str(tmp_path / "state"), "NO_PROXY": "*", **forks.environ}
    posting = replace(fleet, env={**lab.env_with(slack), **own})
    assert posting.dispatch("epyc6", "affordabot", "@bash true\n@say done").code == 0
    slack.wait_for_calls("chat.postMessage", timeout_s=60)
    found = forks.of_the_first()
    assert len(found) >= 2
    for fork in found:
        names = [name for name in fork.names if "results_thread_main" not in name]
        assert names == ["MainThread", "progress"]
        assert fork.in_kernel == len(fork.names) <= 3


def test_the_main_flow_without_what_makes_a_start_fast(
    fleet: Fleet, model: ScriptedModel, tmp_path: Path
) -> None:
    slow = replace(fleet, env={**fleet.env, "DX_FAST_START": "0", "XDG_CACHE_HOME": str(tmp_path)})
    mark = fresh_id()
    done = slow.dispatch("--all", "affordabot", f"@bash echo {mark}\n@say done {mark}", "--id", mark)
    assert (done.code, {result["state"] for result in done.results().values()}) == (0, {"completed"}), done
    of_one = ("--id", f"{mark}.epyc6")  # as a dispatch to all calls it there
    again = slow.dispatch("epyc6", *of_one, "affordabot", f"@bash echo {mark}\n@say done {mark}")
    assert again.result()["session"] == done.results()["epyc6"]["session"]
    assert len(model.prompts(mark)) == len(fleet.servers)
    assert slow.look("status").code == 0
    assert list(tmp_path.iterdir()) == []  # the routing table was not cached: it is really off
