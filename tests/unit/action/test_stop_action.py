# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A stop in its two steps: what the VM is asked for in each, and what is believed of the answers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible_collections.dx.fleet.plugins.action import opencode_stop
from ansible_collections.dx.fleet.plugins.plugin_utils.ansible_edge import action as ansible_action
from ansible_collections.dx.fleet.plugins.plugin_utils.domain.stop import StopMark
from ansible_collections.dx.fleet.plugins.plugin_utils.opencode.errors import NotSent
from ansible_collections.dx.fleet.plugins.plugin_utils.sessions.stop import Stopped

from tests.unit.run_action import Ansible

HEAD, OTHER_HEAD = "a" * 40, "b" * 40
SEEN: dict[str, Any] = {
    "processes": [],
    "unsure": [],
    "ended": [{"pid": 1, "began": "7", "command": "sleep 600", "cwd": "/srv/a"}],
    "why": None,
    "head": HEAD,
    "head_before": HEAD,
    "unread": None,
    "watched_s": 0.0,
    "began": 100.0,
    "moment": 100.1,
    "dirty": 2,
}
LATER: dict[str, Any] = {**SEEN, "ended": [], "watched_s": 2.05, "began": 100.5, "moment": 102.2}
UNREAD = {"head": None, "head_before": None, "unread": "git can't read the repository there"}
UNREACHED = AnsibleConnectionFailure("no route to host")


