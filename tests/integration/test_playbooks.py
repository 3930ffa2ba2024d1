# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The same flow without the command: ansible-playbook, and the actions in a playbook of one's own."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.command import Completed, run_ansible
from tests.lab import Lab, ScriptedModel
from tests.lab.proxy import FaultProxy

from .fleet import Fleet, fresh_id
from .served import closed_port

ANY = "Say the word pineapple and nothing else. Use no tool and change nothing."


def _own_playbook(fleet: Fleet, folder: Path, hosts: str, *tasks: dict[str, Any]) -> Completed:
    """Run tasks of one's own."""
    path = folder / "own.yml"
    path.write_text(yaml.safe_dump([{"hosts": hosts, "gather_facts": False, "tasks": list(tasks)}]))
    return fleet.playbook(str(path))


def _shown(completed: Completed, name: str) -> Any:
    """What a debug task showed as the JSON of ``name``."""
    (line,) = [line for line in completed.out.splitlines() if f'"msg": "{name}=' in line]
    return json.loads(json.loads("{" + line.strip().rstrip(",") + "}")["msg"].removeprefix(f"{name}="))


@pytest.fixture(scope="module")
def by_path(whole_fleet: Fleet, same: dict[str, str]) -> Completed:
    """The playbook, run by its path."""
    return whole_fleet.playbook("playbooks/dispatch.yml", **same)


