# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``delegate_to`` as Ansible itself hands it over: the work is done where the screen says that it is done."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest

from tests.command import Completed, run_ansible
from tests.unit.fake_opencode import FakeOpenCode

from .controller import Controller
from .served import served

ACTIONS: dict[str, dict[str, Any]] = {
    "dx.fleet.opencode_info": {},
    "dx.fleet.opencode_dispatch": {"task": "Run make test", "repo": "affordabot"},
    "dx.fleet.opencode_wait": {"session": "ses_1"},
    "dx.fleet.opencode_stop": {"name": "ses_1"},
    "dx.fleet.opencode_reply": {"name": "ses_1"},
    "dx.fleet.dispatch_worktree": {
        "request": {"repo": "affordabot", "branch": "fix/1"},
        "plan": {"id": "d1"},
    },
    "dx.fleet.dispatch_verify": {"sent": {}},
}
INFO, DISPATCH, WAIT, STOP, REPLY, WORKTREE, VERIFY = ACTIONS


@dataclass(frozen=True)
class Case:
    """What one play delegates, and what comes of it.

    Attributes:
        to: The host; None: nowhere.
        actions: The tasks of the play.
        asked: The server that they ask; None: all are refused.
    """

    to: str | None
    actions: tuple[str, ...]
    asked: str | None


# Of each kind of action one meets each host; the others meet one (tests/unit/action has the whole table).
CASES = {
    "a VM": Case("macmini", (INFO, DISPATCH, WAIT, STOP, REPLY), "macmini"),
    "work on a VM": Case("macmini", (WORKTREE,), "macmini"),
    "an alias": Case("mac", (INFO, DISPATCH, WAIT), None),
    "no VM": Case("localhost", (INFO, DISPATCH, WAIT, VERIFY), None),
    "nowhere": Case(None, (INFO, DISPATCH, WAIT), "epyc6"),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_server_of_the_host_that_is_named_is_asked(controller: Controller, case: Case) -> None:
    servers = {"epyc6": controller.fake, "macmini": FakeOpenCode()}
    with served(servers["macmini"]) as port:
        controller.write(
            {
                "vms": {
                    "epyc6": {"opencode": f"http://127.0.0.1:{controller.port}"},
                    "macmini": {"opencode": f"http://127.0.0.1:{port}", "aliases": ["mac"]},
                }
            }
        )
        for server in servers.values():
            session = server.session("ses_1")
            session.user("msg_1", "Run")
            session.step("a", finish="stop", text="done")
        done = play(controller, case)
    assert {name for name, server in servers.items() if server.requests} == {case.asked} - {None}, done
    failed = [line for line in done.out.splitlines() if line.startswith("fatal: ")]
    if case.asked is None:
        assert ["leave delegate_to out" in line for line in failed] == [True] * len(case.actions), done
    elif case.actions != (WORKTREE,):  # which has no clone there
        assert failed == [], done


def play(controller: Controller, case: Case) -> Completed:
    """Run the tasks, each whatever became of those before it."""
    to = {} if case.to is None else {"delegate_to": case.to}
    tasks = [{action: ACTIONS[action], "ignore_errors": True, **to} for action in case.actions]
    playbook = controller.root / "play.yml"
    playbook.write_text(json.dumps([{"hosts": "epyc6", "gather_facts": False, "tasks": tasks}]))
    return run_ansible("ansible-playbook", "-i", str(controller.file), str(playbook), env=controller.env)
