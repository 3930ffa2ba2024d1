# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The VMs of a lab: real servers, with homes of their own, that can be ended and started again."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from tests.lab import Lab, LabVM, ScriptedModel
from tests.lab.addresses import Addresses
from tests.lab.binaries import pinned_version
from tests.lab.opencode_home import KEEPS_SNAPSHOTS

from .sessions import Session, Sessions, text_of


@pytest.fixture
def vm(lab: Lab) -> Iterator[LabVM]:
    """macmini, up again after the test whatever became of it."""
    chosen = lab.vms["macmini"]
    yield chosen
    chosen.resume()
    chosen.start()


def vanished(processes: list[psutil.Process], patience_s: float = 60) -> bool:
    """Whether they come to have no process id any more."""
    deadline = time.monotonic() + patience_s
    while any(psutil.pid_exists(process.pid) for process in processes):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def started(vm: LabVM, session: Session, command: str, patience_s: float = 120) -> list[psutil.Process]:
    """Have a session run a command; returns the VM's processes when one of them is the command's.

    Not any child of the server will do: the first ones are git's, from before the prompt is stored.
    """
    session.send(f"@bash {command}")
    deadline = time.monotonic() + patience_s
    while True:
        children = vm.children()
        commands = [_command(process) for process in children]
        if command in commands:
            return children
        assert time.monotonic() < deadline, commands
        time.sleep(0.05)  # a pace for the looks


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def test_every_vm_is_an_opencode_of_the_pinned_version_at_its_own_address(lab: Lab) -> None:
    assert list(lab.vms) == ["homedesktop", "macmini", "epyc6"]
    assert len({(vm.host, vm.port) for vm in lab.vms.values()}) == 3
    for vm in lab.vms.values():
        assert httpx.get(f"{vm.url}/global/health").json() == {"healthy": True, "version": pinned_version()}
        assert vm.alive


def test_every_vm_has_its_own_home_and_sees_no_other_s_sessions(lab: Lab) -> None:
    for vm in lab.vms.values():
        with vm.http() as http:
            assert http.get("/path").json()["home"] == str(vm.home)
    with Sessions(lab.vms["homedesktop"]) as sessions:
        session = sessions.new()
        with lab.vms["epyc6"].http() as http:
            assert http.get(f"/session/{session.id}").status_code == 404


def test_a_server_has_nothing_of_the_caller_s_environment(lab: Lab) -> None:
    with Sessions(lab.vms["epyc6"]) as sessions:
        session = sessions.new()
        session.run("@bash env | cut -d= -f1 | sort")
        names = set(session.tools()[0]["state"]["output"].split())
    foreign = {name for name in names if name.startswith(("XDG_", "SLACK", "ANSIBLE", "DX_TEST", "PYTEST"))}
    assert foreign == set()
    assert {"DX_LAB_ID", "DX_LAB_VM", "HOME"} <= names


def test_one_vm_keeps_snapshots_as_opencode_does_unless_told_not_to(lab: Lab) -> None:
    kept = set()
    for vm in lab.vms.values():
        with Sessions(vm) as sessions:
            parts = sessions.new().run("@say a step")["parts"]
        kept |= {vm.name for part in parts if part["type"] == "step-start" and "snapshot" in part}
    assert kept == {KEEPS_SNAPSHOTS}


def test_kill_leaves_the_children_running(vm: LabVM, model: ScriptedModel) -> None:
    with Sessions(vm) as sessions:
        session = sessions.new()
        children = started(vm, session, "sleep 300")
        port = vm.port
        vm.kill()
        assert not vm.alive
        assert {child.pid for child in vm.children()} == {child.pid for child in children}
        with pytest.raises(httpx.ConnectError):
            httpx.get(vm.url)
        vm.start()
        assert vm.alive
        assert vm.port == port
        assert "completed" not in session.messages()[-1]["info"]["time"]
        for child in children:
            child.kill()
        # They were adopted by the keeper, which must not keep them as zombies.
        assert vanished(children)
        assert vanished(vm.children()), "nor what the new server ran meanwhile"


def test_stop_ends_the_children(vm: LabVM, model: ScriptedModel) -> None:
    with Sessions(vm) as sessions:
        session = sessions.new()
        started(vm, session, "sleep 300")
        vm.stop()
        assert not vm.alive
        assert vm.children() == []
        vm.start()
        assert session.messages()[-1]["info"]["error"]["name"] == "MessageAbortedError"


