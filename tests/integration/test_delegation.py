# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``delegate_to`` as Ansible itself hands it over: the work is done where the screen says that it is done."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from tests.command import run_ansible
from tests.unit.fake_opencode import FakeOpenCode

from .controller import Controller
from .served import served

ACTIONS = {
    "dx.fleet.opencode_info": "{}",
    "dx.fleet.opencode_dispatch": "{task: Run make test, repo: affordabot}",
    "dx.fleet.opencode_wait": "{session: ses_1}",
    "dx.fleet.opencode_stop": "{name: ses_1}",
    "dx.fleet.opencode_reply": "{name: ses_1}",
    "dx.fleet.dispatch_worktree": "{request: {repo: affordabot, branch: fix/1}, plan: {id: d1}}",
    "dx.fleet.dispatch_verify": "{sent: {}}",
}
WORK = ("dx.fleet.dispatch_worktree", "dx.fleet.dispatch_verify")


# Of each kind of action one meets each host; the others meet one (tests/unit/action has the whole table).
CASES = [
    *(
        (action, *hosts)
        for action in list(ACTIONS)[:3]
        for hosts in [("macmini", "macmini"), ("mac", None), ("localhost", None), (None, "epyc6")]
    ),
    ("dx.fleet.opencode_stop", "macmini", "macmini"),
    ("dx.fleet.opencode_reply", "macmini", "macmini"),
    ("dx.fleet.dispatch_worktree", "macmini", "macmini"),
    ("dx.fleet.dispatch_verify", "localhost", None),
]


@pytest.mark.parametrize(("action", "delegated", "asked"), CASES)
def test_the_server_of_the_host_that_is_named_is_asked(
    controller: Controller, action: str, delegated: str | None, asked: str | None
) -> None:
    servers = {"epyc6": controller.fake, "macmini": FakeOpenCode()}
    play = controller.root / "play.yml"
    play.write_text(
        f"- hosts: epyc6\n  gather_facts: false\n  tasks:\n    - {action}: {ACTIONS[action]}\n"
        + (f"      delegate_to: {delegated}\n" if delegated else "")
    )
    with ExitStack() as stack:
        port = stack.enter_context(served(servers["macmini"]))
        data = {
            "vms": {
                "epyc6": {"opencode": f"http://127.0.0.1:{controller.port}"},
                "macmini": {"opencode": f"http://127.0.0.1:{port}", "aliases": ["mac"]},
            }
        }
        controller.write(data)
        for server in servers.values():
            session = server.session("ses_1")
            session.user("msg_1", "Run")
            session.step("a", finish="stop", text="done")
        done = run_ansible("ansible-playbook", "-i", str(controller.file), str(play), env=controller.env)
    expected = {asked} if asked and action != "dx.fleet.dispatch_verify" else set()
    assert {name for name, server in servers.items() if server.requests} == expected, done
    if action not in WORK:
        assert (done.code == 0) is (asked is not None), done
    if asked is None:
        assert done.code == 2
        assert "leave delegate_to out" in done.out
