# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the command says: one document for programs, few lines for people, and exit codes for both."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.command import Completed, run_dispatch
from tests.lab import Lab, ScriptedModel

from .fleet import Fleet, fresh_id

ANY = "Say the word pineapple and nothing else. Use no tool and change nothing."


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The current directory of who dispatches."""
    return tmp_path_factory.mktemp("current")


@pytest.fixture(scope="module")
def sent(whole_fleet: Fleet, folder: Path) -> Completed:
    """A task for the default VM, sent and not waited for."""
    words = (*whole_fleet.arguments, "--json", whole_fleet.default, whole_fleet.repo, ANY, "--no-wait")
    return run_dispatch(*words, env=whole_fleet.env, cwd=folder)


@pytest.fixture(scope="module")
def joined(whole_fleet: Fleet, sent: Completed, folder: Path) -> Completed:
    """The same, waited for."""
    words = (*whole_fleet.arguments, "--json", whole_fleet.default, "--id", sent.result()["dispatch"])
    return run_dispatch(*words, env=whole_fleet.env, cwd=folder)


def test_no_wait_returns_with_the_task_sent_and_it_can_be_joined(
    fleet: Fleet, sent: Completed, joined: Completed
) -> None:
    result = sent.result()
    assert (sent.code, result["state"], result["reason_code"]) == (0, "running", "sent")
    assert (joined.code, joined.result()["state"]) == (0, "completed")
    assert joined.result()["session"] == result["session"]
    assert fleet[fleet.default].prompts(result["session"]) == [[ANY]]


def test_a_dry_run_says_what_would_be_done_and_does_nothing(fleet: Fleet) -> None:
    before = {vm: server.sessions() for vm, server in fleet.servers.items()}
    completed = fleet.dispatch("--all", fleet.repo, ANY, "--dry-run")
    assert completed.code == 0, completed
    for vm, result in completed.results().items():
        assert (result["state"], result["reason_code"]) == ("planned", "check_mode")
        assert result["evidence"]["directory"].endswith(fleet.repo)
        assert fleet[vm].sessions() == before[vm]


def test_a_dry_run_finds_what_would_fail(fleet: Fleet) -> None:
    completed = fleet.dispatch(fleet.default, f"no-such-repo-{fresh_id()}", ANY, "--dry-run")
    assert (completed.code, completed.result()["reason_code"]) == (4, "repo_not_found")


def test_a_dry_run_of_a_replay_says_so(fleet: Fleet, joined: Completed) -> None:
    dispatch = joined.result()["dispatch"]
    completed = fleet.dispatch(fleet.default, fleet.repo, ANY, "--id", dispatch, "--dry-run")
    assert "would report the task sent before" in completed.result()["message_to_human"]


def test_people_get_errors_on_standard_error_alone(fleet: Fleet) -> None:
    completed = fleet.command("nosuch", "affordabot", ANY)
    assert (completed.code, completed.out) == (2, "")
    said, following = completed.err.splitlines()
    assert said.startswith("dx-dispatch: unknown VM 'nosuch'; ")
    assert all(vm in said for vm in fleet.servers)
    assert following.startswith("next: ")


def test_the_list_of_vms(fleet: Fleet) -> None:
    vms = fleet.look("list").document()["vms"]
    assert {vm["vm"]: vm["url"] for vm in vms if vm["enabled"]} == {
        vm: server.url for vm, server in fleet.servers.items()
    }
    assert [vm["vm"] for vm in vms if vm["default"]] == [fleet.default]
    assert fleet.default in fleet.look_plainly("list").out


def test_the_status_of_every_vm(fleet: Fleet, joined: Completed) -> None:
    session = joined.result()["session"]
    completed = fleet.look("status")
    vms = {vm["vm"]: vm for vm in completed.document()["vms"]}
    assert (completed.code, set(vms)) == (0, set(fleet.servers))
    (known,) = [each for each in vms[fleet.default]["sessions"] if each["session"] == session]
    assert known["state"] == "idle"


def test_a_disabled_vm_refuses_and_all_passes_it_over(
    fleet: Fleet, lab: Lab, model: ScriptedModel, tmp_path: Path
) -> None:
    partly = fleet.described_as(tmp_path, macmini={"enabled": False})
    completed = partly.dispatch("macmini", "affordabot", "@say disabled")
    assert (completed.code, completed.result()["reason_code"]) == (4, "vm_disabled")
    assert set(partly.dispatch("--all", "affordabot", "@say enabled").results()) == {"homedesktop", "epyc6"}
    assert model.prompts(vm="macmini") == []


def test_people_see_one_line_per_change(fleet: Fleet, model: ScriptedModel) -> None:
    completed = fleet.command(
        "epyc6", "affordabot", "@silent 1\n@bash exit 4\n@bash true\n@silent 1\n@say all told"
    )
    lines = completed.out.splitlines()
    told = [line.partition("] ")[2] for line in lines if line.startswith("[epyc6]")]
    assert told == [
        told[0],
        told[1],
        "bash: exit 4",
        "bash: exit 4 -> exit 4",
        "bash: true",
        "bash: true -> exit 0",
        "finished, not verified: the agent wrote: all told",
    ]
    assert told[0].startswith("Session created: ses_")
    assert told[1].startswith("Task sent: ")
    assert "exit 4 -> exit 4, true -> exit 0" in lines[-1]


def test_nothing_is_left_in_the_directory_from_which_it_runs(
    fleet: Fleet, lab: Lab, joined: Completed, folder: Path
) -> None:
    assert joined.code == 0, joined
    assert list(folder.iterdir()) == []
    cached = [path.name for path in Path(fleet.env["XDG_CACHE_HOME"], "dx-fleet").iterdir()]
    kinds = {name.rpartition("-")[0] for name in cached}
    assert kinds == {"ansible-routing", "ansible-modules"}, "nor elsewhere but there"


# --- while a VM works ---


@pytest.fixture(scope="module")
def works(whole_fleet: Fleet, lab: Lab) -> Iterator[dict[str, Any]]:
    """A task that epyc6 works on for as long as these tests take."""
    result = whole_fleet.dispatch("epyc6", "affordabot", "@silent\n@say never", "--no-wait").result()
    yield result
    whole_fleet["epyc6"].ask("POST", f"/session/{result['session']}/abort").raise_for_status()


def test_no_wait_does_not_wait(fleet: Fleet, works: dict[str, Any]) -> None:
    assert fleet["epyc6"].works_on(works["session"])


def test_the_status_tells_what_works_and_what_waits(fleet: Fleet, lab: Lab, works: dict[str, Any]) -> None:
    waits = fleet.dispatch("epyc6", "prime-radiant", "@question Which? | a | b").result()
    completed = fleet.look("status", "epyc6")
    (vm,) = completed.document()["vms"]
    states = {each["session"]: (each["state"], each["dispatch"]) for each in vm["sessions"]}
    assert states[works["session"]] == ("busy", works["dispatch"])
    assert states[waits["session"]] == ("needs_input", waits["dispatch"])
    assert vm["session_counts"]["busy"] == vm["session_counts"]["needs_input"] == 1
    assert [question["session"] for question in vm["questions"]] == [waits["session"]]
    fleet["epyc6"].ask("POST", f"/session/{waits['session']}/abort").raise_for_status()


def test_a_vm_without_room_refuses(
    fleet: Fleet, lab: Lab, model: ScriptedModel, tmp_path: Path, works: dict[str, Any]
) -> None:
    small = fleet.described_as(tmp_path, epyc6={"max_concurrent": 1})
    completed = small.dispatch("epyc6", "prime-radiant", "@say no room")
    assert (completed.code, completed.result()["reason_code"]) == (4, "at_capacity")
    assert model.prompts("no room") == []
