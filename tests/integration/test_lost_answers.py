# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever request or answer is lost on the way: the task is run exactly once, and its end is noticed."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.command import Completed
from tests.lab import Lab, ScriptedModel
from tests.lab.proxy import Fault, FaultProxy, drop_request, drop_response, hang
from tests.lab.tracker import Tracker

from .ahead import Ahead, ahead, chosen
from .fleet import Fleet, fresh_id
from .gate import Gate

# Each request of a dispatch that creates a session, with how many of the kind come before it.
REQUESTS = {
    "health": ("GET", r"/global/health$", 0),
    "look for an earlier try": ("GET", r"^/session/[^/]+/message/[^/]+$", 0),
    "the projects": ("GET", r"^/project$", 0),
    "the home": ("GET", r"^/path$", 0),
    "does the directory exist": ("GET", r"^/file$", 0),
    "create the session": ("POST", r"^/api/session$", 0),
    "label the session": ("PATCH", r"^/session/[^/]+$", 0),
    "send the task": ("POST", r"/prompt_async$", 0),
    "confirm that it is stored": ("GET", r"^/session/[^/]+/message/[^/]+$", 1),
    "follow the events": ("GET", r"^/global/event$", 0),
    "what works": ("GET", r"^/session/status$", 0),
    "what waits for permission": ("GET", r"^/permission$", 0),
    "what asks a question": ("GET", r"^/question$", 0),
    "read the messages": ("GET", r"^/session/[^/]+/message$", 0),
}
# Asked for as long as the task is not over; a busy machine may be late for that.
WHILE_IT_WORKS = ("what waits for permission", "what asks a question")
# These are lost in one dispatch: each changes nothing, and is made again by itself.
LOST_TOGETHER = (
    ("health", "look for an earlier try", "the home", "does the directory exist"),
    ("the projects", "confirm that it is stored", "what works", *WHILE_IT_WORKS, "read the messages"),
)
STREAM = "follow the events: the answer"  # it is never complete, so that the proxy waits for ever

LOSSES = {
    f"{name}: the {what}": (name, lost)
    for name, (method, _, _) in REQUESTS.items()
    for what, lost in (("answer", drop_response()), ("request", drop_request()))
    if method != "GET" or what == "answer"  # to who only reads, they are the same
}


def _lost_with(loss: str) -> tuple[str, ...]:
    """The losses of the dispatch in which this one is."""
    request, _ = LOSSES[loss]
    together = next((names for names in LOST_TOGETHER if request in names), ())
    return tuple(each for each in LOSSES if LOSSES[each][0] in together) or (loss,)


@dataclass(frozen=True)
class Seen:
    """What a dispatch with some losses led to. ``asked``: how often the request of each was made."""

    completed: Completed
    asked: dict[str, int]
    runs: str
    model_asked: int
    stored: list[list[str]]
    task: str


def _task() -> tuple[str, str]:
    """A task that leaves a line per run in a file, and the name of that file."""
    name = f"{fresh_id()}.txt"
    return f"@silent 0.3\n@bash echo run >> {name}\n@say over with {name}", name


def _asked(proxy: FaultProxy, request: str) -> int:
    """How often a request was made, without those of its kind that come before it."""
    method, path, after = REQUESTS[request]
    return sum(each[0] == method and re.search(path, each[1]) is not None for each in proxy.requests) - after