def test_restart_keeps_what_the_vm_has_stored(vm: LabVM) -> None:
    with Sessions(vm) as sessions:
        session = sessions.new()
        session.run("the word is plum")
        pid = vm.pid
        vm.restart()
        assert vm.pid != pid
        assert text_of(session.run("@recall")) == "Said before:\n1. the word is plum"


def test_a_paused_server_accepts_and_is_silent(vm: LabVM) -> None:
    vm.pause()
    with pytest.raises(httpx.ReadTimeout):
        httpx.get(f"{vm.url}/global/health", timeout=httpx.Timeout(60, read=0.5))
    vm.resume()
    # The connection that was made meanwhile does no harm to the next one.
    assert httpx.get(f"{vm.url}/global/health", timeout=60).status_code == 200


def test_the_endpoints_file_is_as_a_user_would_write_it(lab: Lab) -> None:
    document = json.loads(lab.endpoints.read_text())
    assert document["default_vm"] == "epyc6"
    assert document["slack_audit_channel"] == "C09MQGMFKDE"
    assert document["vms"]["homedesktop"] == {
        "opencode": lab.vms["homedesktop"].url,
        "ssh": None,
        "tailscale": None,
        "local": True,
        "aliases": ["homedesktop-wsl"],
    }
    assert {vm: entry["opencode"] for vm, entry in document["vms"].items()} == {
        vm.name: vm.url for vm in lab.vms.values()
    }


def test_the_inventory_names_the_endpoints_file(lab: Lab) -> None:
    assert lab.inventory.name == "fleet.yml"
    assert f'endpoints: "{lab.endpoints}"' in lab.inventory.read_text()
    group_vars = (lab.inventory.parent / "group_vars" / "all.yml").read_text()
    assert f'opencode_version: "{pinned_version()}"' in group_vars


def test_the_environment_keeps_a_child_away_from_the_real_home(lab: Lab) -> None:
    assert lab.env["DX_VM_ENDPOINTS"] == str(lab.endpoints)
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME"):
        assert lab.env[name].startswith(str(lab.root))


def test_the_repos_are_clones_of_one_remote(lab: Lab) -> None:
    for name in ("affordabot", "prime-radiant"):
        for vm in lab.vms.values():
            config = (vm.repo(name) / ".git" / "config").read_text()
            assert str(lab.root / "remotes" / f"{name}.git") in config


def test_the_agent_can_commit_and_push(lab: Lab) -> None:
    with Sessions(lab.vms["homedesktop"], "prime-radiant") as sessions:
        session = sessions.new()
        session.run(
            "@bash git switch -qc lab-try && git commit -q --allow-empty -m x && git push -q origin lab-try"
        )
        (tool,) = session.tools()
        assert tool["state"]["metadata"]["exit"] == 0, tool["state"]["output"]
    heads = lab.root / "remotes" / "prime-radiant.git" / "refs" / "heads"
    assert (heads / "lab-try").exists()


@pytest.mark.slow
def test_a_second_lab_beside_it_has_other_ports_and_its_password(lab: Lab) -> None:
    with Lab(vms=("epyc6",), password="s3cret") as second:
        vm = second.vms["epyc6"]
        assert vm.url not in {other.url for other in lab.vms.values()}
        refused = httpx.get(f"{vm.url}/global/health")
        assert (refused.status_code, refused.content) == (401, b"")
        with vm.http() as http:
            assert http.get("/global/health").json()["healthy"]
        document = json.loads(second.endpoints.read_text())
        assert second.env[document["vms"]["epyc6"]["password_env"]] == "s3cret"
        assert "s3cret" not in second.endpoints.read_text()
        with Sessions(vm) as sessions:
            assert text_of(sessions.new().run("hello")) == "Done: hello"
        assert second.model.calls("hello", vm="epyc6")
        assert lab.model.calls("hello", vm="epyc6") == []
    assert lab.vms["epyc6"].alive


def test_only_one_lab_has_the_fleet_s_own_addresses_and_no_two_the_same(tmp_path: Path) -> None:
    labs = [Addresses(tmp_path) for _ in range(3)]
    try:
        own, *others = [set(lab.choose(("a", "b")).values()) for lab in labs]
        assert {host for host, _ in set().union(*others)} == {"127.0.0.1"}
        assert len(set().union(own, *others)) == 6
    finally:
        for lab in labs:
            lab.release()


def test_the_addresses_of_a_lab_that_ended_are_free(tmp_path: Path) -> None:
    first = Addresses(tmp_path)
    second = Addresses(tmp_path)
    had = first.choose(("a",))
    first.release()
    third = Addresses(tmp_path)
    try:
        assert third.choose(("a",)) == had
    finally:
        second.release()
        third.release()