@pytest.fixture(scope="module")
def by_name(
    whole_fleet: Fleet, by_path: Completed, same: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Completed:
    """The same once more, by its name and from a directory that has nothing of ours."""
    words = ("-i", str(whole_fleet.inventory), "dx.fleet.dispatch", "-e", json.dumps(same))
    return run_ansible(
        "ansible-playbook", *words, env=whole_fleet.env, cwd=tmp_path_factory.mktemp("anywhere")
    )


@pytest.fixture(scope="module")
def same(whole_fleet: Fleet) -> dict[str, str]:
    """The variables of one dispatch."""
    return {"repo": whole_fleet.repo, "task": ANY, "id": fresh_id()}


def test_the_playbook_runs_by_path(by_path: Completed) -> None:
    assert by_path.code == 0, by_path
    assert "finished, not verified: the agent wrote: " in by_path.out


def test_the_playbook_runs_by_its_name_from_anywhere(by_name: Completed) -> None:
    assert by_name.code == 0, by_name
    assert "finished, not verified: the agent wrote: " in by_name.out


def test_running_it_again_with_its_id_changes_nothing(by_path: Completed, by_name: Completed) -> None:
    assert "changed=1" in by_path.out
    assert "changed=0" in by_name.out


def test_the_command_looks_once_where_no_claim_stands_between(
    fleet_behind: Fleet, proxy: FaultProxy, tmp_path: Path
) -> None:
    def looks() -> int:
        return sum(path.endswith("/global/health") for _, path in proxy.requests)

    assert fleet_behind.dispatch("epyc6", fleet_behind.repo, ANY).code == 0
    assert looks() == 1
    completed = fleet_behind.playbook("dx.fleet.dispatch", target="epyc6", repo=fleet_behind.repo, task=ANY)
    assert completed.code == 0, completed
    assert looks() == 3


def test_check_mode_sends_nothing(fleet: Fleet) -> None:
    before = {vm: server.sessions() for vm, server in fleet.servers.items()}
    variables = {"repo": fleet.repo, "task": ANY, "target": "opencode"}
    completed = fleet.playbook("dx.fleet.dispatch", "--check", **variables)
    assert completed.code == 0, completed
    assert completed.out.count("planned: ") == len(fleet.servers)
    assert {vm: server.sessions() for vm, server in fleet.servers.items()} == before


def test_a_limit_takes_an_alias(fleet: Fleet, lab: Lab, model: ScriptedModel) -> None:
    variables = {"repo": "affordabot", "task": "@say limited", "target": "opencode"}
    completed = fleet.playbook("dx.fleet.dispatch", "--limit", "homedesktop-wsl", **variables)
    assert completed.code == 0, completed
    assert [call.vm for call in model.prompts("limited")] == ["homedesktop"]


def test_a_group_gives_every_vm_the_task_and_each_its_own_outcome(
    fleet: Fleet, lab: Lab, model: ScriptedModel, tmp_path: Path
) -> None:
    partly = fleet.seen_at(tmp_path, macmini=f"http://127.0.0.1:{closed_port()}")
    variables = {"repo": "affordabot", "task": "@say to the group", "target": "opencode", "id": fresh_id()}
    completed = partly.playbook("dx.fleet.dispatch", **variables)
    assert completed.code == 2, completed
    finished = "finished, not verified"
    for vm, state in {"homedesktop": finished, "epyc6": finished, "macmini": "unreachable"}.items():
        assert re.search(rf'\[{vm}\] => {{\s*"msg": "{state}: ', completed.out)
    assert sorted(call.vm for call in model.prompts("to the group")) == ["epyc6", "homedesktop"]


def test_a_failed_dispatch_fails_the_play_with_its_reason(fleet: Fleet, model: ScriptedModel) -> None:
    completed = fleet.playbook("dx.fleet.dispatch", repo="affordabot", task="@status 401")
    assert completed.code == 2
    assert "reason_code: model_unauthorized" in completed.out or '"model_unauthorized"' in completed.out
    assert "failed: the model failed" in completed.out


def test_the_status_playbook_shows_every_vm(fleet: Fleet) -> None:
    completed = fleet.playbook("dx.fleet.status")
    assert completed.code == 0, completed
    for server in fleet.servers.values():
        assert f" at {server.url}:" in completed.out


def test_one_wait_follows_sessions_of_several_vms(fleet: Fleet, tmp_path: Path) -> None:
    sent = fleet.dispatch("--all", fleet.repo, ANY, "--no-wait").results()
    sessions = [
        {"vm": vm, "session": each["session"], "message_id": each["message"], "url": fleet[vm].url}
        for vm, each in sent.items()
    ]
    done = _own_playbook(
        fleet,
        tmp_path,
        "opencode",
        {"dx.fleet.opencode_wait": {"sessions": sessions}, "register": "waited", "run_once": True},
        {
            "debug": {"msg": "states={{ waited.outcomes | items2dict('vm', 'state') | to_json }}"},
            "run_once": True,
        },
    )
    assert done.code == 0, done
    assert _shown(done, "states") == dict.fromkeys(fleet.servers, "completed")


def _begun(fleet: Fleet, lab: Lab, vm: str, task: str) -> dict[str, str]:
    """A session that works on this, sent by nobody of ours, as ``opencode_wait`` takes it."""
    server = fleet[vm]
    directory = str(lab.vms[vm].repo("affordabot"))
    session: str = server.ask("POST", "/session", {}, directory=directory).raise_for_status().json()["id"]
    body = {"parts": [{"type": "text", "text": task}]}
    server.ask("POST", f"/session/{session}/prompt_async", body).raise_for_status()
    return {"vm": vm, "session": session, "url": server.url}


def test_one_wait_tells_the_good_from_the_bad(
    fleet: Fleet, lab: Lab, model: ScriptedModel, tmp_path: Path
) -> None:
    sessions = [
        _begun(fleet, lab, "macmini", "@silent 1\n@say good"),
        _begun(fleet, lab, "epyc6", "@status 401"),
        _begun(fleet, lab, "epyc6", "@question Which? | a | b"),
    ]
    done = _own_playbook(
        fleet,
        tmp_path,
        "default_vm",
        {
            "dx.fleet.opencode_wait": {"sessions": sessions},
            "register": "waited",
            "failed_when": False,
            "run_once": True,
        },
        {"debug": {"msg": "states={{ waited.outcomes | map(attribute='state') | to_json }}"}},
    )
    assert done.code == 0, done
    assert _shown(done, "states") == ["completed", "failed", "needs_input"]
    fleet["epyc6"].ask("POST", f"/session/{sessions[2]['session']}/abort")


def test_the_actions_alone(fleet: Fleet, lab: Lab, model: ScriptedModel, tmp_path: Path) -> None:
    directory = str(lab.vms["macmini"].repo("prime-radiant"))
    done = _own_playbook(
        fleet,
        tmp_path,
        "macmini",
        {
            "dx.fleet.opencode_dispatch": {"directory": directory, "task": "@bash pwd", "title": "by hand"},
            "register": "sent",
        },
        {
            "dx.fleet.opencode_wait": {"session": "{{ sent.session }}", "message_id": "{{ sent.message }}"},
            "register": "waited",
        },
        {"dx.fleet.opencode_info": {}, "register": "info"},
        {"debug": {"msg": "outcome={{ waited.outcome | to_json }}"}},
        {"debug": {"msg": "titles={{ info.sessions | map(attribute='title') | to_json }}"}},
    )
    assert done.code == 0, done
    outcome = _shown(done, "outcome")
    assert (outcome["state"], outcome["evidence"]["directory"]) == ("completed", directory)
    assert outcome["evidence"]["text"] == f"Done.\n- {directory}"
    assert "by hand" in _shown(done, "titles")