def _dispatch_with(lab: Lab, fleet: Fleet, folder: Path, losses: tuple[str, ...]) -> Seen:
    lost = [LOSSES[loss] for loss in losses]
    requests = [request for request, _ in lost]
    task, name = _task()
    with FaultProxy(lab.vms["epyc6"].url) as proxy:
        behind = fleet.seen_at(folder, epyc6=proxy.url)
        if "the home" in requests:  # which is asked for where it is needed
            behind = behind.described_as(folder, epyc6={"repos_root": "~/"})
        for request, fault in lost:
            method, path, after = REQUESTS[request]
            proxy.add(method, path, fault, after=after)
        awaited = [request for request in requests if request in WHILE_IT_WORKS]
        if awaited:
            gate = Gate(lab, "epyc6")
            task = f"{gate.wait}\n{task}"
            running = behind.start("epyc6", "affordabot", task, "--json", "--timeout", "120")
            while min(_asked(proxy, request) for request in awaited) < 2 and running.alive:
                time.sleep(0.02)  # the proxy tells nobody
            gate.open()
            completed = running.finish()
        else:
            completed = behind.dispatch("epyc6", "affordabot", task)
        asked = {loss: _asked(proxy, LOSSES[loss][0]) for loss in losses}
    file = lab.vms["epyc6"].repo("affordabot") / name
    session = completed.result()["session"]
    return Seen(
        completed=completed,
        asked=asked,
        runs=file.read_text() if file.exists() else "",
        model_asked=len(lab.model.prompts(task)),
        stored=fleet["epyc6"].prompts(session) if session else [],
        task=task,
    )


ARRIVED = ("create the session: the answer", "label the session: the answer", "send the task: the answer")


@pytest.fixture(scope="module")
def dispatches(
    request: pytest.FixtureRequest, lab: Lab, whole_fleet: Fleet, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Ahead[tuple[str, ...], Seen]]:
    """What each dispatch led to, by what is lost in it."""

    def run(losses: tuple[str, ...]) -> Seen:
        return _dispatch_with(lab, whole_fleet, tmp_path_factory.mktemp("losses"), losses)

    cases = [*chosen(request, "losses"), *dict.fromkeys(map(_lost_with, chosen(request, "loss")))]
    with ahead(run, sorted(cases, key=lambda losses: STREAM not in losses)) as seen:  # it takes the longest
        yield seen


@pytest.mark.parametrize("loss", LOSSES)
def test_a_loss_changes_nothing(dispatches: Ahead[tuple[str, ...], Seen], loss: str) -> None:
    seen = dispatches[_lost_with(loss)]
    assert (seen.completed.code, seen.completed.result()["state"]) == (0, "completed"), seen.completed
    assert (seen.runs, seen.model_asked, seen.stored) == ("run\n", 1, [[seen.task]])
    if loss in ARRIVED:
        assert seen.asked[loss] == 1  # it is looked for, and it had arrived
    elif loss != STREAM:
        assert seen.asked[loss] > 1


@pytest.mark.parametrize("losses", [tuple(loss for loss in LOSSES if "the home" not in loss)], ids=["all"])
def test_many_losses_at_once(dispatches: Ahead[tuple[str, ...], Seen], losses: tuple[str, ...]) -> None:
    seen = dispatches[losses]
    assert seen.completed.code == 0, seen.completed
    assert (seen.runs, seen.model_asked, seen.stored) == ("run\n", 1, [[seen.task]])


def test_looks_that_are_lost_after_the_claim_change_nothing(
    lab: Lab,
    fleet: Fleet,
    fleet_behind: Fleet,
    model: ScriptedModel,
    proxy: FaultProxy,
    tracker: Tracker,
    tmp_path: Path,
) -> None:
    looks = ("health", "look for an earlier try", "does the directory exist")
    for look in looks:
        method, path, _ = REQUESTS[look]
        proxy.add(method, path, drop_response(), after=1)
    task, name = _task()
    bead = tracker.create(*task.split("\n", 1))
    behind = replace(fleet_behind, env={**fleet_behind.env, **tracker.env})
    behind = behind.with_policy(tmp_path, worktree="never", close_on="completed")
    completed = behind.dispatch("epyc6", "affordabot", "--bead", bead)
    assert (completed.code, tracker.status(bead)) == (0, "closed"), completed
    assert (lab.vms["epyc6"].repo("affordabot") / name).read_text() == "run\n"
    assert len(model.prompts(name)) == 1
    assert len(fleet["epyc6"].prompts(completed.result()["session"])) == 1
    assert {look: _asked(proxy, look) for look in looks if _asked(proxy, look) < 3} == {}