class VM:
    """Its module answers one after the other; ``asked`` is what for. ``meanwhile`` happens before the answer of
    that number."""

    def __init__(self, ansible: Ansible, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ansible = ansible
        self.asked: list[dict[str, Any]] = []
        self.answers: list[Any] = []
        self.idle_at: float | None = None
        self.idle_asked = 0
        self.meanwhile: dict[int, Callable[[], None]] = {}
        self.stopped = threading.Event()
        vm = self
        stop = opencode_stop.stop

        async def stopping(*given: Any, **options: Any) -> Any:
            try:
                found = await stop(*given, **options)
                return found if vm.idle_at is None else replace(found, idle_at=vm.idle_at)
            finally:
                vm.stopped.set()

        def execute(action: Any, module_name: str, module_args: dict[str, Any], task_vars: Any) -> Any:
            vm.asked.append(module_args)
            vm.meanwhile.get(len(vm.asked), lambda: None)()
            assert vm.stopped.wait(10)
            answer = vm.answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return dict(answer)

        monkeypatch.setattr(opencode_stop.ActionModule, "_execute_module", execute)
        idle_clauses = opencode_stop.idle_clauses

        async def asked_whether_idle(*given: Any) -> Any:
            vm.idle_asked += 1
            return await idle_clauses(*given)

        monkeypatch.setattr(opencode_stop, "stop", stopping)
        monkeypatch.setattr(opencode_stop, "idle_clauses", asked_whether_idle)
        monkeypatch.setattr(opencode_stop, "SYSTEM_CLOCK", _Clock())
        session = ansible.fake.session("ses_1", "/srv/a")
        session.user("msg_1", "Do it")
        session.status = {"type": "busy"}

    def stop(self, *answers: Any) -> dict[str, Any]:
        """The entry of the session that is stopped, proven or not."""
        self.answers = list(answers)
        stopped = self.ansible.run(opencode_stop, name="ses_1", by="feng")
        found = self.ansible.run(opencode_stop, stopped=stopped)
        assert self.answers == []
        (entry,) = found["stops"]
        return dict(entry)


@pytest.fixture
def vm(monkeypatch: pytest.MonkeyPatch) -> VM:
    monkeypatch.delenv("SLACK_BOT_TOKEN", raising=False)
    return VM(Ansible(monkeypatch), monkeypatch)


def proven(entry: dict[str, Any]) -> dict[str, bool]:
    return {clause["name"]: clause["proven"] for clause in entry["clauses"]}


def test_head_is_watched_on_from_the_first_look(vm: VM) -> None:
    entry = vm.stop(SEEN, LATER)
    first, second = vm.asked
    assert (first["state"], first.get("watch"), first.get("since")) == ("ended", None, None)
    assert (second["watch"], second["since"]["head"], second["since"]["processes"]) == (2.0, HEAD, [])
    # Nothing worked any more a while after the first look was asked for: only from then on it counts.
    assert second["since"]["moment"] >= SEEN["moment"]
    assert all(proven(entry).values())
    assert len(proven(entry)) == 4
    evidence = {clause["name"]: clause["evidence"] for clause in entry["clauses"]}
    assert evidence["no_process_left"] == "none is left; ended: 1 sleep 600"
    assert evidence["head_still"] == f"{HEAD} for 2.0 s"
    assert entry["uncommitted"] == "2 files with changes that are in no commit stay in /srv/a"


def test_the_watch_begins_when_nothing_works_any_more(vm: VM, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = _Clock(10.0, 14.0)  # the look is asked for, and over
    monkeypatch.setattr(opencode_stop, "SYSTEM_CLOCK", clock)
    vm.idle_at = 13.0
    vm.stop(SEEN, LATER)
    assert vm.asked[1]["since"]["moment"] == SEEN["began"] + 3.0
    assert clock.slept == [2.0]  # the sessions are asked about when that watch is over


@pytest.mark.parametrize(
    ("later", "times"),
    [
        (LATER, 1),
        ({**LATER, "ended": SEEN["ended"]}, 2),  # the watch began anew, and ended later
        ({**LATER, "moment": 3.0}, 2),  # the machine did
    ],
)
def test_the_sessions_are_idle_after_the_watch(vm: VM, later: dict[str, Any], times: int) -> None:
    entry = vm.stop(SEEN, later)
    assert vm.idle_asked == times
    assert entry["proven"]


def test_where_the_vm_cannot_be_seen_nobody_waits_for_it(vm: VM, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = _Clock()
    monkeypatch.setattr(opencode_stop, "SYSTEM_CLOCK", clock)
    vm.stop(UNREACHED)
    assert (clock.slept, vm.idle_asked) == ([], 1)


class _Clock:
    """It is each of these times once, then the last of them or now; nobody waits by it."""

    def __init__(self, *times: float) -> None:
        self._times = list(times)
        self._last = times[-1] if times else None
        self.slept: list[float] = []

    def monotonic(self) -> float:
        if self._times:
            return self._times.pop(0)
        return time.monotonic() if self._last is None else self._last

    def time(self) -> float:
        return 1000.0

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


@pytest.mark.parametrize(
    ("answers", "unproven"),
    [
        ([SEEN, {**LATER, "head": OTHER_HEAD}], "head_still"),
        ([SEEN, {**LATER, "head": None}], "head_still"),
        ([SEEN, {**LATER, "watched_s": 1.9}], "head_still"),
        ([{**SEEN, **UNREAD}, {**LATER, **UNREAD}], "head_still"),
        ([AnsibleError("no temporary folder there")], "no_process_left, head_still"),
        ([SEEN, {**LATER, "processes": SEEN["ended"]}], "no_process_left"),
        ([SEEN, {**LATER, "unsure": SEEN["ended"]}], "no_process_left"),
        ([SEEN, {**LATER, "processes": None, "why": "lsof can't be used"}], "no_process_left"),
        ([SEEN, UNREACHED], "no_process_left, head_still"),
        ([SEEN, {"failed": True, "msg": "no"}], "no_process_left, head_still"),
        ([UNREACHED], "no_process_left, head_still"),
        ([{**SEEN, "head": None, "head_before": None}, {**LATER, "head": None, "head_before": None}], ""),
    ],
)
def test_what_is_not_seen_at_the_end_is_not_proven(vm: VM, answers: list[Any], unproven: str) -> None:
    entry = vm.stop(*answers)
    assert ", ".join(name for name, is_so in proven(entry).items() if not is_so) == unproven
    assert entry["proven"] is (not unproven)


def test_where_others_work_in_the_directory_their_processes_are_left_alone(vm: VM) -> None:
    vm.ansible.fake.session("ses_2", "/srv/a").status = {"type": "busy"}
    entry = vm.stop({**SEEN, "ended": [], "processes": SEEN["ended"]}, {**LATER, "processes": SEEN["ended"]})
    assert [asked["state"] for asked in vm.asked] == ["listed", "listed"]
    (clause,) = [each for each in entry["clauses"] if each["name"] == "no_process_left"]
    assert (clause["proven"], clause["evidence"][:46]) == (
        False,
        "unproven: ses_2 work in the same directory; 1 ",
    )


def test_a_look_that_was_over_before_the_stop_is_taken_again(vm: VM, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opencode_stop, "SYSTEM_CLOCK", _Clock(10.0, 12.0, 14.0, 15.0))
    vm.idle_at = 13.0
    entry = vm.stop(SEEN, {**SEEN, "ended": [], "head": OTHER_HEAD, "began": 101.0, "moment": 101.1}, LATER)
    assert [asked.get("watch") for asked in vm.asked] == [None, None, 2.0]
    # What was committed before the end is no sign of work after it.
    assert vm.asked[2]["since"]["head"] == OTHER_HEAD
    assert [each["pid"] for each in entry["processes"]["ended"]] == [1]


def test_what_is_left_is_looked_for_wherever_it_went(vm: VM) -> None:
    vm.stop({**SEEN, "ended": [], "processes": SEEN["ended"]}, LATER)
    assert vm.asked[1]["since"]["processes"] == [{"pid": 1, "began": "7"}]


def test_the_directory_is_watched_anew_where_the_session_went_on(vm: VM) -> None:
    session = vm.ansible.fake.sessions["ses_1"]
    vm.meanwhile[2] = lambda: setattr(session, "status", {"type": "busy"})
    entry = vm.stop(SEEN, LATER, {**LATER, "head": OTHER_HEAD})
    assert [("since" in asked, asked.get("watch")) for asked in vm.asked[1:]] == [(True, 2.0), (False, 2.0)]
    assert not proven(entry)["head_still"]


def test_who_began_to_work_in_the_directory_meanwhile_is_left_alone(vm: VM) -> None:
    vm.meanwhile[1] = lambda: setattr(vm.ansible.fake.session("ses_2", "/srv/a"), "status", {"type": "busy"})
    entry = vm.stop(SEEN, {**LATER, "processes": SEEN["ended"]})
    assert [(asked["state"], "since" in asked) for asked in vm.asked] == [("ended", False), ("listed", False)]
    assert not proven(entry)["no_process_left"]


def test_a_server_that_goes_down_between_two_sessions_is_said_with_what_was_stopped(
    vm: VM, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop, fake = opencode_stop.stop, vm.ansible.fake
    for name in ("ses_1", "ses_2"):
        fake.session(name, "/srv/a").metadata = {"dx_dispatch": name}
        fake.sessions[name].status = {"type": "busy"}
    stopped: list[str] = []

    async def once(server: Any, wanted: Any, *given: Any, **options: Any) -> Any:
        if stopped:
            raise NotSent("Connection refused")
        stopped.append(wanted.session)
        return await stop(server, wanted, *given, **options)

    monkeypatch.setattr(opencode_stop, "stop", once)
    vm.answers = [SEEN, SEEN]
    vm.stopped.set()
    result = vm.ansible.run(opencode_stop)
    assert result["msg"].startswith(f"after {stopped[0]} the rest could not be stopped: ")


def test_after_a_look_that_was_not_seen_the_watch_begins_anew(
    vm: VM, monkeypatch: pytest.MonkeyPatch
) -> None:
    not_seen = {"failed": True, "not_seen": True, "msg": "it returned nothing", "rc": -9}
    monkeypatch.setattr(ansible_action, "by_stdin", lambda *_: not_seen)
    entry = vm.stop(SEEN, LATER)
    assert [("since" in asked) for asked in vm.asked] == [False, False]
    assert entry["proven"]


@pytest.mark.parametrize(
    ("is_over", "asked"), [(False, 1), (True, 2)], ids=["one is under way", "the last is over"]
)
async def test_at_most_one_look_is_under_way_and_one_that_is_over_is_followed_at_once(
    is_over: bool, asked: int
) -> None:
    go_on, begun = threading.Event(), []

    def look(directory: str, others: Any) -> dict[str, Any]:
        begun.append((directory, others))
        assert is_over or go_on.wait(10)
        return dict(SEEN)

    looks = opencode_stop._Looks(look)
    looks.begin("/srv/a", ())
    if is_over:
        await looks._begun[0]
    idle_at = time.monotonic()
    looks.begin("/srv/a", ())
    go_on.set()
    found = Stopped(
        "ses_1", "stopped", "/srv/a", StopMark("feng", "", 0.0, None, None), ("ses_1",), idle_at=idle_at
    )
    seen = await looks.last(found)
    assert begun == [("/srv/a", ())] * asked
    assert len(seen["ended"]) == asked
    assert seen["seen_at"] >= idle_at
