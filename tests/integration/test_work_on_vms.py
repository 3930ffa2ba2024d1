# Copyright: dx.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`git_worktree` and `verify_work` by Ansible itself, on the local VM and on one that is reached by SSH."""

from __future__ import annotations

import json
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.command import Completed
from tests.lab import Lab

from .fleet import Fleet


class Play:
    """Single tasks on one VM, each in a run of its own."""

    def __init__(self, lab: Lab, fleet: Fleet, vm: str, folder: Path) -> None:
        self.vm = lab.vms[vm]
        self.repo = self.vm.repo("affordabot")
        self.home = Path(self.vm.home if self.vm.ssh else fleet.env["HOME"])
        self.branch = f"dx/test-{secrets.token_hex(4)}"
        self._lab, self._fleet, self._folder = lab, fleet, folder

    def task(self, module: str, *arguments: str, **options: Any) -> dict[str, Any]:
        """The result of one task."""
        result: dict[str, Any] = self.tasks([(module, options)], *arguments)[0]
        return result

    def worktree(self, *arguments: str, **options: Any) -> dict[str, Any]:
        return self.task(
            "git_worktree",
            *arguments,
            repo=str(self.repo),
            branch=self.branch,
            **{"dispatch": "d1", **options},
        )

    def tasks(self, tasks: list[tuple[str, dict[str, Any]]], *arguments: str) -> list[dict[str, Any]]:
        """The results of some tasks of one play; one that fails ends nothing."""
        told = self._folder / f"{secrets.token_hex(4)}.json"
        names = [f"result_{number}" for number in range(len(tasks))]
        play = {
            "hosts": self.vm.name,
            "gather_facts": False,
            "tasks": [
                *(
                    {f"dx.fleet.{module}": options, "register": name, "ignore_errors": True}
                    for name, (module, options) in zip(names, tasks, strict=True)
                ),
                {
                    "ansible.builtin.copy": {
                        "content": "{{ [" + ", ".join(names) + "] | to_json }}", "dest": str(told), "mode": "0600",
                    },
                    "delegate_to": "localhost", "check_mode": False, "diff": False,
                },
            ],
        }  # fmt: skip
        playbook = self._folder / "play.yml"
        playbook.write_text(yaml.safe_dump([play]))
        self.last: Completed = self._fleet.playbook(str(playbook), *arguments)
        assert self.last.code == 0, self.last
        results: list[dict[str, Any]] = json.loads(told.read_text())
        return results

    def ssh_sessions(self) -> int:
        """How many SSH sessions the VM has had."""
        log = self._lab.ssh_files.folder / self.vm.name / "sshd.log"
        return log.read_text().count("Starting session")

    def git(self, *words: str, at: str | Path | None = None) -> str:
        """git as the VM's user."""
        done = subprocess.run(
            ["git", *words], cwd=at or self.repo, env={"HOME": str(self.vm.home), "PATH": "/usr/bin:/bin"},
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        return done.stdout.strip()


@pytest.fixture(params=["homedesktop", "epyc6"])
def play(request: pytest.FixtureRequest, ssh_lab: Lab, fleet: Fleet, tmp_path: Path) -> Iterator[Play]:
    """On the local VM, and on one behind SSH."""
    made = Play(ssh_lab, fleet, request.param, tmp_path)
    yield made
    made.worktree(state="absent")


def test_from_the_worktree_to_the_push(play: Play) -> None:
    made = play.worktree()
    assert (made["changed"], made["branch"]) == (True, play.branch)
    assert Path(made["path"]).is_relative_to(play.home), "in the data folder of whom the connection leads to"
    assert not play.worktree()["changed"]
    package = Path(made["path"], "affordabot", "__init__.py")
    package.write_text(package.read_text() + "\n\nANSWER = 42\n")
    play.git("commit", "--quiet", "--all", "--message", "Add the answer", at=made["path"])
    check, pushed = play.tasks(
        [
            ("verify_work", {"path": made["path"], "command": "make test", "expect_changes": True}),
            ("git_worktree", {"repo": str(play.repo), "path": made["path"], "state": "pushed"}),
        ]
    )
    assert (check["verdict"], check["tests"]["passed"], check["commit_count"]) == ("verified", 3, 1), check
    assert (check["pushed"], check["processes_proven"], check["processes_left"]) == (False, True, 0)
    assert Path(check["output_file"]).is_relative_to(play.home)
    assert (pushed["pushed"], pushed["head"]) == (True, check["head"])
    assert play.git("ls-remote", "origin", play.branch).startswith(check["head"])
    gone = play.worktree(state="absent")
    assert (gone["changed"], gone["rescue_refs"]) == (True, [])
    assert made["path"] not in play.git("worktree", "list")


def test_a_failed_check_is_a_result_and_a_refusal_is_a_failure(play: Play) -> None:
    made = play.worktree()
    Path(made["path"], "BREAK").touch()
    failed = play.task("verify_work", path=made["path"], command="make test")
    assert (failed["verdict"], failed["reason_code"], failed["failed"]) == ("failed", "tests_failed", False)
    assert "test_that_can_be_broken" in failed["message"]
    refused = play.worktree(dispatch="d2")
    assert (refused["failed"], refused["reason_code"]) == (True, "worktree_locked")
    assert refused["next_action"] in refused["msg"]
    kept = play.worktree(state="absent")["rescue_refs"]
    assert play.git("ls-tree", "--name-only", kept[0], "BREAK") == "BREAK"


def test_check_mode_and_diff(play: Play) -> None:
    told = play.worktree("--check", "--diff")
    assert told["changed"]
    assert f"+branch: {play.branch}" in play.last.out.replace('"', "").replace("    ", "")
    assert not Path(told["path"]).exists()
    made = play.worktree()
    assert not play.worktree("--check")["changed"]
    looked = play.task("verify_work", "--check", path=made["path"], command="touch ran")
    assert (looked["has_changes"], looked["changed"]) == (False, False)
    assert not Path(made["path"], "ran").exists()


def test_each_module_costs_one_ssh_session(ssh_lab: Lab, fleet: Fleet, tmp_path: Path) -> None:
    play = Play(ssh_lab, fleet, "epyc6", tmp_path)
    play.worktree(state="absent")
    before = play.ssh_sessions()
    made = play.worktree()
    assert play.ssh_sessions() - before == 1
    play.task("verify_work", path=made["path"], command="make test")
    assert play.ssh_sessions() - before == 2
    play.worktree(state="absent")