def test_the_event_stream_may_break_again_and_again(
    fleet: Fleet, fleet_behind: Fleet, lab: Lab, model: ScriptedModel, proxy: FaultProxy
) -> None:
    gate = Gate(lab, "epyc6")
    task = f"{gate.wait}\n@silent 1\n@say through all cuts"
    running = fleet_behind.start("epyc6", "affordabot", task, "--json")
    model.wait_for_prompt("all cuts")
    cuts = 0
    while running.alive:
        cuts += proxy.cut_streams()
        if cuts > 2:
            gate.open()
        time.sleep(0.1)  # a pace for the cuts, not a wait for anything
    assert cuts > 2
    completed = running.finish()
    assert (completed.code, completed.result()["evidence"]["text"]) == (0, "through all cuts")
    assert len(model.prompts("all cuts")) == 1


def test_an_end_whose_events_are_all_swallowed_is_noticed(
    fleet_behind: Fleet, model: ScriptedModel, proxy: FaultProxy
) -> None:
    proxy.filter_events(("session.idle", "session.status", "message.updated", "message.part.updated"))
    running = fleet_behind.start("epyc6", "affordabot", "@silent 2\n@say unheard", "--json")
    completed = running.finish()
    assert (completed.code, completed.result()["evidence"]["text"]) == (0, "unheard")


def test_a_server_that_cannot_be_reached_for_a_while_is_waited_for(
    fleet_behind: Fleet, lab: Lab, model: ScriptedModel, proxy: FaultProxy
) -> None:
    gate = Gate(lab, "epyc6")
    running = fleet_behind.start("epyc6", "affordabot", f"{gate.wait}\n@say after the gap")
    model.wait_for_prompt("the gap")
    running.wait_for("Task sent")
    proxy.refuse()
    running.wait_for("Lost the server")
    proxy.accept()
    gate.open()
    completed = running.finish()
    assert completed.code == 0, completed
    assert "finished, not verified: the agent wrote: after the gap" in completed.out
    assert len(model.prompts("the gap")) == 1


def test_a_prompt_that_can_never_be_confirmed_is_not_called_sent(
    fleet: Fleet, fleet_behind: Fleet, model: ScriptedModel, proxy: FaultProxy
) -> None:
    proxy.add("POST", r"/prompt_async$", drop_response(), times=None)
    proxy.add("GET", r"^/session/[^/]+/message/[^/]+$", drop_response(), times=None, after=1)
    dispatch = fresh_id()
    words = ("epyc6", "affordabot", "@say somewhere", "--id", dispatch)
    completed = fleet_behind.dispatch(*words)
    result = completed.result()
    assert (completed.code, result["state"], result["reason_code"]) == (5, "unreachable", "effect_unknown")
    assert dispatch in result["next_action"]
    proxy.clear()
    joined = fleet_behind.dispatch(*words)
    assert (joined.code, joined.result()["evidence"]["text"]) == (0, "somewhere")
    assert len(model.prompts("somewhere")) == 1


@pytest.mark.parametrize(
    ("fault", "path", "reason"),
    [
        (drop_request(), "/global/health", "connection_lost"),
        (drop_request(), "^/file", "connection_lost"),
        (hang(), "/global/health", "answer_timeout"),
    ],
)
def test_a_vm_that_cannot_be_looked_at_gets_nothing(
    fleet_behind: Fleet, model: ScriptedModel, proxy: FaultProxy, fault: Fault, path: str, reason: str
) -> None:
    proxy.add("GET", path, fault, times=None)
    words = ("epyc6", "affordabot", "@say not to be sent", "--preflight-timeout", "2")
    completed = fleet_behind.dispatch(*words)
    result = completed.result()
    assert (completed.code, result["state"], result["reason_code"]) == (5, "unreachable", reason)
    assert result["next_action"]
    assert {method for method, _ in proxy.requests} == {"GET"}
    assert model.prompts() == []


def test_a_refused_connection_is_said_at_once(fleet: Fleet, lab: Lab, tmp_path: Path) -> None:
    nobody = fleet.seen_at(tmp_path, epyc6="http://127.0.0.1:9")
    completed = nobody.dispatch("epyc6", "affordabot", "@say to nobody")
    assert (completed.code, completed.result()["reason_code"]) == (5, "connection_refused")
    assert "opencode serve" in completed.result()["next_action"]
